"""JSON with the line of every key. Whatever JSON is, YAML's parser finds the places of, since one holds the other."""

import json
from pathlib import Path
from typing import Any

import yaml

from fleetgauge.files import text as texts
from fleetgauge.files.strict_yaml import Document
from fleetgauge.files.text import Unreadable


def read(path: Path) -> Document:
    """A JSON file. Raises `Unreadable`, for a key that occurs twice too."""
    text = texts.read(path)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        at = max(text.lower().find("\\ud"), 0)
        said = "holds half a character (\\ud800 to \\udfff alone); write the whole one"
        raise Unreadable(text.count("\n", 0, at) + 1, said) from None
    except json.JSONDecodeError as error:
        line = min(error.lineno, max(1, len(text.splitlines())))
        raise Unreadable(line, f"is not JSON: {_said(error.msg)}") from None
    except _Refused as error:
        return _refused(text, str(error))
    except (ValueError, RecursionError):
        raise Unreadable(
            1, "is not JSON that can be read: a number has too many digits, or it is nested too deeply"
        ) from None
    return Document(value, _root(text))


class _Refused(ValueError):
    """Well-formed, but not to be had; the text is `key: words`."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Refused(f"key {next(name for name in names if names.count(name) > 1)!r} occurs twice; remove one")
    return found


def _no_number(word: str) -> Any:
    raise _Refused(f"{word} is no number of JSON; remove it")


def _refused(text: str, said: str) -> Document:
    word = said.split("'")[1] if "'" in said else said.split()[0]
    at = text.find(f'"{word}"') if "'" in said else text.find(word)
    if "'" in said:  # the second one
        at = text.find(f'"{word}"', at + 1)
    raise Unreadable(text.count("\n", 0, max(at, 0)) + 1, said)


def _said(message: str) -> str:
    if "Expecting property name" in message:
        return "a name in double quotes is missing here, or a comma stands before the closing brace; correct it"
    if "Expecting ','" in message:
        return "a comma is missing before this, or a bracket is not closed; add it"
    if "Expecting ':'" in message:
        return "a colon is missing after the name; add it"
    if "Expecting value" in message:
        return "a value is missing here, or is no JSON (texts need double quotes); write it"
    if "Unterminated string" in message:
        return "a text is not closed; add its double quote"
    if "escape" in message:
        return "a backslash begins no escape that JSON knows; write two of them"
    if "control character" in message:
        return "a text holds a line break or another control character; write \\n"
    if "Extra data" in message:
        return "something follows the end of the document; keep one a file"
    return "correct it"


def _root(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None  # places are then unknown: line 1

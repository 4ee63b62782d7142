"""JSON with the line of every key. Needs nothing beside the standard library, for consumers read contracts too."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetgauge.files import text as texts
from fleetgauge.files.text import Unreadable

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:\n]|[^\s\[\]{},:"]+')

JsonPath = tuple[int | str, ...]


@dataclass(frozen=True)
class JsonDocument:
    """A document's value, and where its keys and items stand."""

    value: Any
    lines: Mapping[JsonPath, int]

    def line(self, path: Sequence[int | str]) -> int:
        """The line of the key or item that `path` leads to; parts that are no key there are passed over."""
        at: JsonPath = ()
        for part in path:
            if (*at, part) in self.lines:
                at = (*at, part)
        return self.lines.get(at, 1)


def read(path: Path) -> JsonDocument:
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
    except _RefusedJson as error:
        raise Unreadable(_line_of(text, error.word, last=error.twice), str(error)) from None
    except (ValueError, RecursionError):
        said = "is not JSON that can be read: a number has too many digits, or it is nested too deeply; simplify it"
        raise Unreadable(1, said) from None
    return JsonDocument(value, _lines(text))


class _RefusedJson(ValueError):
    """Well-formed, but not to be had."""

    def __init__(self, word: str, said: str, *, twice: bool = False) -> None:
        self.word = word
        self.twice = twice
        super().__init__(said)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        raise _RefusedJson(f'"{name}"', f"key {name!r} occurs twice; remove one", twice=True)
    return found


def _no_number(word: str) -> Any:
    raise _RefusedJson(word, f"{word} is no number of JSON; remove it")


def _line_of(text: str, word: str, *, last: bool) -> int:
    at = text.rfind(word) if last else text.find(word)
    return text.count("\n", 0, max(at, 0)) + 1


def _lines(text: str) -> dict[JsonPath, int]:
    """Of a text that is JSON."""
    found: dict[JsonPath, int] = {}
    at: list[int | str] = []  # the key or the number of the item within each container that is open
    line, key = 1, True
    for match in _TOKEN.finditer(text):
        sign = match[0]
        if sign == "\n":
            line += 1
        elif sign in "{[":
            if at and isinstance(at[-1], int):
                found.setdefault(tuple(at), line)
            at.append("" if sign == "{" else 0)
            key = sign == "{"
        elif sign in "}]":
            at.pop()
        elif sign == ",":
            last = at[-1] if at else ""
            if isinstance(last, int):
                at[-1] = last + 1
            key = isinstance(last, str)
        elif sign == ":":
            key = False
        elif at and isinstance(at[-1], int):
            found.setdefault(tuple(at), line)
        elif at and key:
            at[-1] = json.loads(sign)
            found.setdefault(tuple(at), line)
    return found


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

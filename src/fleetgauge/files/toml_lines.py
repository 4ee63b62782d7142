"""Where the keys of a TOML file stand, for messages."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from fleetgauge.files import text as texts
from fleetgauge.files.text import Unreadable

_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*([A-Za-z0-9_."'-]+?)\s*=""")


def check(path: Path) -> str:
    """The text of a TOML file. Raises `Unreadable` when it is none."""
    text = texts.read(path)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        at = re.search(r"\(at line (\d+)", said)
        last = max(1, len(text.splitlines()))
        line = min(int(at[1]), last) if at else last
        raise Unreadable(line, f"is not TOML: {_said(said)}") from None
    except (ValueError, RecursionError):
        raise Unreadable(
            1, "is not TOML that can be read: a value has too many digits, or is nested too deeply"
        ) from None
    return text


def line_of(text: str, key: Sequence[str | int]) -> int | None:
    """The line of a dotted key, or of the nearest table above that stands there; None: it is not in the file."""
    wanted = [str(part) for part in key]
    table: list[str] = []
    found: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TABLE.match(line):
            table = _parts(match[1])
            found.setdefault(tuple(table), number)
        elif match := _KEY.match(line):
            found.setdefault((*table, *_parts(match[1])), number)
    for length in range(len(wanted), 0, -1):
        if tuple(wanted[:length]) in found:
            return found[tuple(wanted[:length])]
    return None


def _parts(name: str) -> list[str]:
    return [part.strip().strip("\"'") for part in name.split(".")]


def _said(message: str) -> str:
    if "Cannot overwrite" in message or "declare" in message or "mutate" in message:
        return "a key or a table is set twice; remove one"
    if "Invalid value" in message or "Expected '='" in message:
        return 'write `key = "value"`, a text in double quotes'
    if (
        "Unclosed" in message
        or "Unterminated" in message
        or "Expected ']'" in message
        or "Illegal character" in message
    ):
        return "a quote or a bracket is not closed, or a character may not stand here; correct it"
    if "escape" in message or "Unescaped" in message:
        return "a backslash begins no escape that TOML knows; use single quotes"
    return "write `[section]` and, below it, `key = value`"

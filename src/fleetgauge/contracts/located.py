"""Problems of contracts with the file and the line that each is about, as `lint` shows them."""

import re
from collections.abc import Iterable
from pathlib import Path

from fleetgauge.contracts.released import FILE
from fleetgauge.files import json_lines
from fleetgauge.files.json_lines import JsonDocument
from fleetgauge.files.text import Unreadable

_PROBLEM = re.compile(r"contract (?P<file>[^\s:]+)(?::(?P<line>\d+))?(?: at (?P<at>\S+?))?:? (?P<said>.*)", re.DOTALL)
EVENTS = Path("schemas") / "events"


def located(content: Path, problems: Iterable[str]) -> list[str]:
    """Each problem with file and line in front; one that names no contract stays as it is."""
    documents: dict[Path, JsonDocument | None] = {}
    return [_located(content, problem, documents) for problem in problems]


def _located(content: Path, problem: str, documents: dict[Path, JsonDocument | None]) -> str:
    match = _PROBLEM.fullmatch(problem)
    if match is None or not match["file"].partition("#")[0].endswith(".json"):
        return problem if re.match(r"\S+:\d+: ", problem) else f"{EVENTS.as_posix()}:1: {problem}"
    name, _, kind = match["file"].partition("#")
    file = FILE if name == FILE.name else EVENTS / name
    if file not in documents:
        try:
            documents[file] = json_lines.read(content / file)
        except Unreadable:
            documents[file] = None
    document = documents[file]
    at = ".".join(part for part in (kind, match["at"]) if part)
    line = match["line"] or (document.line(_path(at)) if document is not None else 1)
    return f"{file.as_posix()}:{line}: {f'{at}: ' if at else ''}{match['said']}"


def _path(at: str) -> list[int | str]:
    """The keys of the schema that lead to a member of the event."""
    found: list[int | str] = []
    for part in at.split(".") if at else []:
        name, *indexes = re.split(r"[\[\]]+", part)
        found += ["properties", name]
        found += [int(index) if index.isdigit() else "items" for index in indexes if index or part.endswith("[]")]
    return found

"""The table of faults: every test marked with `fault` is one row of docs/faults.md.

A row says what the number is and where the fault is told. `python tests/integration/hostile/fault_table.py [--check]`
writes the page (or compares it); it reads the test files as text and imports none of them.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "faults.md"

_Test = TypeVar("_Test", bound=Callable[..., object])


@dataclass(frozen=True)
class Fault:
    """One row. A place that has nothing to tell, because the number is right, says `ok`."""

    what: str
    """What goes wrong in the field, in one sentence."""
    number: str
    """What the number is then."""
    freshness: str
    doctor: str
    exporter: str
    exit_code: str


def fault(
    what: str, *, number: str, freshness: str, doctor: str, exporter: str, exit_code: str
) -> Callable[[_Test], _Test]:
    """Mark a test as the proof of one row. Give literals only: the page is made without running the test."""
    del what, number, freshness, doctor, exporter, exit_code
    return lambda test: test


def rows() -> Iterator[tuple[str, str, Fault]]:
    """(file's stem, test's name, row), in the order of the files."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "fault":
                    told = {word.arg or "": ast.literal_eval(word.value) for word in call.keywords}
                    yield path.stem, node.name, Fault(ast.literal_eval(call.args[0]), **told)


def page() -> str:
    """The page."""
    lines = [
        "# What can go wrong, and where you see it",
        "",
        "For on-call engineers and for whoever asks whether a number can be believed. Each row is a fault that happens",
        "to real fleets, and a test on real servers proves what it says. Generated from `tests/integration/hostile`.",
    ]
    title = ""
    for stem, name, row in rows():
        if stem != title:
            title = stem
            lines += ["", f"## {stem.removeprefix('test_').replace('_', ' ').capitalize()}", ""]
            lines += [
                "| fault | the number | `freshness` | `doctor` | exporter | exit code | test |",
                "|---|---|---|---|---|---|---|",
            ]
        cells = [str(getattr(row, field.name)).replace("|", "\\|") for field in fields(Fault)]
        lines.append(f"| {' | '.join(cells)} | `{name.removeprefix('test_')}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/faults.md is not what the tests say; run make docs")

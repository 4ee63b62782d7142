"""How numbers of a report are written: the same on the terminal and on the page, and always found by their path.

A path such as `("commands", "costliest", 0, "cost")` leads into the report as JSON has it, so that what is shown is
what the JSON says, by construction.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Path = tuple[str | int, ...]
Kind = Literal[
    "text",
    "prose",
    "count",
    "money",
    "percent",
    "change",
    "points",
    "probability",
    "factor",
    "bytes",
    "score",
    "average",
    "instant",
]
NOTHING = "–"
_MINUS = "−"


@dataclass(frozen=True)
class Number:
    """A value of the report and how it is written."""

    path: Path
    kind: Kind


Said = tuple["str | Number", ...]
"""A sentence with numbers in it."""


def at(report: Any, path: Path) -> Any:
    """The value at a path of the report as `to_dict` gives it."""
    for step in path:
        report = report[step]
    return report


def written(kind: Kind, value: Any) -> str:
    """The value as people read it; `–` for none."""
    if value is None or value == "":
        return NOTHING
    if kind in ("text", "prose"):
        return str(value)
    if kind == "instant":
        return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M}"
    if kind == "change":
        return _signed(100 * value, 0 if abs(value) >= 0.1 else 1, " %")
    if kind == "points":
        return _signed(100 * value, 1, " pp")
    if kind == "score":
        return _signed(value, 1, "")
    if kind == "probability":
        return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
    return _plain(kind, value)


def _plain(kind: Kind, value: float) -> str:
    match kind:
        case "percent":
            return f"{100 * value:.0f} %" if value >= 0.9995 or value == 0 else f"{100 * value:.1f} %"
        case "money":
            return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
        case "bytes":
            return _bytes(value)
        case "factor":
            return f"{value:.2f}"
        case "average":
            return f"{value:,.1f}"
        case _:
            return f"{value:,.0f}"


def sentence(said: Said, report: Any) -> str:
    """A sentence in plain text."""
    return "".join(one if isinstance(one, str) else written(one.kind, at(report, one.path)) for one in said)


def _signed(value: float, digits: int, unit: str) -> str:
    text = f"{abs(value):,.{digits}f}"
    sign = "" if float(text.replace(",", "")) == 0 else "+" if value > 0 else _MINUS
    return f"{sign}{text}{unit}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000 or unit == "GB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return ""

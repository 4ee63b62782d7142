"""Expected rows beside those that came out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from fleetgauge.errors import sure
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.measures import Distinct, Percentile, Tally
from fleetgauge.rollup.metric_tests.file import QUANTILE, GivenRow, keys
from fleetgauge.rollup.sketches import distinct, sketch, tally

QUANTILE_ERROR = 0.01
"""What a quantile may be off from the exact one, relatively."""
DISTINCT_ERROR = 0.08
"""What a count of different values may be off when it is estimated: five standard errors."""


@dataclass(frozen=True)
class Mismatch:
    """One thing that came out otherwise."""

    level: str
    row: str
    """What tells the row apart."""
    column: str
    expected: str
    actual: str


def differences(
    definition: Definition, level: Level, expected: list[GivenRow], actual: list[GivenRow]
) -> Iterator[Mismatch]:
    """Every row must be expected and every expected one be there; of each, the named columns must agree."""
    named = [name for name in keys(level) if any(name in row for row in expected)]
    left: dict[tuple[Any, ...], list[GivenRow]] = {}
    for row in actual:
        left.setdefault(_key(row, named), []).append(row)
    for row in expected:
        key = _key(row, named)
        cell = _words(row, named)
        match left.pop(key, []):
            case []:
                yield Mismatch(level.name, cell, "", "this row", "none")
            case [one]:
                for column, want in row.items():
                    if column not in named:
                        yield from _column(definition, level, cell, column, want, one[column])
            case several:
                more = ", ".join(name for name in keys(level) if name not in named)
                yield Mismatch(level.name, cell, "", "one row", f"{len(several)} rows; name {more} too")
    for rows in left.values():
        for row in rows:
            yield Mismatch(level.name, _words(row, keys(level)), "", "none", "this row")


def _column(definition: Definition, level: Level, cell: str, column: str, want: Any, got: Any) -> Iterator[Mismatch]:
    measure = definition.measures.get(column)
    if isinstance(measure, Percentile):
        for name, value in want.items():
            match = sure(QUANTILE.fullmatch(name), f"the quantile in {name}")
            found = sketch.quantile(got, float(match[1]) / 100)
            if not _near(value, found, QUANTILE_ERROR):
                yield Mismatch(level.name, cell, f"{column} {name}", str(value), _text(found))
        return
    if isinstance(measure, Tally):
        got = tally.counts(got)
        same = want == got
    elif isinstance(measure, Distinct):
        got = distinct.estimate(got)
        few = isinstance(want, int) and want <= distinct.EXACT
        same = _near(want, got, 0 if few else DISTINCT_ERROR)
    elif isinstance(got, float):
        same = _near(want, got, 1e-9)
    elif isinstance(got, Decimal) and isinstance(want, int | float) and not isinstance(want, bool):
        same = Decimal(repr(want)) == got
    else:
        same = type(got) is type(want) and got == want if isinstance(got, bool) else got == want
    if not same:
        yield Mismatch(level.name, cell, column, _text(want), _text(got))


def _near(want: Any, got: float | None, error: float) -> bool:
    if want is None or got is None:
        return want is got
    return isinstance(want, int | float) and math.isclose(want, got, rel_tol=0, abs_tol=error * abs(want) + 1e-9)


def _key(row: GivenRow, names: list[str]) -> tuple[Any, ...]:
    return tuple(row[name].astimezone(UTC) if isinstance(row[name], datetime) else row[name] for name in names)


def _words(row: GivenRow, names: list[str]) -> str:
    return " ".join(_text(row[name]) for name in names)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if value is None:
        return "NULL"
    return f"{value:f}" if isinstance(value, Decimal) else f"{value:g}" if isinstance(value, float) else str(value)

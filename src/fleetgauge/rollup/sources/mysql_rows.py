"""Answers of MariaDB or MySQL as rows of the rollup: cells, numbers, sketches."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from fleetgauge.postgres.nul_text import without_nul
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.rollup.definitions.measures import Column, Count, Distinct, Percentile, Sum, Tally
from fleetgauge.rollup.labels import cut_label, label_of
from fleetgauge.rollup.sketches import distinct
from fleetgauge.rollup.sketches.sketch import flat
from fleetgauge.rollup.sources.mysql_parts import CUT
from fleetgauge.rollup.sources.port import Row

_DIGITS = 30
"""After the point, of a double that was made a DECIMAL."""

Answer = Iterable[Sequence[Any]]
_Cell = tuple[Any, tuple[str, ...]]


def text_of(value: bytes | str) -> str:
    """A value as text that Postgres can hold; `decode` is never in doubt, for the server has made it of characters."""
    return without_nul(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)


def shown(value: bytes | None) -> str:
    """A value as a dimension shows it."""
    if value is not None and CUT in value:
        head, _, digest = value.rpartition(CUT)
        return cut_label(text_of(head), digest.decode())
    return label_of(None if value is None else text_of(value))


class Gathered:
    """The rows of several answers over the same windows, put together."""

    def __init__(self, columns: Sequence[Column], dimensions: int, window: Callable[[int], Any]) -> None:
        self._columns = {column.name: (position, column) for position, column in enumerate(columns)}
        self._dimensions = dimensions
        self._window = window
        self._found: dict[_Cell, list[Any]] = {}
        self._windows: dict[int, Any] = {}

    def numbers(self, columns: Sequence[Column], answer: Answer) -> None:
        """Of each column one number."""
        for row in answer:
            known = self._row(row)
            for column, value in zip(columns, row[1 + self._dimensions :], strict=True):
                known[self._columns[column.name][0]] = _number(value)

    def values(self, column: Column, answer: Answer, key: DistinctKey | None) -> None:
        """How often each value occurs, as the sketch of them all."""
        measure = column.measure
        counts: dict[_Cell, dict[int, int]] = {}
        number: Callable[[Any], int] = int
        if isinstance(measure, Distinct):
            used = key if measure.personal else None
            number = lambda value: distinct.fingerprint(text_of(value), used)  # noqa: E731
        for row in answer:
            *where, value, n = row
            of = counts.setdefault(self._cell(where), {})
            at = number(value)
            of[at] = of.get(at, 0) + int(n)
        for cell, of in counts.items():
            whole = distinct.short(distinct.of_fingerprints(of)) if isinstance(measure, Distinct) else flat(of)
            self._at(cell)[self._columns[column.name][0]] = whole

    def latest(self, column: Column, answer: Answer, offset: timedelta) -> None:
        """The value of a `last`, and its time beside it."""
        position = self._columns[column.name][0]
        for row in answer:
            *where, value, at = row
            known = self._at(self._cell(where))
            instant = at.replace(tzinfo=UTC) - offset
            value = _number(value)
            if known[position + 1] is None or (known[position + 1], known[position]) < (instant, value):
                known[position : position + 2] = [value, instant]

    @property
    def rows(self) -> list[Row]:
        """Window, dimensions, columns of the measures."""
        return [(window, *values, *row) for (window, values), row in self._found.items()]

    def _row(self, row: Sequence[Any]) -> list[Any]:
        return self._at(self._cell(row))

    def _cell(self, row: Sequence[Any]) -> _Cell:
        window = self._windows.get(row[0])
        if window is None:
            window = self._windows[row[0]] = self._window(int(row[0]))
        return window, tuple(shown(value) for value in row[1 : 1 + self._dimensions])

    def _at(self, position: _Cell) -> list[Any]:
        known = self._found.get(position)
        if known is None:
            known = self._found[position] = [_nothing(column) for _, column in self._columns.values()]
        return known


def _nothing(column: Column) -> Any:
    """What a column is without any row."""
    match column.measure:
        case Count() | Sum():
            return 0
        case Tally():
            return 0 if column.beside else []
        case Percentile():
            return []
        case Distinct():
            return ""
    return None


def _number(value: Any) -> Any:
    """As Postgres would tell it: without the digits that only the sum of a double has, for it was made a DECIMAL."""
    if isinstance(value, bytes):
        return text_of(value)
    if isinstance(value, Decimal) and value.as_tuple().exponent == -_DIGITS:
        return Decimal(f"{value:f}".rstrip("0").rstrip("."))
    return value


def left_out_by_column(
    answer: Iterable[tuple[int, str, int, bytes]], instant: Callable[[int], datetime]
) -> Mapping[tuple[datetime, str], tuple[int, list[str]]]:
    """Minute and column → how many rows, and the keys of some."""
    found: dict[tuple[datetime, str], tuple[int, list[str]]] = {}
    for minute, column, count, key in answer:
        found.setdefault((instant(minute), text_of(column)), (int(count), []))[1].append(text_of(key))
    return found

"""Pieces of SQL on MariaDB and MySQL: names in backticks, constants escaped, texts compared byte by byte.

Their usual collations hold `A`, `a` and `a ` for the same, which would merge two values into one; so every text is
compared as the bytes of its UTF-8.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleetgauge.errors import sure
from fleetgauge.mysql import literal, quoted
from fleetgauge.postgres.nul_text import with_nul
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Comparison, Distinct, Last, Scalar, Sum, Tally, Where
from fleetgauge.rollup.definitions.periods import offset_minutes
from fleetgauge.rollup.labels import EVERY, HEAD, LONGEST, OTHER, is_cut, value_of
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import LARGEST_WHOLE

LARGEST_DECIMAL = 10**28
"""A number of this size or more is left out: a DECIMAL has 35 digits before its point, and what is larger is cut to
them without a word. Ten million numbers below it fit into one sum."""
CUT = b"\xff"
"""Stands between the first characters of a long text and its SHA-256."""
BEGINNING = datetime(1000, 1, 1, tzinfo=UTC)
"""The first instant that these servers know; minutes are counted from it."""
CHANGES_BEGIN = datetime(1970, 1, 2, tzinfo=UTC)
"""A change time before it, zero dates among them, is none; a TIMESTAMP begins a day earlier."""
_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


@dataclass(frozen=True)
class SourceColumns:
    """A definition, and what its columns are; pure."""

    definition: Definition
    kinds: Mapping[str, str]
    """As `MysqlSession.columns` calls them; one that is not known is an instant, a number or a text, as it is used."""

    @property
    def rows(self) -> str:
        """All that source.sql returns, under the name `s`."""
        return f"(\n{self.definition.source_sql}\n) AS s"

    def bytes_of(self, column: str) -> str:
        """A value as the bytes of its text."""
        return f"CAST(CAST({col(column)} AS CHAR CHARACTER SET utf8mb4) AS BINARY)"

    def bounded(self, column: str) -> str:
        """The same, of a length that these servers can sort: they take as much memory as the longest text might need.

        Of a longer text stand its first characters and its SHA-256, behind a byte that no text has.
        """
        text = self.bytes_of(column)
        if self.kinds.get(column, "text") != "text":
            return text
        head = f"CAST(LEFT(CAST({col(column)} AS CHAR CHARACTER SET utf8mb4), {HEAD}) AS BINARY)"
        cut = f"CONCAT({head}, X'{CUT.hex()}', SHA2({text}, 256))"
        return f"LEFT(IF(OCTET_LENGTH({text}) > {LONGEST}, {cut}, {text}), {LONGEST})"

    def real(self, column: str) -> str:
        """Rows whose time is a day at all: `2026-11-00` is one to a lenient server, and lies between others."""
        if self.kinds.get(column) not in ("datetime", "date"):
            return "TRUE"
        return f"(MONTH({col(column)}) > 0 AND DAYOFMONTH({col(column)}) > 0)"

    def offset(self, column: str) -> timedelta:
        """How far its clock is ahead of UTC; sessions tell a TIMESTAMP in UTC."""
        minutes = offset_minutes(self.definition.datetime_offset) if self.kinds.get(column) == "datetime" else 0
        return timedelta(minutes=minutes)

    def at(self, column: str, instant: datetime) -> str:
        """An instant as the column would have it, so that an index on the column serves the comparison."""
        return literal(instant + self.offset(column))

    def minute(self, column: str) -> str:
        """Number of the minute, from `BEGINNING`, by the column's own clock."""
        return f"TIMESTAMPDIFF(MINUTE, TIMESTAMP'{BEGINNING:%Y-%m-%d} 00:00:00', {col(column)})"

    def number_of(self, column: str, instant: datetime) -> int:
        """What `minute` gives for an instant that is a whole one."""
        return (instant + self.offset(column) - BEGINNING) // timedelta(minutes=1)

    def instant(self, column: str, minute: int) -> datetime:
        """The other way round."""
        return BEGINNING + timedelta(minutes=minute) - self.offset(column)

    def within(self, spans: Iterable[Span]) -> str:
        """Rows with an event time in one of the spans."""
        event = self.definition.event_time
        found, real = self.inside(event, spans), self.real(event)
        return found if real == "TRUE" else f"({found} AND {real})"

    def inside(self, column: str, spans: Iterable[Span]) -> str:
        """That a time lies in one of the spans, as its index answers it."""
        parts = (
            f"({col(column)} >= {self.at(column, begin)} AND {col(column)} < {self.at(column, end)})"
            for begin, end in spans
        )
        return f"({' OR '.join(parts)})"

    def possible(self, latest_time: datetime | None = None) -> str:
        """Rows of an event time that is possible, and before the latest time accepted; zero dates are none."""
        earliest, before = self.definition.accepts.instants
        return self.within([(earliest, before if latest_time is None else min(before, latest_time))])

    @property
    def unfollowed(self) -> str:
        """Rows without a time of change."""
        change_time = sure(self.definition.change_time, "change_time")
        none = f"{col(change_time)} IS NULL OR {col(change_time)} < {self.at(change_time, CHANGES_BEGIN)}"
        real = self.real(change_time)
        return f"({none})" if real == "TRUE" else f"({none} OR NOT {real})"

    @property
    def told_apart(self) -> str:
        """Rows that have the key, where there is one."""
        return "TRUE" if self.definition.key is None else f"{col(self.definition.key)} IS NOT NULL"

    def where(self, where: Where) -> str:
        """`where` as one condition; TRUE when it is empty."""
        parts = [part for column, test in where.items() for part in self._tests(column, test)]
        return " AND ".join(parts) if parts else "TRUE"

    def _tests(self, column: str, test: Scalar | list[Scalar] | Comparison) -> Iterable[str]:
        if isinstance(test, list):
            yield self._among(column, "IN", test)
        elif not isinstance(test, Comparison):
            yield self._compared(column, "=", test)
        else:
            for name, operator in _OPERATORS.items():
                value = getattr(test, name)
                if value is not None:
                    yield self._compared(column, operator, value)
            if test.not_in:
                yield self._among(column, "NOT IN", test.not_in)
            if test.is_null is not None:
                yield f"{col(column)} IS {'' if test.is_null else 'NOT '}NULL"

    def _compared(self, column: str, operator: str, value: Scalar) -> str:
        exact = self._is_text(column, [value])
        return f"{self.bytes_of(column) if exact else col(column)} {operator} {_constant(value, exact=exact)}"

    def _among(self, column: str, operator: str, values: Sequence[Scalar]) -> str:
        exact = self._is_text(column, values)
        listed = ", ".join(_constant(value, exact=exact) for value in values)
        return f"{self.bytes_of(column) if exact else col(column)} {operator} ({listed})"

    def _is_text(self, column: str, values: Sequence[Scalar]) -> bool:
        kind = self.kinds.get(column)
        return kind == "text" or (kind is None and all(isinstance(value, str) for value in values))

    def labelled(self, column: str, labels: Iterable[str]) -> str:
        """Rows whose dimension has one of these labels; the overflow stands for no value."""
        told = [label for label in labels if label not in (OTHER, EVERY)]
        values = {value_of(label) for label in told if not is_cut(label)}
        digests = sorted({label[-64:] for label in told if is_cut(label)})
        known = sorted(with_nul(value) for value in values if value is not None)
        text = self.bytes_of(column)
        parts = [f"{text} IN ({', '.join(_bytes(value) for value in known)})"] if known else []
        parts += [f"SHA2({text}, 256) IN ({', '.join(map(literal, digests))})"] if digests else []
        parts += [f"{col(column)} IS NULL"] if None in values else []
        return f"({' OR '.join(parts) or 'FALSE'})"

    def exact(self, column: str) -> str:
        """A number as these servers add it up without rounding."""
        if self.kinds.get(column) == "double":
            return f"CAST({col(column)} AS DECIMAL(65, 30))"
        return col(column)

    @property
    def countable(self) -> list[tuple[str, str]]:
        """Column → what its values must be so that a row can be counted; NULL can, but as a key."""
        rules: dict[str, str] = {}
        for measure in self.definition.stored.values():
            of = getattr(measure, "of", None)
            if (
                of is None
                or isinstance(measure, Distinct | Tally)
                or (isinstance(measure, Last) and measure.type == "text")
            ):
                continue
            whole = isinstance(measure, Sum) and measure.type == "integer"
            limit = LARGEST_WHOLE if whole else LARGEST_DECIMAL - 1
            known = f"({col(of)} BETWEEN -{limit} AND {limit}) IS NOT FALSE"
            if whole or of not in rules:
                rules[of] = known
        key = self.definition.key
        return [*([] if key is None else [(key, self.told_apart)]), *rules.items()]

    @property
    def counted(self) -> str:
        """Rows that can be counted."""
        return " AND ".join(rule for _, rule in self.countable) or "TRUE"


def col(name: str) -> str:
    """A column of source.sql."""
    return f"s.{quoted(name)}"


def _constant(value: Scalar, *, exact: bool) -> str:
    return _bytes(str(value)) if exact else literal(value)


def _bytes(text: str) -> str:
    return f"CAST({literal(text)} AS BINARY)"

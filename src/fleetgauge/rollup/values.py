"""What a source is asked about and answers, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fleetgauge.rollup.spans import Span

LARGEST = 1e100
"""A number of this size or more is taken for garbage, as NaN and infinities are."""
LARGEST_WHOLE = 10**15
"""The same, itself no garbage yet, for sums of whole numbers: some thousand of them still fit into 64 bits."""

Cell = tuple[datetime, tuple[str, ...]]
"""A minute window's start (UTC) and the values of the dimensions, in the definition's order."""


@dataclass(frozen=True)
class BlockedCell:
    """A cell whose new row broke a `fail` check: it keeps the row that it has, and its window is not final."""

    window_start: datetime
    """Of the minute (UTC)."""
    dimensions: tuple[tuple[str, str], ...]
    """Name and value of each dimension; none where an earlier release blocked the whole window."""
    check: str
    tries: int = 1
    """How often it was computed and broke a check."""
    retry_at: datetime = datetime(1, 1, 1, tzinfo=UTC)
    """By the source watermark: not computed again before, unless its source rows change."""
    frozen: bool = False
    """Its source, or its rows, have expired: no run computes it again, so that somebody has to accept it as it is."""

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.window_start, tuple(value for _, value in self.dimensions)

    def __str__(self) -> str:
        where = "".join(f" {name}={value}" for name, value in self.dimensions)
        return f"{self.window_start:%Y-%m-%dT%H:%MZ}{where}"


@dataclass(frozen=True)
class Cursor:
    """Up to where changes are in the tables."""

    at: datetime
    """Every change with an earlier change time is in (UTC)."""
    token: Mapping[str, Any] | None = None
    """What the source notes besides, as JSON; None where an instant is all it needs."""


@dataclass(frozen=True)
class Placed:
    """In which cell a row is, for definitions with a `key`."""

    key: str
    cell: Cell | None
    """None while its event time is absurd, too far ahead of now, or NULL: then it is in no cell."""
    changed_at: datetime


@dataclass(frozen=True)
class SourceRows:
    """What lies behind a number at the source."""

    count: int
    query: str
    """Shows them: SQL, or the JSON body of a search. Reads only."""


@dataclass(frozen=True)
class LeftOut:
    """Facts that cannot be counted, for one reason."""

    window: datetime | None
    """The minute that they would be in (UTC); None for those whose time is absurd, or too far ahead."""
    column: str
    """Of source.sql: the one whose value is not finite, too large, or no time of a fleet."""
    count: int
    keys: Sequence[str]
    """What tells some of them, at most five."""
    ahead: bool = False
    """Whether their time is possible, but too far ahead of now: they count once it comes nearer."""

    without: bool = False
    """Whether they lack the key that tells a row, which goes with `column`."""

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        if self.without:
            return f"{self.column} is NULL, and no key"
        if self.ahead:
            return f"{self.column} is too far ahead of now"
        return f"{self.column} is " + ("no time of a fleet" if self.window is None else "not finite or too large")


@dataclass(frozen=True)
class Unfollowed:
    """Facts without a time of change: what becomes of them, or that they came late, is `reconcile`'s to find."""

    count: int
    """Up to `MANY` of them."""
    keys: Sequence[str]
    """What tells some of them, at most five."""

    MANY = 1_000


@dataclass(frozen=True)
class Touched:
    """What may differ from what was read before."""

    cells: Sequence[Cell] = ()
    spans: Sequence[Span] = field(default=())
    """Whole minutes, where the source cannot tell cells."""
    rows: Sequence[Placed] = ()
    """The changed rows themselves, of definitions with a `key`."""


@dataclass(frozen=True)
class Lost:
    """What a source had at a cursor and has no more, beside what expires."""

    spans: Sequence[Span] = ()
    """Time of which facts are lost: what was computed of it stays as it is."""
    token: Mapping[str, Any] | None = None
    """What the next cursor holds besides an instant, so that it remembers them."""
    unreadable: Sequence[Span] = ()
    """Time of which nothing can be read for now: its windows wait, and stop no others."""


@dataclass(frozen=True)
class Emptied:
    """A final hour whose facts the source has lost: it keeps its numbers."""

    window_start: datetime
    window_end: datetime
    counted: int
    """Facts, or where a metric does not count them all, cells."""
    found: int
    """What the source has of them."""
    accepted: str | None = None
    """Why the numbers are right as they are; None while nobody has said so."""

    @property
    def span(self) -> Span:
        """The hour."""
        return self.window_start, self.window_end

    def __str__(self) -> str:
        return f"{self.window_start:%Y-%m-%dT%H:%MZ}: {self.found} of {self.counted}"


@dataclass(frozen=True)
class Repeated:
    """Whether events are stored twice, by a sample of one day: an id is unique, but only within a day's index."""

    day: datetime
    """When the day begins (UTC)."""
    sampled: int
    """Events that were looked at."""
    found: int
    """Those of them that are stored under another day too, so that each counts once for each day."""
    example: str | None = None
    """The id of one."""

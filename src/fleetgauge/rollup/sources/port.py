"""What the engine asks of a source, whatever stands behind it: aggregates by minute and dimension, and what changed.

A second dialect is one more class with the members of `Source`, whose looks answer the questions of `Facts`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Protocol

from fleetgauge.errors import Conflict as Conflict
from fleetgauge.errors import Terminal, Transient
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import Cell, Cursor, LeftOut, Lost, Placed, Repeated, SourceRows, Touched, Unfollowed

Row = tuple[Any, ...]

ROLLUP = "rollup"
"""How the rollup's sessions on a Postgres are named; the writing ones have it as a prefix."""


class Behind(Transient):
    """The source shows less than was read from it before: another, slower replica answers. Later it will be there."""


class Facts(Protocol):
    """One metric's facts in one consistent look. Each question blocks; rows are window, dimensions, stored measures."""

    source_watermark: SourceWatermark | None
    """How far the look can be trusted; None while the source cannot say."""
    token: Mapping[str, Any] | None
    """What the next cursor must hold besides an instant; None where an instant is all."""

    def first_event(self) -> datetime | None:
        """The earliest event time."""
        ...

    def about(self, spans: Sequence[Span]) -> int | None:
        """About how many facts have their event time in the spans, without reading them; None if that is not known."""
        ...

    def touched(self, since: Cursor, watermark: datetime, *, first: bool) -> Touched:
        """What changed since the cursor; on a metric's `first` run, besides, all facts from the watermark on.

        Facts too far ahead of now (`Accepts.ahead`) touch nothing: their windows are computed once time is there.
        """
        ...

    def lost(self, since: Cursor | None) -> Lost:
        """Which facts were there at the cursor and are gone, and what the next cursor notes. Asked before `touched`."""
        ...

    def windows(self, span: Span) -> list[Row]:
        """The rows of every minute in [begin, end)."""
        ...

    def placed(self, span: Span) -> list[Placed]:
        """The rows of every minute in [begin, end), of definitions with a `key`."""
        ...

    def cells(self, wanted: Sequence[Cell]) -> list[Row]:
        """The rows of these cells; a cell without facts gives none."""
        ...

    @property
    def all_counted(self) -> bool:
        """Whether the last `windows` or `cells` came across no fact that cannot be counted; False: it is not known."""
        ...

    def left_out(self, spans: Sequence[Span]) -> list[LeftOut]:
        """The facts of these spans that cannot be counted: NaN, infinite, absurdly large."""
        ...

    def out_of_range(self) -> list[LeftOut] | None:
        """The facts with an absurd event time, and those too far ahead of now; None if that is not known."""
        ...

    def unfollowed(self) -> Unfollowed | None:
        """The facts whose changes are not seen, for they have no time of change; None if that is not known."""
        ...

    def source_rows(self, span: Span, where: Mapping[str, str]) -> SourceRows:
        """The facts that count in the span and have these labels of dimensions, as far as they are given."""
        ...

    def dear(self, now: datetime) -> list[str]:
        """Which of the questions of a run would read a large table from end to end, with what production needs."""
        ...

    def repeated(self, before: datetime) -> Repeated | None:
        """Whether facts are there twice, by a sample of the last day that ends by then; None where a key forbids it."""
        ...

    def totals(self, edges: Sequence[datetime]) -> list[Row]:
        """For each stretch between two edges (its number from 0) and dimensions: the stored measures.

        There may be several rows of the same, to be merged.
        """
        ...


class Source(Protocol):
    """A port, so that a test may break a connection between any two statements. Not thread-safe."""

    name: str
    seconds: float
    """Time spent on the source so far."""

    def look(self, definition: Definition) -> AbstractContextManager[Facts]:
        """Open a guarded, consistent look; blocks. Raises `Stop` on a primary, `Conflict` when it breaks off."""
        ...

    def connect_ahead(self, definition: Definition) -> None:
        """Begin to connect, where that takes long and is not done yet: a look will follow, which raises what fails.

        Does not block, and never raises.
        """
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class _Seen(Protocol):
    @property
    def definition(self) -> Definition: ...

    source_watermark: SourceWatermark | None


def latest_time(facts: _Seen) -> datetime:
    """Facts from this time on wait until it comes nearer."""
    mark = facts.source_watermark
    if mark is None:
        raise Conflict(f"source {facts.definition.source} lost its heartbeat; let production write it again")
    return facts.definition.accepts.latest_time(mark.heartbeat_at)


def key_of(definition: Definition, key: DistinctKey | None) -> DistinctKey | None:
    """The key of the definition's fingerprints; None if they need none. Raises `Terminal` without the right one."""
    if definition.lacks_key is not None:
        raise Terminal(definition.lacks_key)
    if not definition.personal:
        return None
    if key is None or key.id != definition.distinct_key:
        raise Terminal(
            f"metric {definition.metric} was read with key {definition.distinct_key} of fingerprints, and the settings "
            f"have {'none' if key is None else key.id}; start again with one rollup.distinct_key"
        )
    return key


@contextmanager
def looking(source: Source) -> Iterator[None]:
    """What every look does: its time counts as the source's, and after a failure the connection is given back."""
    began = time.perf_counter()
    try:
        yield
    except BaseException:
        source.close()
        raise
    finally:
        source.seconds += time.perf_counter() - began

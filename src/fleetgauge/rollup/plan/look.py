"""What one consistent look at a source found, as a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import Cell, Cursor, LeftOut, Touched, Unfollowed


@dataclass(frozen=True)
class Look:
    """Instants are UTC. Without a watermark the source could not say anything, and the rest is empty."""

    source: str
    """Its name, for messages."""
    watermark: datetime | None = None
    """The source watermark: every change with an earlier change time is visible."""
    heartbeat_at: datetime | None = None
    """When that was measured on the source's side."""
    first_event: datetime | None = None
    """The earliest event time; looked up only for a metric that has no history yet. None: no fact, or not asked."""
    first_event_known: bool = True
    """False where the answer would have cost the source too much: then no plan can say where history begins."""
    source_begins: datetime | None = None
    """The earliest event as an older version sees the source: whether it still has what that version computed from."""
    source_begins_known: bool = False
    """Whether that was asked, and answered: with None if that version would find no fact at all."""
    source_begins_whole: bool = False
    """Whether that version counted nothing of its day before it, and as much of its minute as the source still has."""
    touched: Touched = field(default_factory=Touched)
    """What changed since the ledger's cursor."""
    lost: Sequence[Span] = ()
    """Time of which the source has lost facts since the ledger's cursor, or before it: what was computed stays."""
    unreadable: Sequence[Span] = ()
    """Time of which the source can read nothing for now: its windows are left for a later run."""
    places: Sequence[Cell] = ()
    """Cells in which the rows of `touched` were noted before; of definitions with a `key`."""
    out_of_range: Sequence[LeftOut] | None = None
    """The facts with an absurd event time, and those too far ahead of now; None: not known, or not asked."""
    unfollowed: Unfollowed | None = None
    """The facts without a time of change; None: not known, or not asked."""
    cursor: Cursor | None = None
    """Where the next run goes on, once this one is through."""
    clocks: Mapping[str, datetime] = field(default_factory=dict)
    """What each independent clock said at that moment, by its name; empty where clocks are not compared."""
    unknown: Sequence[str] = ()
    """What was not asked, since the answer would cost the source too much. Unknown is not nothing."""

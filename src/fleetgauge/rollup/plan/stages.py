"""The stages of a plan: data alone. `execute.executor` knows how each is done, and does them in this order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import Cell, Cursor, LeftOut, Placed, Unfollowed

Reason = Literal[
    "first run",
    "missing",
    "new version",
    "blocked before",
    "asked for",
    "changed",
    "late",
    "overflow",
    "differs from source",
    "watermark moved",
    "source expired",
    "a clock was wrong",
    "its rows are gone",
]
"""Why a stage is there."""

FORCED: frozenset[Reason] = frozenset({"asked for", "changed", "overflow", "differs from source", "its rows are gone"})
"""Windows of these are computed even if they are done: rows of the ledger's `done` are what is wrong with them."""


@dataclass(frozen=True)
class Begin:
    """Lay down, once, where history begins. Skipped if another worker has meanwhile."""

    at: datetime
    """Nothing happened before (UTC)."""
    cursor: Cursor
    """Changes are read from here on."""
    heartbeat_at: datetime
    kept_from: Mapping[Grain, datetime | None]
    """By grain, from where on rows are kept; None: all."""
    unavailable: tuple[Span, ...] = ()
    """Minutes that cannot be computed, since the source is not whole there: they, and the hours and days that they lie
    in, are never final, and older versions go on showing theirs."""
    reason: Reason = "first run"


@dataclass(frozen=True)
class Forgo:
    """Give up windows that were never computed, since the source is not whole there any more: no part is shown."""

    spans: tuple[Span, ...]
    reason: Reason = "source expired"


@dataclass(frozen=True)
class TakeBack:
    """Forget what an earlier run did by a clock that was ahead: nothing from `since` on is done or closed any more."""

    since: datetime
    """The minute from which on all is computed anew; hours and days from the one that holds it."""
    cursor: Cursor
    """Changes are read from here on again."""
    heartbeat_at: datetime
    reason: Reason = "a clock was wrong"


@dataclass(frozen=True)
class NotePlaces:
    """Remember in which cells moved rows are now, before anything is computed there."""

    rows: tuple[Placed, ...]
    reason: Reason = "changed"


@dataclass(frozen=True)
class ComputeSpan:
    """Compute whole windows anew from the source, and the hours and days above them in the same transactions."""

    span: Span
    """Whole windows of `grain` (UTC); the executor cuts it into pieces that the source bears."""
    grain: Grain
    """The finest whose rows are kept there."""
    reason: Reason
    restates: bool = False
    """Whether what changes in closed windows counts as restated."""


@dataclass(frozen=True)
class ComputeCells:
    """Compute touched cells (minute × dimension values) anew from the source, and what is above them."""

    cells: tuple[Cell, ...]
    """In order, neighbours share pages. One that turns out not to fit is computed as its whole window."""
    reason: Reason = "changed"


@dataclass(frozen=True)
class RollUp:
    """Make whole windows of a grain, and of those above it, anew from the grain below."""

    span: Span
    grain: Grain
    """`hour` or `day`."""
    reason: Reason


@dataclass(frozen=True)
class KeepFrozen:
    """Leave these as they are, since their source is not whole any more, or their rows have expired."""

    spans: tuple[Span, ...] = ()
    cells: tuple[Cell, ...] = ()
    late: int = 0
    """How many minutes and cells to count as late changes that were not applied."""
    reason: Reason = "late"


@dataclass(frozen=True)
class Advance:
    """The end of a run: changes are read from a later cursor, and windows close."""

    cursor: Cursor
    heartbeat_at: datetime
    closed_until: datetime
    """Minutes that end by it close, save blocked ones; hours and days with their last minute."""
    moved: tuple[Placed, ...] = ()
    """Rows whose former cells are computed by now, and need not be remembered."""
    out_of_range: Sequence[LeftOut] | None = None
    """To be told: facts with an absurd event time, and those too far ahead of now; None: not known."""
    unfollowed: Unfollowed | None = None
    """To be told: facts without a time of change; None: not known."""
    reason: Reason = "watermark moved"


@dataclass(frozen=True)
class Publish:
    """Make the views show this version as it is, now that it is filled. Others' views are not broken for it."""

    instead_of: str | None
    """The version that they show before; None: none, or this one in another shape."""
    reason: Reason = "new version"


Stage = Begin | Forgo | TakeBack | NotePlaces | ComputeSpan | ComputeCells | RollUp | KeepFrozen | Advance | Publish

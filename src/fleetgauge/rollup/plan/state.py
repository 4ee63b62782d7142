"""The ledger of one version of a metric, as a value. The metrics database is read by `store.state_reader`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.plan.ages import Ages
from fleetgauge.rollup.spans import MINUTE, Span, floor, intersect, subtract, union
from fleetgauge.rollup.values import BlockedCell, Cursor, Emptied
from fleetgauge.rollup.windows import BEGINNING, whole_windows

Spans = tuple[Span, ...]
ViewsState = Literal["current", "due", "waiting"]
"""`due`: they can be made to show this version as it is now; `waiting`: only once a run has filled it, or has
brought it up to what another version shows."""
ByGrain = Mapping[Grain, Spans]

NOTHING: ByGrain = dict.fromkeys(GRAINS, ())


@dataclass(frozen=True)
class State:
    """Instants are UTC; spans are sorted and disjoint, and begin at `windows.BEGINNING` where they have no begin."""

    done: ByGrain = field(default_factory=lambda: NOTHING)
    """What is computed, by grain."""
    closed: ByGrain = field(default_factory=lambda: NOTHING)
    """What of it is final."""
    unavailable: ByGrain = field(default_factory=lambda: NOTHING)
    """Windows that this version cannot compute, since its source is not whole there; older versions show theirs."""
    older: Span | None = None
    """The oldest window that older versions show a row of; looked up only before a first run. None: none."""
    inherited: Cursor | None = None
    """Before a first run: where the latest older version stands, whose token remembers what its source has lost."""
    blocked: tuple[BlockedCell, ...] = ()
    """Cells whose new rows broke a check."""
    emptied: tuple[Emptied, ...] = ()
    """Final hours whose facts the source has lost."""
    gone: ByGrain = field(default_factory=lambda: NOTHING)
    """Final windows, by grain, whose rows somebody has removed from the tables."""
    cursor: Cursor | None = None
    """Changes before it are in the tables, for windows that are done."""
    heartbeat_at: datetime | None = None
    """The newest heartbeat that rows were computed under."""
    ages: Ages = field(default_factory=lambda: Ages(dict.fromkeys(GRAINS), None))
    """What is still kept."""
    admitted: frozenset[tuple[str, str]] = frozenset()
    """Dimension values that have rows of their own: (dimension, value)."""
    shown: str | None = None
    """The version that the views show; None: none yet."""
    views: ViewsState = "waiting"
    """How the views stand to this version."""
    zone: str = "UTC"
    """The metric's time zone."""

    @property
    def begun(self) -> bool:
        """Whether a first run laid down where history begins."""
        return bool(self.done["minute"]) or self.cursor is not None

    @property
    def complete(self) -> bool:
        """Whether a run has ever reached its end."""
        return bool(self.closed["minute"])

    def closed_after(self, until: datetime) -> ByGrain:
        """What is closed once minutes that end by `until` close: never beyond what is done, no minute that is blocked
        or unavailable, and of hours and days only those that consist of closed minutes."""
        reached = union([*self.closed["minute"], (BEGINNING, floor(until))])
        minutes = subtract(
            intersect(reached, self.done["minute"]),
            [*self.unavailable["minute"], *((b.window_start, b.window_start + MINUTE) for b in self.blocked)],
        )
        found: dict[Grain, Spans] = {"minute": tuple(minutes)}
        for grain in GRAINS[1:]:
            whole = whole_windows(minutes, grain, self.zone)
            found[grain] = tuple(intersect(self.done[grain], whole))
        return found

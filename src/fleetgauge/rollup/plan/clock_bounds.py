"""No clock is believed alone: what one says is bounded by the others before anything is computed or closed by it.

The clocks of a look are the worker's, the metrics database's and, of a replica, its host's; the source's claim is its
heartbeat, or for documents the worker's own time. The *agreed* time is their median, of an even number the earlier of
the middle two: one wrong clock of three is outvoted, and of two nothing later than either is believed. A source that
claims more than that and a tolerance is refused, and nothing changes. Taking back what is done needs more than
refusing: that every single clock calls it impossible.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from fleetgauge.errors import sure
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.plan.ages import ages
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.stages import TakeBack
from fleetgauge.rollup.plan.state import Spans, State
from fleetgauge.rollup.spans import floor, subtract
from fleetgauge.rollup.values import Cursor
from fleetgauge.rollup.windows import FOREVER, window_start

TOLERANCE = timedelta(seconds=10)
"""How far a source may be ahead of the agreed time."""
TAKEN_BACK = timedelta(days=1)
"""How much before a wrong clock's mark is computed anew: nobody knows when it was set. `reconcile` finds older."""
OLDEST_FIRST = timedelta(days=1)
"""History does not begin by an older heartbeat than this: there would be no end of empty windows after it."""
FARTHEST_STEP = timedelta(hours=1)
"""How far back changes are read again at most; what a clock that was set back further hides, `reconcile` finds."""
UNSEEN_STEP = timedelta(seconds=60)
"""How far back changes are always read again where nobody remembers the steps of the source's clock: it may have been
set back by so much, and forward again, between two looks."""


def agreed(clocks: Mapping[str, datetime]) -> datetime | None:
    """The median; of an even number the earlier of the middle two. None without any clock."""
    readings = sorted(clocks.values())
    return readings[(len(readings) - 1) // 2] if readings else None


def skew(clocks: Mapping[str, datetime]) -> timedelta:
    """How far the two that differ most are apart."""
    return max(clocks.values()) - min(clocks.values()) if clocks else timedelta()


def refusal(
    source: str, claims: datetime, clocks: Mapping[str, datetime], tolerance: timedelta, *, first: bool = False
) -> str | None:
    """What to say when the source's claim of the time cannot be; None if it can. `first`: history is to begin by it."""
    now = agreed(clocks)
    if now is None:
        return None
    told = ", ".join(f"{name} {_said(at)}" for name, at in clocks.items())
    if claims > now + tolerance:
        return (
            f"source {source} claims {_said(claims)}, which is {(claims - now).total_seconds():.0f} s ahead of the"
            f" other clocks ({told}); nothing is computed by it: correct the clock that is wrong (NTP)"
        )
    if first and claims < now - OLDEST_FIRST:
        return (
            f"source {source} says it is {_said(claims)}, while the other clocks say {told}; history does not begin by"
            " that: see whether production's heartbeat job runs, and its clock"
        )
    return None


def possible_step(heartbeat_at: datetime, clocks: Mapping[str, datetime], tolerance: timedelta) -> timedelta:
    """How far the source's clock may have been set back since any earlier look.

    It was never ahead of the agreed time by more than the tolerance, and is now behind it by no more than the
    heartbeat's age. Rows written since then may carry times that are so much before the cursor.
    """
    now = agreed(clocks)
    if now is None:
        return timedelta()
    return min(max(timedelta(), now - heartbeat_at + tolerance), FARTHEST_STEP)


def impossible(state: State, clocks: Mapping[str, datetime], tolerance: timedelta) -> bool:
    """Whether the ledger claims what no clock allows, since an earlier run believed a clock that was wrong.

    Before a first run it claims nothing: where history begins is laid down by that run.
    """
    if not clocks or not state.begun or state.cursor is None:
        return False
    limit = max(clocks.values()) + tolerance
    marks = [spans[-1][1] for by in (state.done, state.closed) for spans in by.values() if spans]
    marks += [state.cursor.at, *([] if state.heartbeat_at is None else [state.heartbeat_at])]
    return any(at > limit for at in marks)


def taken_back(definition: Definition, state: State, look: Look) -> tuple[State, TakeBack]:
    """The state without what a wrong clock has put into it, and the stage that makes it so."""
    watermark = sure(look.watermark, "the source's watermark")
    heartbeat_at = sure(look.heartbeat_at, "the source's heartbeat")
    known = sure(state.cursor, "the cursor of a metric that was begun")
    kept = ages(definition, state.ages.kept, heartbeat_at, state.unavailable["minute"])
    whole = [at for at in (kept.whole_from, kept.kept[definition.finest], watermark - TAKEN_BACK) if at is not None]
    cut = floor(min(watermark, max(whole)))
    cursor = Cursor(min(known.at, watermark - TAKEN_BACK), known.token)
    return (
        replace(
            state,
            done={grain: _until(spans, grain, cut, state.zone) for grain, spans in state.done.items()},
            closed={grain: _until(spans, grain, cut, state.zone) for grain, spans in state.closed.items()},
            cursor=cursor,
            heartbeat_at=heartbeat_at,
            ages=kept,
        ),
        TakeBack(cut, cursor, heartbeat_at),
    )


def _until(spans: Spans, grain: Grain, cut: datetime, zone: str) -> Spans:
    return tuple(subtract(spans, [(window_start(cut, grain, zone), FOREVER)]))


def _said(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"

"""From the ledger's state, a look at the source and a request to a plan. Pure: asks nobody, changes nothing."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fleetgauge.errors import sure
from fleetgauge.rollup.definitions.admission import Admission
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.plan import clock_bounds
from fleetgauge.rollup.plan.ages import ages, kept_from
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.request import BackfillRequest, OverflowRequest, ReconcileRequest, Request, RunRequest
from fleetgauge.rollup.plan.stages import (
    FORCED,
    Advance,
    Begin,
    ComputeCells,
    ComputeSpan,
    Forgo,
    KeepFrozen,
    NotePlaces,
    Publish,
    Reason,
    RollUp,
    Stage,
)
from fleetgauge.rollup.plan.state import ByGrain, State
from fleetgauge.rollup.spans import HOUR, MINUTE, Span, clip, covers, floor, inside, intersect, join, subtract, union
from fleetgauge.rollup.values import Cell
from fleetgauge.rollup.windows import BEGINNING, whole_windows, widen, window_start

DENSE = 600
"""An hour with more touched cells than this is read whole."""


@dataclass(frozen=True)
class Plan:
    """What will be done for one metric, in order; empty if there is nothing to do. Instants are UTC."""

    metric: str
    version: str
    zone: str
    """The metric's time zone, in which hours and days are counted."""
    request: Request
    stages: tuple[Stage, ...] = ()
    source_watermark: datetime | None = None
    """Every change of the source with an earlier change time was seen; None where the source is not asked."""
    computing_watermark: datetime | None = None
    """Minutes that end by it are computed as a whole, once."""
    closing_watermark: datetime | None = None
    """The least of the source watermark and the one given; less the grace, windows that end by it close."""
    heartbeat_at: datetime | None = None
    """No look that is older than this one may be computed from."""
    deferred: str | None = None
    """Why nothing can be done now."""
    refused: bool = False
    """Whether that is a fault: a clock says what cannot be. Else the source only has to come further."""
    unknown: tuple[str, ...] = ()
    """What was not looked up, and may add stages."""

    @property
    def empty(self) -> bool:
        """Whether there is certainly nothing to do."""
        return not self.stages and not self.unknown and self.deferred is None


def plan(
    definition: Definition,
    state: State,
    look: Look | None,
    request: Request,
    *,
    dense: int = DENSE,
    tolerance: timedelta = clock_bounds.TOLERANCE,
) -> Plan:
    """The plan of one request. `look` may be None where the source is not read: hours and days from the grain below.

    The same arguments give the same plan; executing it leaves nothing of it to do.
    """
    empty = Plan(definition.metric, definition.version, definition.time_zone, request)
    match request:
        case RunRequest(grain=grain, interval=interval) if grain != "minute":
            return replace(empty, stages=tuple(_roll_ups(definition, state, grain, interval)))
        case BackfillRequest(piece=piece, grain=grain) if above(definition, grain):
            return replace(empty, stages=tuple(_asked_above(definition, state, grain, piece)))
    look = sure(look, "the look at the source")
    refused = refusal(state, look, tolerance)
    taken: list[Stage] = []
    if refused is None and clock_bounds.impossible(state, look.clocks, tolerance):
        state, stage = clock_bounds.taken_back(definition, state, look)
        taken.append(stage)
    deferred = refused or _deferral(state, look)
    if deferred is not None:
        return replace(empty, deferred=deferred, refused=refused is not None, unknown=tuple(look.unknown))
    watermark = sure(look.watermark, "the source's watermark")
    given = request.watermark if isinstance(request, RunRequest) else None
    found = replace(
        empty,
        source_watermark=watermark,
        computing_watermark=computing_watermark(definition, watermark),
        closing_watermark=watermark if given is None else min(watermark, given),
        heartbeat_at=sure(look.heartbeat_at, "the time of the source's heartbeat"),
        unknown=tuple(look.unknown),
    )
    if not state.begun and not look.first_event_known:
        return found
    if state.emptied:
        look = replace(look, lost=[*look.lost, *(one.span for one in state.emptied)])
    if look.lost:
        state = replace(state, ages=state.ages.without(look.lost, definition.time_zone))
    first = list(_begin(definition, state, look))
    after = _begun(definition, state, first[0], look.lost) if first else state
    match request:
        case RunRequest():
            work = _minute(definition, after, look, found, request.interval, dense)
        case BackfillRequest(piece=piece):
            work = _anew(definition, after, found, [piece], "asked for")
        case ReconcileRequest(hours=hours):
            work = _anew(definition, after, found, hours, "differs from source")
        case OverflowRequest(windows=windows):
            work = _anew(definition, after, found, windows, "overflow")
    stages: list[Stage] = [*taken, *first, *work]
    if isinstance(request, RunRequest):
        forgone = any(isinstance(stage, Forgo) for stage in stages)
        stages += _end(definition, state, look, found, busy=bool(stages), forgone=forgone)
    return replace(found, stages=tuple(stages))


def computing_watermark(definition: Definition, watermark: datetime) -> datetime:
    """Windows that end by it are computed as a whole; without a change column only those that no late fact enters."""
    reached = watermark if definition.sees_changes else watermark - definition.grace
    return window_start(reached, definition.finest, definition.time_zone)


def above(definition: Definition, grain: Grain) -> bool:
    """Whether the grain is made from one below it, and not from the source."""
    return GRAINS.index(grain) > GRAINS.index(definition.finest)


def at_rest(definition: Definition, state: State, request: RunRequest, now: datetime | None) -> Plan | None:
    """The plan to do nothing, where a run need not even look at the source: without minutes it looks once an hour.

    For the windows of such a metric appear once they have ended, and what comes late computes whole ones anew. `now`
    is the metrics database's clock; if that is wrong, a look comes early or late, and nothing else.
    """
    if definition.finest == "minute" or request.grain != "minute" or now is None:
        return None
    if not state.complete or state.cursor is None or state.views != "current":
        return None
    zone, grace = definition.time_zone, definition.grace
    if request.interval is not None and request.interval[0] < window_start(now, definition.finest, zone):
        return None
    if window_start(now - grace, "hour", zone) != window_start(state.cursor.at - grace, "hour", zone):
        return None
    return Plan(definition.metric, definition.version, zone, request)


def behind(source: str, heartbeat_at: datetime, newest: datetime | None) -> str | None:
    """What to say when a look is older than what was read before; None if it is not."""
    if newest is None or heartbeat_at >= newest:
        return None
    return (
        f"source {source} is behind what was read before ({heartbeat_at:%Y-%m-%dT%H:%M:%SZ}, "
        f"then {newest:%Y-%m-%dT%H:%M:%SZ}); the run waits until this replica has caught up"
    )


def refusal(state: State, look: Look, tolerance: timedelta) -> str | None:
    """What to say when the look's clock cannot be right; None if it can."""
    if look.heartbeat_at is None:
        return None
    return clock_bounds.refusal(look.source, look.heartbeat_at, look.clocks, tolerance, first=not state.begun)


def _deferral(state: State, look: Look) -> str | None:
    if look.watermark is None or look.heartbeat_at is None:
        return f"source {look.source} has shown no heartbeat yet"
    return behind(look.source, look.heartbeat_at, state.heartbeat_at)


def _begin(definition: Definition, state: State, look: Look) -> Iterator[Begin]:
    if state.begun:
        return
    watermark = sure(look.watermark, "the source's watermark")
    limit = computing_watermark(definition, watermark)
    kept = kept_from(definition, watermark)
    begin = min(look.first_event or limit, limit)
    if kept["day"] is not None:  # what no table keeps is not history
        begin = max(begin, kept["day"])
    heartbeat_at = sure(look.heartbeat_at, "the time of the source's heartbeat")
    lost = unavailable(definition, state, look, limit, heartbeat_at)
    for span in lost:
        begin = max(begin, span[1])
    gone = subtract([part for one in look.lost for part in clip(one, limit)], [(BEGINNING, begin)])
    yield Begin(begin, sure(look.cursor, "the cursor"), heartbeat_at, kept, (*lost, *gone))


def unavailable(
    definition: Definition, state: State, look: Look, limit: datetime, heartbeat_at: datetime
) -> tuple[Span, ...]:
    """What a version that begins now cannot compute: minutes that older versions could, or of which a part is left.

    Two witnesses: how long the source is said to keep its facts, and whether it still has the earliest that an older
    version has counted.
    """
    whole_from = ages(definition, {}, heartbeat_at).whole_from
    found = []
    if state.older is not None:
        if whole_from is not None and state.older[0] < whole_from:
            found.append(whole_from)
        begins = look.source_begins if look.source_begins_known else look.first_event
        if begins is None:
            found.append(limit)
        elif begins >= state.older[1]:
            day = window_start(begins, "day", definition.time_zone)
            found.append(day if look.source_begins_whole else floor(begins) + MINUTE)
    if found:
        return ((BEGINNING, min(max(found), limit)),)
    if whole_from is not None and look.first_event is not None and look.first_event < whole_from:
        first = floor(look.first_event)  # what came before it may be gone: its hour and day are never whole
        return ((first - MINUTE, first),)
    return ()


def _begun(definition: Definition, state: State, begin: Begin, gone: Sequence[Span]) -> State:
    zone = definition.time_zone
    lost: ByGrain = {g: tuple(union(widen(span, g, zone) for span in begin.unavailable)) for g in GRAINS}
    done = {g: tuple(subtract([(BEGINNING, window_start(begin.at, g, zone))], lost[g])) for g in GRAINS}
    found = ages(definition, begin.kept_from, begin.heartbeat_at, begin.unavailable).without(gone, zone)
    return replace(state, done=done, unavailable=lost, ages=found)


def _minute(
    definition: Definition, state: State, look: Look, found: Plan, interval: Span | None, dense: int
) -> Iterator[Stage]:
    limit = sure(found.computing_watermark, "the computing watermark")
    missing = subtract([(BEGINNING, limit)], [*state.done["minute"], *state.unavailable["minute"]])
    forgone = []
    if state.complete and state.ages.whole_from is not None:  # a first run takes what the source still has
        forgone = intersect(missing, [(BEGINNING, state.ages.whole_from)])
    missing = subtract(missing, forgone)
    missing = subtract(missing, look.unreadable)
    due, whole = _due(definition, state, look)
    whole = subtract(whole, look.unreadable)
    wanted = [*missing, *whole]
    asked = [] if interval is None else clip(interval, limit)
    changed = [part for span in look.touched.spans for part in subtract(clip(span, limit), look.unreadable)]
    touched = {*look.touched.cells, *look.places}
    if definition.finest != "minute":  # what is in the running window is computed with it, once it has ended
        touched = {cell for cell in touched if cell[0] < limit}
    cells, crowded = _sort_out(touched, [*wanted, *asked, *changed], limit, dense)
    if forgone:
        yield Forgo(tuple(forgone))
    if look.touched.rows:
        yield NotePlaces(tuple(look.touched.rows))
    yield from _gone(definition, state, look)
    new = not state.complete and state.shown not in (None, definition.version)
    yield from _compute(definition, state, missing, "new version" if new else "missing")
    yield from _compute(definition, state, subtract(whole, missing), "blocked before")
    yield from _compute(definition, state, subtract(asked, wanted), "asked for")
    yield from _compute(
        definition, state, subtract([*changed, *crowded], [*wanted, *asked]), "changed", restates=True, late=True
    )
    yield from _cells(definition, state, cells)
    due = [cell for cell in due if not inside(cell[0], look.unreadable)]
    computed = covers([*wanted, *asked, *changed, *crowded])
    retried = {cell for cell in due if not computed(cell[0])} - set(cells)
    yield from _cells(definition, state, sorted(retried), "blocked before")


def _gone(definition: Definition, state: State, look: Look) -> Iterator[Stage]:
    """What somebody has removed from the tables, before anything is merged from what is left."""
    lacking = {grain: intersect(state.gone[grain], state.closed[grain]) for grain in GRAINS}
    yield from _compute(definition, state, subtract(lacking[definition.finest], look.unreadable), "its rows are gone")
    for grain in GRAINS:
        if above(definition, grain):
            spans = [widen(span, grain, definition.time_zone) for span in lacking[grain]]
            for span in _makeable(state, grain, spans)[0]:
                yield RollUp(span, grain, "its rows are gone")


def _due(definition: Definition, state: State, look: Look) -> tuple[list[Cell], list[Span]]:
    """The blocked cells that are tried again now, and as spans whole windows that an earlier release has blocked.

    What broke a check that is no more is tried at once. What can't be computed any more stays as it is, and blocked.
    """
    watermark = sure(look.watermark, "the source watermark")
    checks = {check.text for check in definition.blocking}
    kept = [b for b in state.blocked if not state.ages.frozen(b.window_start)]
    due = [b for b in kept if b.retry_at <= watermark or b.check not in checks]
    apart = [b for b in due if len(b.dimensions) == len(definition.dimensions)]
    whole = sorted({b.window_start for b in due if len(b.dimensions) != len(definition.dimensions)})
    return [b.cell for b in apart], join(whole)


def _anew(definition: Definition, state: State, found: Plan, spans: Sequence[Span], reason: Reason) -> Iterator[Stage]:
    limit = sure(found.computing_watermark, "the computing watermark")
    parts = [part for span in spans for part in clip(span, limit)]
    return _compute(definition, state, union(parts), reason, restates=True)


def _sort_out(
    cells: Collection[Cell], computed: Sequence[Span], limit: datetime, dense: int
) -> tuple[list[Cell], list[Span]]:
    """The cells that are not computed anyway; and as spans, hours with so many that they are read whole."""
    done = covers(computed)
    left = [cell for cell in cells if not done(cell[0])]
    hours = Counter(cell[0].replace(minute=0) for cell in left)
    crowded = {hour for hour, n in hours.items() if n > dense and hour + HOUR <= limit}
    return [c for c in left if c[0].replace(minute=0) not in crowded], union((h, h + HOUR) for h in crowded)


def _compute(
    definition: Definition,
    state: State,
    spans: Iterable[Span],
    reason: Reason,
    *,
    restates: bool = False,
    late: bool = False,
) -> Iterator[Stage]:
    """At the finest grain that is kept; what is frozen stays, unless it was never computed. `late`: count that."""
    frozen: list[Span] = []
    parts: dict[Grain, list[Span]] = {grain: [] for grain in GRAINS}
    for part in state.ages.split(union(spans)):
        grain = state.ages.grain(part[0])
        if reason in FORCED and state.ages.frozen(part[0]):
            frozen.append(part)
        elif grain is not None:
            parts[grain].append(widen(part, grain, definition.time_zone))
    if frozen:
        minutes = sum(int((end - begin) / MINUTE) for begin, end in frozen)
        yield KeepFrozen(spans=tuple(frozen), late=minutes if late else 0, reason="late" if late else reason)
    whole = sorted((span, grain) for grain, found in parts.items() for span in union(found))
    for span, grain in whole:
        yield ComputeSpan(span, grain, reason, restates)


def _cells(definition: Definition, state: State, cells: Sequence[Cell], reason: Reason = "changed") -> Iterator[Stage]:
    frozen = sorted(cell for cell in cells if state.ages.frozen(cell[0]))
    kept = sorted(cell for cell in cells if not state.ages.frozen(cell[0]))
    coarse = {window for window, _ in kept if state.ages.grain(window) != "minute"}
    admission = Admission(definition, state.admitted)
    fit: list[Cell] = []
    overflow: set[datetime] = set()
    for cell in kept:
        if cell[0] in coarse:
            continue
        if admission.fits(cell[1]):
            fit.append(cell)
        else:
            overflow.add(cell[0])
    if frozen:
        yield KeepFrozen(cells=tuple(frozen), late=len(frozen))
    yield from _compute(definition, state, join(sorted(coarse)), reason)
    if fit:
        yield ComputeCells(tuple(fit), reason)
    yield from _compute(definition, state, join(sorted(overflow)), "overflow")


def _end(
    definition: Definition, state: State, look: Look, found: Plan, *, busy: bool, forgone: bool
) -> Iterator[Stage]:
    """The last stages of a run; nothing if nothing would change."""
    cursor = sure(look.cursor, "the cursor")
    heartbeat_at = sure(look.heartbeat_at, "the time of the source's heartbeat")
    until = sure(found.closing_watermark, "the closing watermark") - definition.grace
    known = state.cursor
    newer = known is None or cursor.at > known.at or (cursor.at == known.at and cursor != known)
    newer_heartbeat = state.heartbeat_at is None or heartbeat_at > state.heartbeat_at
    if busy or newer or newer_heartbeat or state.closed_after(until) != state.closed:
        yield Advance(cursor, heartbeat_at, until, tuple(look.touched.rows), look.out_of_range, look.unfollowed)
    if forgone or state.views != "current":
        yield Publish(None if state.shown == definition.version else state.shown)


def _roll_ups(definition: Definition, state: State, grain: Grain, interval: Span | None) -> Iterator[Stage]:
    """Whole windows whose minutes are done while they themselves are not; and those of the interval."""
    zone = definition.time_zone
    lacking = subtract(whole_windows(state.done["minute"], grain, zone), state.done[grain])
    missing = [span for span in lacking if span[0] != BEGINNING]
    asked = [] if interval is None else [widen(interval, grain, zone)]
    for spans, reason in ((missing, "missing"), (subtract(asked, missing), "asked for")):
        for span in _makeable(state, grain, spans)[0]:
            yield RollUp(span, grain, reason)  # type: ignore[arg-type]


def _asked_above(definition: Definition, state: State, grain: Grain, piece: Span) -> Iterator[Stage]:
    made, frozen = _makeable(state, grain, [widen(piece, grain, definition.time_zone)])
    if frozen:
        yield KeepFrozen(tuple(frozen), reason="asked for")
    for span in made:
        yield RollUp(span, grain, "asked for")


def _makeable(state: State, grain: Grain, spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """The spans for which the grain below is still kept, and those for which it has expired."""
    made: list[Span] = []
    gone: list[Span] = []
    for span in state.ages.split(spans):
        (made if makeable(state, grain, span[0]) else gone).append(span)
    return made, gone


def makeable(state: State, grain: Grain, at: datetime) -> bool:
    """Whether what the grain is computed from is still there: for minutes the source, else the grain below."""
    if grain == "minute":
        return not state.ages.frozen(at)
    finest = state.ages.grain(at)
    return finest is not None and GRAINS.index(finest) < GRAINS.index(grain)

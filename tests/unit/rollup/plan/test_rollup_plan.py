"""Laws of planning, against a plain model of what executing a stage does to the ledger. No server."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from fleetgauge.rollup.definitions.checks import parse_check
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.definitions.parts import Checks, Dimension, Retention
from fleetgauge.rollup.plan.ages import ages, kept_from
from fleetgauge.rollup.plan.describe import lines, summary, to_dict, totals
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import Plan, at_rest, plan
from fleetgauge.rollup.plan.request import BackfillRequest, ReconcileRequest, Request, RunRequest
from fleetgauge.rollup.plan.stages import (
    Advance,
    Begin,
    ComputeCells,
    ComputeSpan,
    Forgo,
    KeepFrozen,
    Publish,
    RollUp,
    Stage,
    TakeBack,
)
from fleetgauge.rollup.plan.state import NOTHING, State
from fleetgauge.rollup.spans import HOUR, MINUTE, Span, clip, intersect, subtract, union
from fleetgauge.rollup.values import BlockedCell, Cursor, Placed, Touched
from fleetgauge.rollup.windows import BEGINNING, FOREVER, whole_windows, widened, window_start, windows

BASE = datetime(2026, 11, 1, 3, tzinfo=UTC)  # around it, New York sets its clocks back
DAY = timedelta(days=1)


def _definition(**changes: Any) -> Definition:
    found = {
        "metric": "m",
        "source": "s",
        "event_time": "t",
        "measures": {"n": {"agg": "count"}},
        "source_sql": "SELECT 1",
        "change_time": "c",
        "grace": timedelta(seconds=30),
        "dimensions": {"a": Dimension(column="a", limit=3), "b": Dimension(column="b", limit=2)},
        **changes,
    }
    return Definition(**found)  # type: ignore[arg-type]


PLAIN = _definition(checks=Checks(fail=(parse_check("n > 0"),)))

DEFINITIONS = st.builds(
    lambda zone, change, retention, kept, grains: _definition(
        time_zone=zone,
        change_time=change,
        retention=Retention(**{grain: getattr(retention, grain) for grain in grains}),
        source_kept=kept,
        grains=list(grains),
    ),
    st.sampled_from(["Asia/Seoul", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.sampled_from(["c", "c", None]),
    st.sampled_from(
        [
            Retention(),
            Retention(minute=10 * DAY, hour=70 * DAY),
            Retention(minute=DAY, hour=40 * DAY, day=400 * DAY),
        ]
    ),
    st.sampled_from([None, 40 * DAY]),
    st.sampled_from([GRAINS, GRAINS, GRAINS[1:], GRAINS[2:]]),
)
INSTANTS = st.one_of(
    st.integers(-3 * 1440, 2 * 1440).map(lambda m: BASE + m * MINUTE),
    st.integers(-500, 2).map(lambda d: BASE + d * DAY),
)
SPANS = st.builds(
    lambda begin, length: (begin, begin + length * MINUTE), INSTANTS, st.one_of(st.integers(1, 90), st.just(2000))
)
VALUES = st.tuples(st.sampled_from("pqrst"), st.sampled_from(["x", "y", "z", "(other)"]))
CELLS = st.tuples(INSTANTS, VALUES)
BLOCKED = st.tuples(INSTANTS, VALUES, st.booleans(), st.integers(0, 2))


@st.composite
def states(draw: st.DrawFn, definition: Definition) -> State:
    """Of a metric that was begun or not, with holes, blocked minutes and whatever hours are done."""
    shown = draw(st.sampled_from([None, "older", definition.version]))
    if draw(st.integers(0, 4)) == 0:
        older = draw(st.one_of(st.none(), SPANS))
        return State(shown=shown, older=older, zone=definition.time_zone)
    begun, until = sorted([draw(INSTANTS), draw(INSTANTS)])
    minutes = subtract([(BEGINNING, until)], draw(st.lists(SPANS, max_size=3)))
    lost = draw(st.one_of(st.none(), INSTANTS))
    unavailable = _widened([] if lost is None else [(BEGINNING, lost)], definition.time_zone)
    minutes = union([*minutes, (BEGINNING, begun), *draw(st.lists(SPANS, max_size=2))])
    minutes = subtract(minutes, unavailable["minute"])
    done: dict[Grain, tuple[Span, ...]] = {"minute": tuple(minutes)}
    for grain in GRAINS[1:]:
        lacking = draw(st.lists(SPANS, max_size=2))
        whole = whole_windows(minutes, grain, definition.time_zone)
        touched = [widened(span, definition.time_zone)[grain] for span in lacking]
        done[grain] = tuple(subtract(whole, touched))
    heartbeat_at = draw(INSTANTS)
    state = State(
        done=done,
        unavailable=unavailable,
        blocked=tuple(
            BlockedCell(at, (("a", a), ("b", b)) if apart else (), "n > 0", 1, at + later * DAY)
            for at, (a, b), apart, later in draw(st.lists(BLOCKED, max_size=3, unique_by=lambda one: one[0]))
        ),
        cursor=Cursor(draw(INSTANTS), draw(st.sampled_from([None, {"g": 1}]))),
        heartbeat_at=heartbeat_at,
        ages=ages(definition, kept_from(definition, heartbeat_at), heartbeat_at, unavailable["minute"]),
        admitted=frozenset(draw(st.sets(st.sampled_from([("a", "p"), ("a", "q"), ("b", "x")])))),
        shown=shown,
        zone=definition.time_zone,
    )
    state = replace(state, closed=state.closed_after(draw(INSTANTS)) if draw(st.booleans()) else NOTHING)
    return replace(state, views=draw(st.sampled_from(["current", "due"] if state.complete else ["waiting"])))


@st.composite
def looks(draw: st.DrawFn, state: State) -> Look:
    """Of a source that is mostly not behind what was read before."""
    if draw(st.integers(0, 19)) == 0:
        return Look("s")
    late = timedelta(minutes=draw(st.integers(0, 3000)), seconds=draw(st.integers(0, 59)))
    heartbeat_at = (state.heartbeat_at or BASE) + late
    if draw(st.integers(0, 19)) == 0:
        heartbeat_at = BASE - 600 * DAY
    watermark = heartbeat_at - timedelta(seconds=draw(st.integers(0, 4000)))
    cells = draw(st.lists(CELLS, max_size=6))
    rows = [Placed(str(n), cell, watermark) for n, cell in enumerate(cells[:2])] if draw(st.booleans()) else []
    return Look(
        "s",
        watermark,
        heartbeat_at,
        draw(st.one_of(st.none(), INSTANTS)),
        source_begins=draw(st.one_of(st.none(), INSTANTS)),
        source_begins_known=draw(st.booleans()),
        touched=Touched(cells, draw(st.lists(SPANS, max_size=2)), rows),
        places=draw(st.lists(CELLS, max_size=2)) if rows else (),
        cursor=Cursor(watermark - timedelta(seconds=5), draw(st.sampled_from([None, {"g": 2}]))),
        clocks=draw(st.one_of(st.just({}), clocks_around(heartbeat_at))),
    )


def clocks_around(at: datetime) -> st.SearchStrategy[dict[str, datetime]]:
    """Three clocks, each of which may be wrong; and the heartbeat may be far ahead of them all."""
    off = st.sampled_from([-5000, -600, 0, 0, 0, 0, 7, 600, 3000]).map(lambda s: timedelta(seconds=s))
    return st.builds(
        lambda base, offs: {name: at + base + one for name, one in zip("wmh", offs, strict=False)},
        off,
        st.lists(off, min_size=2, max_size=3),
    )


@st.composite
def cases(draw: st.DrawFn, requests: st.SearchStrategy[Request]) -> tuple[Definition, State, Look, Request]:
    definition = draw(DEFINITIONS)
    state = draw(states(definition))
    return definition, state, draw(looks(state)), draw(requests)


RUNS = st.builds(
    RunRequest,
    st.sampled_from(["minute", "minute", "minute", "hour", "day"]),
    st.one_of(st.none(), SPANS),
    st.one_of(st.none(), INSTANTS),
)
OTHERS = st.one_of(
    st.builds(BackfillRequest, SPANS, st.sampled_from(list(GRAINS))),
    SPANS.map(lambda span: ReconcileRequest(tuple(windows(span, "hour", "Asia/Seoul")))),
)


def execute(definition: Definition, state: State, planned: Plan) -> State:
    """What the ledger is once every stage was executed."""
    for stage in planned.stages:
        state = _after(definition, state, planned, stage)
    return state


def _after(definition: Definition, state: State, planned: Plan, stage: Stage) -> State:
    zone = definition.time_zone
    match stage:
        case Begin():
            lost = list(stage.unavailable)
            unavailable = _widened(lost, zone)
            done = {
                grain: tuple(subtract([(BEGINNING, window_start(stage.at, grain, zone))], unavailable[grain]))
                for grain in GRAINS
            }
            found = ages(definition, stage.kept_from, stage.heartbeat_at, lost)
            state = replace(state, done=done, unavailable=unavailable, ages=found)
            return replace(state, cursor=stage.cursor, heartbeat_at=stage.heartbeat_at)
        case Forgo(spans=spans):
            unavailable = _widened([*state.unavailable["minute"], *spans], zone)
            done = {grain: tuple(subtract(state.done[grain], unavailable[grain])) for grain in GRAINS}
            return replace(state, unavailable=unavailable, done=done)
        case ComputeSpan(span=span):
            assert planned.computing_watermark is not None
            reached = intersect([span], [(BEGINNING, planned.computing_watermark)])
            done = {**state.done, "minute": tuple(union([*state.done["minute"], *reached]))}
            blocked = tuple(b for b in state.blocked if not span[0] <= b.window_start < span[1])
            state = replace(state, done=done, blocked=blocked)
            return _rolled_up(state, span, "hour")
        case ComputeCells(cells=cells):
            names = tuple(definition.dimensions)
            values = {pair for _, cell in cells for pair in zip(names, cell, strict=True)}
            blocked = tuple(b for b in state.blocked if b.cell not in cells)
            return replace(state, admitted=state.admitted | values, blocked=blocked)
        case RollUp(span=span, grain=grain):
            return _rolled_up(state, span, grain)
        case TakeBack():
            done = {g: _before(spans, g, stage.since, zone) for g, spans in state.done.items()}
            closed = {g: _before(spans, g, stage.since, zone) for g, spans in state.closed.items()}
            found = ages(definition, state.ages.kept, stage.heartbeat_at, state.unavailable["minute"])
            taken = replace(state, done=done, closed=closed, cursor=stage.cursor, ages=found)
            return replace(taken, heartbeat_at=stage.heartbeat_at)
        case Advance():
            cursor = state.cursor
            if cursor is None or stage.cursor.at >= cursor.at:
                cursor = stage.cursor
            newest = max(stage.heartbeat_at, state.heartbeat_at or stage.heartbeat_at)
            state = replace(state, cursor=cursor, heartbeat_at=newest)
            return replace(state, closed=state.closed_after(stage.closed_until))
        case Publish():
            return replace(state, shown=definition.version, views="current")
        case _:
            return state


def _widened(spans: list[Span], zone: str) -> dict[Grain, tuple[Span, ...]]:
    return {grain: tuple(union(widened(span, zone)[grain] for span in spans)) for grain in GRAINS}


def _before(spans: Iterable[Span], grain: Grain, since: datetime, zone: str) -> tuple[Span, ...]:
    return tuple(subtract(spans, [(window_start(since, grain, zone), FOREVER)]))


def _rolled_up(state: State, span: Span, lowest: Grain) -> State:
    done = dict(state.done)
    for grain in GRAINS[GRAINS.index(lowest) :]:
        minutes = intersect(state.done["minute"], [widened(span, state.zone)[grain]])
        done[grain] = tuple(union([*done[grain], *whole_windows(minutes, grain, state.zone)]))
    return replace(state, done=done)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(RUNS))
def test_a_run_does_what_there_is_to_do(case: tuple[Definition, State, Look, RunRequest]) -> None:
    """Planning twice gives the same plan; once it is executed, the same look plans nothing."""
    definition, state, look, request = case
    planned = plan(definition, state, look, request)
    assert plan(definition, state, look, request) == planned
    event("deferred" if planned.deferred else "empty" if planned.empty else "planned")
    if planned.deferred is not None:
        assert planned.stages == ()
        return
    after = execute(definition, state, planned)
    seen = replace(look, touched=Touched(), places=(), first_event=None)
    again = plan(definition, after, seen, replace(request, interval=None))
    assert again.empty, again


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(RUNS))
def test_all_that_is_kept_and_missing_or_touched_is_computed(case: tuple[Definition, State, Look, RunRequest]) -> None:
    definition, state, look, request = case
    planned = plan(definition, state, look, request)
    if planned.deferred is not None or request.grain != "minute":
        return
    assert planned.computing_watermark is not None
    spans = union(s.span for s in planned.stages if isinstance(s, ComputeSpan))
    cells = {cell for s in planned.stages if isinstance(s, ComputeCells) for cell in s.cells}
    frozen = [span for s in planned.stages if isinstance(s, KeepFrozen) for span in s.spans]
    left = {cell for s in planned.stages if isinstance(s, KeepFrozen) for cell in s.cells}
    after = execute(definition, state, planned)
    lost = after.unavailable["minute"]
    missing = subtract([(BEGINNING, planned.computing_watermark)], [*after.done["minute"], *lost])
    for begin, _ in after.ages.split(missing):
        assert after.ages.grain(begin) is None or (after.ages.frozen(begin) and begin in after.blocked)
    computed = [s.span for s in planned.stages if isinstance(s, ComputeSpan) and s.grain == "minute"]
    assert not intersect(lost, computed)
    if state.ages.whole_from is not None and state.complete:
        assert not intersect(computed, [(BEGINNING, state.ages.whole_from)])
    for grain in GRAINS:  # and what is a part is never final
        assert not intersect(after.unavailable[grain], after.closed[grain])
    for cell in {*look.touched.cells, *look.places}:
        inside = any(begin <= cell[0] < end for begin, end in spans)
        waits = definition.finest != "minute" and cell[0] >= planned.computing_watermark  # for the end of its window
        assert inside or cell in cells or cell in left or waits or any(b <= cell[0] < e for b, e in frozen)
    changed = [part for span in look.touched.spans for part in clip(span, planned.computing_watermark)]
    assert not subtract(changed, [*spans, *frozen])


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(OTHERS))
def test_what_is_asked_for_is_computed_and_nothing_else(case: tuple[Definition, State, Look, Request]) -> None:
    definition, state, look, request = case
    planned = plan(definition, state, look, request)
    assert plan(definition, state, look, request) == planned
    wanted = list(request.hours) if isinstance(request, ReconcileRequest) else [request.piece]  # type: ignore[union-attr]
    widest = [widened(span, definition.time_zone)["day"] for span in wanted]
    done = [s.span for s in planned.stages if isinstance(s, ComputeSpan | RollUp)]
    assert not subtract(done, widest)
    assert not any(isinstance(s, Advance | Publish) for s in planned.stages)
    if planned.computing_watermark is not None:
        parts = [part for span in wanted for part in clip(span, planned.computing_watermark)]
        frozen = [span for s in planned.stages if isinstance(s, KeepFrozen) for span in s.spans]
        assert not subtract(parts, [*done, *frozen])


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(st.one_of(RUNS, OTHERS)))
def test_every_plan_can_be_told(case: tuple[Definition, State, Look, Request]) -> None:
    definition, state, look, request = case
    planned = plan(definition, state, look, request)
    assert len(to_dict(planned)["stages"]) == len(planned.stages) == len(summary(planned)["stages"])
    assert lines(planned)
    told = totals([planned, planned])
    assert json.loads(json.dumps(told)) == told
    computed = [s.span for s in planned.stages if isinstance(s, ComputeSpan) and s.grain == "minute"]
    windows = sum(one.get("windows", 0) for one in told if one["stage"] == "ComputeSpan" and one["grain"] == "minute")
    assert windows == 2 * sum((end - begin) // MINUTE for begin, end in computed)
    assert {one["reason"] for one in told} == {stage.reason for stage in planned.stages}


# --- examples -------------------------------------------------------------------------------------------------------


def _begun(until: datetime, **more: Any) -> State:
    done: dict[Grain, tuple[Span, ...]] = {
        grain: tuple(whole_windows([(BEGINNING, until)], grain, PLAIN.time_zone)) for grain in GRAINS
    }
    state = State(
        done,
        cursor=Cursor(until),
        heartbeat_at=until,
        shown=PLAIN.version,
        views="current",
        zone=PLAIN.time_zone,
        **more,
    )
    return replace(state, closed=state.closed_after(until - PLAIN.grace))


def _look(at: datetime, **more: Any) -> Look:
    return Look("s", at, at, cursor=Cursor(at - timedelta(seconds=5)), **more)


def test_a_quiet_minute() -> None:
    planned = plan(PLAIN, _begun(BASE), _look(BASE + MINUTE), RunRequest())
    assert [(type(s).__name__, s.reason) for s in planned.stages] == [
        ("ComputeSpan", "missing"),
        ("Advance", "watermark moved"),
    ]


def test_without_minutes_a_window_is_computed_once_it_has_ended() -> None:
    """And nothing of the running one, whatever has come in for it; what is late computes its whole window anew."""
    daily = replace(PLAIN, grains=["day"])
    day = window_start(BASE, "day", PLAIN.time_zone)
    touched = Touched(cells=[(day + 2 * HOUR, ()), (day - HOUR, ())])
    state = replace(_begun(day), ages=ages(daily, kept_from(daily, day), day))
    planned = plan(daily, state, _look(day + 9 * HOUR, touched=touched), RunRequest())
    assert [s for s in planned.stages if not isinstance(s, Advance)] == [
        ComputeSpan((day - DAY, day), "day", "changed")
    ]
    planned = plan(daily, state, _look(day + DAY, touched=touched), RunRequest())
    spans = [(s.span, s.reason) for s in planned.stages if isinstance(s, ComputeSpan)]
    assert spans == [((day - DAY, day), "changed"), ((day, day + DAY), "missing")] or spans == [
        ((day, day + DAY), "missing"),
        ((day - DAY, day), "changed"),
    ]


def test_without_minutes_the_source_is_looked_at_once_an_hour() -> None:
    """Later than an hour's end by the grace, so that the same look can close it; or where a past window is asked."""
    hourly = replace(PLAIN, grains=["hour", "day"])
    hour = window_start(BASE, "hour", PLAIN.time_zone)
    state = replace(_begun(hour + PLAIN.grace), cursor=Cursor(hour + PLAIN.grace))
    for after, rests in ((MINUTE, True), (HOUR, True), (HOUR + PLAIN.grace, False), (3 * HOUR, False)):
        assert (at_rest(hourly, state, RunRequest(), hour + after) is not None) == rests, after
    assert at_rest(PLAIN, state, RunRequest(), hour + MINUTE) is None
    now = hour + 10 * MINUTE
    assert at_rest(hourly, state, RunRequest(interval=(now - MINUTE, now)), now) is not None
    assert at_rest(hourly, state, RunRequest(interval=(now - HOUR, now)), now) is None


def test_each_reason_is_named() -> None:
    blocked = (
        BlockedCell(BASE - 9 * MINUTE, (), "n > 0"),
        BlockedCell(BASE - 7 * MINUTE, (("a", "p"), ("b", "x")), "n > 0", 2, BASE),
        BlockedCell(BASE - 7 * MINUTE, (("a", "p"), ("b", "y")), "n > 0", 2, BASE + HOUR),
        BlockedCell(BASE - 6 * MINUTE, (("a", "q"), ("b", "y")), "n > 1", 2, BASE + HOUR),
    )
    state = _begun(BASE, blocked=blocked, admitted=frozenset({("b", "x"), ("b", "y")}))
    touched = Touched(
        cells=[(BASE - 5 * HOUR, ("p", "x")), (BASE - 6 * HOUR, ("p", "z"))],
        spans=[(BASE - 8 * HOUR, BASE - 8 * HOUR + MINUTE)],
    )
    interval = (BASE - 3 * HOUR, BASE - 2 * HOUR)
    planned = plan(PLAIN, state, _look(BASE + MINUTE, touched=touched), RunRequest(interval=interval))
    assert [(type(s).__name__, s.reason) for s in planned.stages] == [
        ("ComputeSpan", "missing"),
        ("ComputeSpan", "blocked before"),
        ("ComputeSpan", "asked for"),
        ("ComputeSpan", "changed"),
        ("ComputeCells", "changed"),
        ("ComputeSpan", "overflow"),
        ("ComputeCells", "blocked before"),
        ("Advance", "watermark moved"),
    ]
    due = ((BASE - 7 * MINUTE, ("p", "x")), (BASE - 6 * MINUTE, ("q", "y")))
    assert planned.stages[-2] == ComputeCells(due, "blocked before")


def test_what_lies_before_all_that_is_kept_is_counted_late() -> None:
    state = _begun(BASE)
    state = replace(state, ages=ages(PLAIN, dict.fromkeys(GRAINS, BASE - DAY), BASE))
    touched = Touched(cells=[(BASE - 3 * DAY, ("p", "x"))], spans=[(BASE - 2 * DAY, BASE - 2 * DAY + 2 * MINUTE)])
    planned = plan(PLAIN, state, _look(BASE, touched=touched), RunRequest())
    assert sum(s.late for s in planned.stages if isinstance(s, KeepFrozen)) == 3
    assert {s.reason for s in planned.stages if isinstance(s, KeepFrozen)} == {"late"}


def test_a_new_version_says_so_and_is_published() -> None:
    planned = plan(
        PLAIN, State(shown="older", zone=PLAIN.time_zone), _look(BASE, first_event=BASE - HOUR), RunRequest()
    )
    assert [(type(s).__name__, s.reason) for s in planned.stages] == [
        ("Begin", "first run"),
        ("ComputeSpan", "new version"),
        ("Advance", "watermark moved"),
        ("Publish", "new version"),
    ]


@pytest.mark.parametrize("known", [True, False])
def test_what_is_not_known_is_not_nothing(known: bool) -> None:
    """Without knowing where history begins there is no plan, and it does not look like an empty one."""
    look = _look(BASE, first_event_known=known, unknown=() if known else ("how much history there is",))
    planned = plan(PLAIN, State(zone=PLAIN.time_zone), look, RunRequest())
    assert bool(planned.stages) == known
    assert not planned.empty
    assert ("unknown: how much history there is" in lines(planned)) != known


def test_a_source_without_a_heartbeat_or_behind_defers() -> None:
    assert "no heartbeat" in (plan(PLAIN, _begun(BASE), Look("s"), RunRequest()).deferred or "")
    assert "is behind" in (plan(PLAIN, _begun(BASE), _look(BASE - MINUTE), RunRequest()).deferred or "")

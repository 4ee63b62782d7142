"""Laws of planning, against a plain model of what executing a stage does to the ledger. No server."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from plan_world import BASE, DAY, metric_of_plans

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.definitions.parts import Retention
from fleetgauge.rollup.plan.ages import ages, kept_from
from fleetgauge.rollup.plan.describe import lines, summary, to_dict, totals
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import Plan, plan
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
from fleetgauge.rollup.spans import MINUTE, Span, clip, intersect, subtract, union
from fleetgauge.rollup.values import BlockedCell, Cursor, Placed, Touched
from fleetgauge.rollup.windows import BEGINNING, FOREVER, whole_windows, widened, window_start, windows

DEFINITIONS = st.builds(
    lambda zone, change, retention, kept, grains: metric_of_plans(
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


LAW = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(LAW, max_examples=100)
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


@settings(LAW, max_examples=60)
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


@settings(LAW, max_examples=30)
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


@settings(LAW, max_examples=30)
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


LAWS = {
    test_a_run_does_what_there_is_to_do: RUNS,
    test_all_that_is_kept_and_missing_or_touched_is_computed: RUNS,
    test_what_is_asked_for_is_computed_and_nothing_else: OTHERS,
    test_every_plan_can_be_told: st.one_of(RUNS, OTHERS),
}


@pytest.mark.long
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
def test_the_same_of_many_plans(law: Any) -> None:
    settings(LAW, max_examples=2_000)(given(cases(LAWS[law]))(law.hypothesis.inner_test))()

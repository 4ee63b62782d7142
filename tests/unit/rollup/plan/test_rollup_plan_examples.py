"""Plans of single situations, and the reasons that they name. No server."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from plan_world import BASE, DAY, metric_of_plans

from fleetgauge.rollup.definitions.checks import parse_check
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.definitions.parts import Checks
from fleetgauge.rollup.plan.ages import ages, kept_from
from fleetgauge.rollup.plan.describe import lines
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import at_rest, plan
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.plan.stages import (
    Advance,
    ComputeCells,
    ComputeSpan,
    KeepFrozen,
)
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.spans import HOUR, MINUTE, Span
from fleetgauge.rollup.values import BlockedCell, Cursor, Touched
from fleetgauge.rollup.windows import BEGINNING, whole_windows, window_start

PLAIN = metric_of_plans(checks=Checks(fail=(parse_check("n > 0"),)))


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

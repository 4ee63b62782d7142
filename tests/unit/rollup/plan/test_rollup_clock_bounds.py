"""What clocks may say, and what follows from it: pure, so tried with every way in which they can be wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.clock import Clock
from fleetgauge.progress.clock_samples import METRICS, WORKER, Clocks, Earliest
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.plan.clock_bounds import (
    FARTHEST_STEP,
    TAKEN_BACK,
    TOLERANCE,
    agreed,
    impossible,
    possible_step,
    refusal,
)
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import plan
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.plan.stages import TakeBack
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.spans import MINUTE, Span
from fleetgauge.rollup.values import Cursor
from fleetgauge.rollup.windows import BEGINNING, whole_windows

NOW = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
TEN = timedelta(minutes=10)
RIGHT = {WORKER: NOW, METRICS: NOW, "the host of s": NOW}
ONE = Definition(  # type: ignore[call-arg]
    metric="m",
    source="s",
    event_time="t",
    measures={"n": {"agg": "count"}},  # type: ignore[dict-item]
    source_sql="SELECT 1",
    change_time="c",
)


def _state(until: datetime, marks: datetime) -> State:
    done: dict[Grain, tuple[Span, ...]] = {
        grain: tuple(whole_windows([(BEGINNING, until)], grain, ONE.time_zone)) for grain in GRAINS
    }
    return State(
        done, done, cursor=Cursor(marks), heartbeat_at=marks, shown=ONE.version, views="current", zone=ONE.time_zone
    )


def _look(at: datetime, clocks: dict[str, datetime]) -> Look:
    return Look("s", at, at, cursor=Cursor(at - timedelta(seconds=5)), clocks=clocks)


@pytest.mark.parametrize("wrong", sorted(RIGHT))
@pytest.mark.parametrize("by", [TEN, -TEN], ids=["fast", "slow"])
def test_one_wrong_clock_of_three_is_outvoted(wrong: str, by: timedelta) -> None:
    clocks = RIGHT | {wrong: NOW + by}
    assert agreed(clocks) == NOW
    assert not plan(ONE, _state(NOW - MINUTE, NOW - MINUTE), _look(NOW, clocks), RunRequest()).refused
    assert plan(ONE, _state(NOW - MINUTE, NOW - MINUTE), _look(NOW + TEN, clocks), RunRequest()).refused


def test_of_two_clocks_nothing_later_than_either_is_believed() -> None:
    """Documents: the watermark is the worker's own time, and the metrics database is the other clock."""
    fast = {WORKER: NOW + TEN, METRICS: NOW}
    planned = plan(ONE, _state(NOW, NOW), _look(NOW + TEN, fast), RunRequest())
    assert planned.refused and planned.stages == ()
    assert "600 s ahead" in (planned.deferred or "") and METRICS in (planned.deferred or "")
    assert refusal("s", NOW - TEN, {WORKER: NOW - TEN, METRICS: NOW}, TOLERANCE) is None


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=5), st.integers(-2000, 2000))
def test_no_claim_passes_that_fewer_than_half_of_the_clocks_allow(offsets: list[int], claim: int) -> None:
    clocks = {str(n): NOW + timedelta(seconds=s) for n, s in enumerate(offsets)}
    claims = NOW + timedelta(seconds=claim)
    allowing = sum(claims <= at + TOLERANCE for at in clocks.values())
    assert (refusal("s", claims, clocks, TOLERANCE) is None) == (allowing > len(clocks) / 2)


@given(st.integers(-60, 10), st.integers(-60, 60), st.integers(0, 900), st.integers(0, 900), st.integers(0, 600))
def test_a_clock_that_was_set_back_hides_no_row(before: int, step: int, lag: int, later: int, written: int) -> None:
    """A row is written after the heartbeat that was read last, by a clock that was set back meanwhile."""
    read = NOW  # true time of the heartbeat of the last look
    cursor = read + timedelta(seconds=before)
    row = read + timedelta(seconds=written + before - step)
    heartbeat = read + timedelta(seconds=written + later + before - step)
    now = read + timedelta(seconds=written + later + lag)
    if heartbeat > now + TOLERANCE or now - heartbeat + TOLERANCE > FARTHEST_STEP:
        return
    assert row >= cursor - possible_step(heartbeat, {"all": now}, TOLERANCE)


def test_what_a_wrong_clock_put_into_the_ledger_is_taken_back() -> None:
    poisoned = _state(NOW + TEN, NOW + TEN)
    planned = plan(ONE, poisoned, _look(NOW, RIGHT), RunRequest())
    assert isinstance(planned.stages[0], TakeBack)
    assert planned.stages[0].since == NOW - TAKEN_BACK
    assert planned.stages[0].cursor == Cursor(NOW - TAKEN_BACK)
    assert [(s.span, s.reason) for s in planned.stages[1:2]] == [((NOW - TAKEN_BACK, NOW), "missing")]  # type: ignore[union-attr]


@pytest.mark.parametrize("fast", sorted(RIGHT))
def test_nothing_is_taken_back_that_a_single_clock_allows(fast: str) -> None:
    poisoned = _state(NOW + TEN, NOW + TEN)
    assert impossible(poisoned, RIGHT, TOLERANCE)
    assert not impossible(poisoned, RIGHT | {fast: NOW + TEN}, TOLERANCE)
    planned = plan(ONE, poisoned, _look(NOW, RIGHT | {fast: NOW + TEN}), RunRequest())
    assert planned.stages == () and planned.deferred is not None


@pytest.mark.parametrize("at", [datetime(2001, 1, 1, tzinfo=UTC), NOW - timedelta(days=2), NOW + TEN])
def test_history_does_not_begin_by_a_heartbeat_of_another_time(at: datetime) -> None:
    look = replace(_look(at, RIGHT), first_event=NOW - timedelta(days=9))
    assert plan(ONE, State(zone=ONE.time_zone), look, RunRequest()).refused


def test_clocks_are_brought_to_one_moment() -> None:
    class Held:
        def now(self) -> datetime:
            return NOW

    held: Clock = Held()
    clocks = Clocks(held)
    clocks.note(METRICS, NOW - TEN)
    first, second = clocks.now(), clocks.now()
    assert first[WORKER] == second[WORKER] == NOW
    assert NOW - TEN <= first[METRICS] <= second[METRICS] < NOW
    assert Earliest(clocks).now() < NOW - TEN + MINUTE

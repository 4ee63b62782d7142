"""Clocks that are set back, or stand still: no row is missed, and nothing is final that is not known."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clock_world import REAL, beat, clocked, doctor_says, gauge, run, totals
from fault_table import fault
from rollup_world import World

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.reconcile import reconcile_metrics


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    yield from clocked(world)


@fault(
    "Right after a run the primary fails over to one whose clock is 8 s behind, or NTP sets it back by that",
    number="right: runs wait for 8 s, then read changes again from as far back as the clock may have been set",
    freshness="ok",
    doctor="ok",
    exporter="fleetgauge_rollup_deferred 1 for those 8 s",
    exit_code="0",
)
def test_rows_of_a_clock_that_was_set_back_are_not_missed(world: World, one: Definition) -> None:
    """Their change times lie before what the run before has read up to."""
    fast, read = timedelta(seconds=8), datetime.now(UTC)
    beat(world, fast)
    assert run(world, one).error is None
    cursor = world.metrics.execute(
        "SELECT cursor_at FROM fleetgauge.ledger WHERE metric = %s AND grain = 'minute'", [one.metric]
    ).fetchone()[0]
    ride = world.insert(read - timedelta(minutes=5))
    (changed,) = world.app.execute("SELECT changed_at FROM facts WHERE id = %s", [ride]).fetchone()
    assert changed < cursor
    beat(world)
    report = run(world, one)
    assert "is behind what was read before" in (report.deferred or "")
    deadline = time.monotonic() + 60
    while report.deferred is not None:
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.5)
        beat(world)
        report = run(world, one)
        assert report.error is None
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)


@fault(
    "NTP sets the primary's clock back by 30 s between two runs",
    number="right: changes are read again from as far back as the clock may have been set",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_a_step_of_half_a_minute_between_two_runs_hides_no_row(world: World, one: Definition) -> None:
    """The first of them saw an older heartbeat, so that the second finds a later one in spite of the step."""
    world.metrics.execute("UPDATE fleetgauge.ledger SET beat_at = NULL WHERE metric = %s", [one.metric])
    for seconds in (120, 80):
        beat(world, -timedelta(seconds=seconds))
        world.metrics.execute(
            "UPDATE fleetgauge.ledger SET cursor_at = %s WHERE metric = %s AND grain = 'minute'",
            [datetime.now(UTC) - timedelta(seconds=seconds + 5), one.metric],
        )
        if seconds == 120:
            assert run(world, one).deferred is None
            ride = world.insert(datetime.now(UTC) - timedelta(minutes=5))
            world.app.execute("UPDATE facts SET changed_at = now() - interval '140 s' WHERE id = %s", [ride])
    report = run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)


HEARTBEAT_SQL = (Path(__file__).parents[3] / "sql" / "source" / "02_heartbeat.sql").read_text()


@pytest.fixture
def production(world: World, one: Definition) -> Iterator[Callable[[timedelta], None]]:
    """Production's own job on a clock that a test sets: what is given is how far it is off."""
    for statement in ("CREATE OR REPLACE FUNCTION fleetgauge_beat", "clock_timestamp()"):
        assert statement in HEARTBEAT_SQL
    shifted = "(clock_timestamp() + current_setting('test.off')::interval)"
    world.app.execute(HEARTBEAT_SQL.partition("GRANT EXECUTE")[0].replace("clock_timestamp()", shifted).encode())

    def beat(off: timedelta = timedelta()) -> None:
        world.app.execute("SELECT set_config('test.off', %s, false)", [f"{off.total_seconds()} s"])
        world.app.execute("SELECT fleetgauge_beat()")
        world.catch_up()

    yield beat
    world.app.execute("UPDATE fleetgauge_heartbeat SET set_back = 0, set_back_to = NULL")


def _insert_at(world: World, off: timedelta, ago: int = 5) -> None:
    """A row of some minutes ago whose change time is off."""
    ride = world.insert(datetime.now(UTC) - timedelta(minutes=ago))
    world.app.execute("UPDATE facts SET changed_at = clock_timestamp() + %s WHERE id = %s", [off, ride])


@fault(
    "NTP sets the primary's clock back and forward again between two runs",
    number="right: the heartbeat remembers it, and changes are read again from there, an hour at most",
    freshness="ok",
    doctor="warn: its clock was set back, and to when",
    exporter="ok",
    exit_code="0",
)
@pytest.mark.parametrize("by", [30, 1200], ids=["half a minute", "twenty minutes"])
def test_a_step_back_and_forth_between_two_runs_hides_no_row(
    world: World, one: Definition, production: Callable[[timedelta], None], by: int
) -> None:
    back = -timedelta(seconds=by)
    production(timedelta())
    assert run(world, one).error is None
    for ago, off in ((5, back), (15, back), (0, timedelta())):  # while it is behind, heartbeats are no steps
        production(off)
        if off:
            _insert_at(world, off, ago)
    report = run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (5, 5))
    world.assert_right(one)
    assert "its clock was set back in the last hour" in doctor_says(world, one, "warn")
    assert world.app.execute("SELECT set_back FROM fleetgauge_heartbeat").fetchone() == (1,)
    noted = "SELECT cursor_token -> 'set_back' FROM fleetgauge.ledger WHERE metric = %s AND grain = 'minute'"
    deadline = time.monotonic() + 60
    while world.metrics.execute(noted, [one.metric]).fetchone() != (1,):  # then it is told no more
        assert time.monotonic() < deadline
        production(timedelta())
        assert run(world, one).error is None


@fault(
    "NTP sets the primary's clock back and forward again, and the heartbeat is an older one that does not remember",
    number="right up to 60 s; beyond, from the next reconcile on",
    freshness="ok",
    doctor="warn: the heartbeat does not remember steps of its clock",
    exporter="fleetgauge_reconcile_differed_total",
    exit_code="0",
)
def test_without_a_memory_a_minute_is_read_again_and_reconcile_finds_the_rest(world: World, one: Definition) -> None:
    world.app.execute("ALTER TABLE fleetgauge_heartbeat DROP COLUMN set_back, DROP COLUMN set_back_to")
    try:
        beat(world)
        assert run(world, one).error is None
        _insert_at(world, -timedelta(seconds=45))
        _insert_at(world, -timedelta(minutes=20), ago=130)  # in an hour that is over and that nothing else touches
        beat(world)
        assert run(world, one).error is None
        assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
        assert "does not remember when its clock was set back" in doctor_says(world, one, "warn")
        beat(world)
        span = (datetime.now(UTC) - timedelta(hours=4), datetime.now(UTC))
        (found,) = reconcile_metrics(world.settings, [one], span, options=REAL)
        assert (found.error, found.different) == (None, 1)
        assert totals(world, one)["hour"] == (5, 5)
    finally:
        world.app.execute(
            "ALTER TABLE fleetgauge_heartbeat ADD COLUMN set_back bigint NOT NULL DEFAULT 0,"
            " ADD COLUMN set_back_to timestamptz"
        )


@fault(
    "The heartbeat stays minutes behind what was read before, for many runs",
    number="right up to what was read before; nothing later is computed or final until it has caught up",
    freshness="ok, until windows are overdue",
    doctor="warn: how old the heartbeat is",
    exporter="fleetgauge_rollup_deferred 1",
    exit_code="0: the runs wait",
)
def test_a_heartbeat_that_goes_back_for_long_is_waited_for(world: World, one: Definition) -> None:
    before = [world.ledger(one, grain) for grain in ("minute", "hour", "day")]
    for minutes in (10, 9, 8):
        world.insert(datetime.now(UTC) - timedelta(minutes=2))
        beat(world, -timedelta(minutes=minutes))
        report = run(world, one)
        assert (report.error, report.rows) == (None, 0)
        assert "is behind what was read before" in (report.deferred or "")
    assert [world.ledger(one, grain) for grain in ("minute", "hour", "day")] == before
    assert "heartbeat is 4" in doctor_says(world, one, "warn")
    assert gauge(world, one, "fleetgauge_rollup_deferred") == 1
    beat(world)
    assert run(world, one).deferred is None
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (6, 6))
    world.assert_right(one)


@fault(
    "Two jobs, or two replicas, show heartbeats that are apart, now this one and now that one",
    number="right: runs wait at the older one, and go on at the newer one",
    freshness="ok",
    doctor="ok, or warn: its clock was set back",
    exporter="fleetgauge_rollup_deferred 1 now and then",
    exit_code="0",
)
def test_heartbeats_that_alternate_lose_nothing(
    world: World, one: Definition, production: Callable[[timedelta], None]
) -> None:
    waited = 0
    for n in range(6):
        off = -timedelta(minutes=2) if n % 2 else timedelta()
        production(off)
        _insert_at(world, off, ago=5 + 3 * n)
        production(off)
        report = run(world, one)
        assert report.error is None
        waited += report.deferred is not None
    assert waited == 3
    production(timedelta())
    assert run(world, one).deferred is None
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (9, 9))
    world.assert_right(one)

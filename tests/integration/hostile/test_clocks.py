"""Clocks that lie: production's heartbeat, the workers', the metrics database's, and the primary's when it is set."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_world import METRIC, Shell
from clock_world import REAL, beat, clocked, doctor_says, gauge, run, totals
from fault_table import fault
from rollup_world import Off, World

from fleetgauge.clock import SystemClock
from fleetgauge.errors import Transient
from fleetgauge.rollup import Definition, raise_failures
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.operating.freshness import MetricFreshness, freshness
from fleetgauge.rollup.operating.preview import preview_metrics
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.plan.stages import TakeBack
from fleetgauge.settings import Settings

TEN = timedelta(minutes=10)


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    yield from clocked(world)


def _forget_runs(world: World, one: Definition) -> None:
    world.metrics.execute(
        "UPDATE fleetgauge.ledger SET done = '{}', closed = '{}', cursor_at = NULL, beat_at = NULL WHERE metric = %s",
        [one.metric],
    )


def _standings(world: World, one: Definition) -> dict[str, MetricFreshness]:
    return {found.grain: found for found in freshness(world.settings, [one])}


def _nothing_in_the_future(world: World, one: Definition) -> None:
    for found in _standings(world, one).values():
        assert found.ahead is None
        assert found.behind is not None and found.behind >= timedelta()
        done, closed = world.ledger(one, found.grain)
        now = datetime.now(UTC)
        assert all(r.upper <= now for r in [*done, *closed])


@fault(
    "The heartbeat is ten minutes ahead for some seconds, and a run happens meanwhile",
    number="right: the run is refused and changes nothing, the next good heartbeat goes on",
    freshness="ok, until windows are overdue",
    doctor="fail: the heartbeat lies in the future",
    exporter="fleetgauge_rollup_failing 1",
    exit_code="75",
)
def test_a_heartbeat_from_the_future_changes_nothing(world: World, one: Definition) -> None:
    ride = world.insert(datetime.now(UTC))
    before = [world.ledger(one, grain) for grain in ("minute", "hour", "day")]
    beat(world, TEN)
    report = run(world, one)
    assert report.severity == "transient"
    assert "ahead of the other clocks" in (report.error or "")
    with pytest.raises(Transient):
        raise_failures([report])
    assert [world.ledger(one, grain) for grain in ("minute", "hour", "day")] == before
    assert gauge(world, one, "fleetgauge_rollup_failing") == 1
    assert "in the future" in doctor_says(world, one, "fail")
    beat(world)
    for _ in range(22):
        world.insert(datetime.now(UTC))
    world.change(ride, state="done")
    beat(world)
    report = run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (26, 25))
    world.assert_right(one)
    _nothing_in_the_future(world, one)
    assert gauge(world, one, "fleetgauge_rollup_failing") == 0


@fault(
    "An older version believed a heartbeat from the future: ten minutes to come are done and empty",
    number="right from the next run on, which takes the future back and computes the last day anew",
    freshness="error: the future is called computed",
    doctor="fail: computed or final until the future",
    exporter="fleetgauge_rollup_ahead_seconds > 0",
    exit_code="75 of freshness; 0 of the run",
)
def test_what_an_older_version_did_by_a_wrong_clock_is_taken_back(world: World, one: Definition) -> None:
    ride = world.insert(datetime.now(UTC))
    beat(world, TEN)
    assert run(world, one, RunOptions(pause_s=0.0, tolerance=None)).error is None  # as it was
    for _ in range(22):
        world.insert(datetime.now(UTC))
    world.change(ride, state="done")
    beat(world)
    minute = _standings(world, one)["minute"]
    assert minute.verdict == "error" and minute.ahead is not None
    assert minute.behind is not None and minute.behind >= timedelta()
    assert minute.closed_until is not None and minute.closed_until <= datetime.now(UTC)
    assert (gauge(world, one, "fleetgauge_rollup_ahead_seconds", grain="minute") or 0) > 400
    assert "computed or final until" in doctor_says(world, one, "fail")
    (preview,) = preview_metrics(world.settings, [one], RunRequest(), options=REAL)
    assert preview.plan is not None and isinstance(preview.plan.stages[0], TakeBack)
    report = run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (26, 25))
    world.assert_right(one)
    _nothing_in_the_future(world, one)
    assert gauge(world, one, "fleetgauge_rollup_ahead_seconds", grain="minute") == 0
    assert "computed or final until" not in doctor_says(world, one, "fail")


def _sql(statement: str) -> Callable[[World], None]:
    def spoil(world: World) -> None:
        world.app.execute(statement)
        world.catch_up()

    return spoil


SPOILT = {
    "of 2001": "UPDATE fleetgauge_heartbeat SET beat_at = '2001-01-01Z', oldest_xact_start = '2001-01-01Z'",
    "year 1": "UPDATE fleetgauge_heartbeat SET beat_at = '0001-01-01Z', oldest_xact_start = '0001-01-01Z'",
    "infinity": "UPDATE fleetgauge_heartbeat SET beat_at = 'infinity', oldest_xact_start = 'infinity'",
    "-infinity": "UPDATE fleetgauge_heartbeat SET oldest_xact_start = '-infinity'",
    "year 99999": "UPDATE fleetgauge_heartbeat SET beat_at = '99999-01-01Z'",
    "null": "ALTER TABLE fleetgauge_heartbeat ALTER beat_at DROP NOT NULL;"
    " UPDATE fleetgauge_heartbeat SET beat_at = NULL",
    "null of transactions": "ALTER TABLE fleetgauge_heartbeat ALTER oldest_xact_start DROP NOT NULL;"
    " UPDATE fleetgauge_heartbeat SET oldest_xact_start = NULL",
    "two rows": "ALTER TABLE fleetgauge_heartbeat DROP CONSTRAINT fleetgauge_heartbeat_pkey;"
    " INSERT INTO fleetgauge_heartbeat VALUES (1, now() + interval '1 hour', now() + interval '1 hour')",
}
MENDED = {
    "two rows": "DELETE FROM fleetgauge_heartbeat; ALTER TABLE fleetgauge_heartbeat ADD PRIMARY KEY (id)",
}


@fault(
    "The heartbeat is of the year 2001, infinite or NULL, or there are two of them",
    number="right: nothing is computed until there is one that can be; then all of it",
    freshness="ok, until windows are overdue",
    doctor="fail or warn: what the heartbeat says, or how old it is",
    exporter="fleetgauge_rollup_failing 1, or fleetgauge_rollup_deferred 1",
    exit_code="75; 0 for an old one, which only waits",
)
@pytest.mark.parametrize("first", [True, False], ids=["before the first run", "after it"])
@pytest.mark.parametrize("what", sorted(SPOILT))
def test_a_heartbeat_that_is_no_instant_of_now_changes_nothing(
    world: World, one: Definition, what: str, first: bool
) -> None:
    if first:
        _forget_runs(world, one)
    before = [world.ledger(one, grain) for grain in ("minute", "hour", "day")]
    _sql(SPOILT[what])(world)
    report = run(world, one)
    assert (report.error is not None) or (report.deferred is not None)
    assert (report.windows, report.cells, report.rows) == (0, 0, 0)
    assert [world.ledger(one, grain) for grain in ("minute", "hour", "day")] == before
    assert "heartbeat" in doctor_says(world, one, "warn" if what == "of 2001" else "fail")
    world.insert(datetime.now(UTC) - timedelta(minutes=2))
    world.app.execute(MENDED.get(what, "DELETE FROM fleetgauge_heartbeat"))
    beat(world)
    report = run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)
    _nothing_in_the_future(world, one)


@fault(
    "The heartbeat's table has rows of other ids, as a second job or an old one leaves them",
    number="right: the row with id 1 counts, whatever the others say",
    freshness="ok",
    doctor="warn: how many rows nobody reads",
    exporter="ok",
    exit_code="0",
)
def test_rows_beside_the_heartbeat_are_told_and_not_believed(world: World, one: Definition) -> None:
    world.insert(datetime.now(UTC) - timedelta(minutes=2))
    beat(world)
    world.app.execute(
        "INSERT INTO fleetgauge_heartbeat VALUES (2, '2001-01-01Z', '2001-01-01Z'), (7, 'infinity', now())"
    )
    world.catch_up()
    report = run(world, one)
    assert (report.error, report.deferred) == (None, None)
    world.assert_right(one)
    assert "2 row(s) beside that with id 1" in doctor_says(world, one, "warn")
    world.app.execute("DELETE FROM fleetgauge_heartbeat WHERE id <> 1")
    world.catch_up()
    assert "beside that with id 1" not in doctor_says(world, one, "warn")


@fault(
    "A worker's clock is ten minutes fast or slow",
    number="right: the metrics database's and the replica's clocks outvote it",
    freshness="ok",
    doctor="fail, on that worker: the others' clocks differ from its own",
    exporter="fleetgauge_clock_skew_seconds 600",
    exit_code="0",
)
@pytest.mark.parametrize("by", [TEN, -TEN], ids=["fast", "slow"])
def test_a_worker_whose_clock_is_wrong_is_outvoted(
    world: World, one: Definition, by: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.insert(datetime.now(UTC) - timedelta(minutes=2))
    beat(world)
    report = run(world, one, RunOptions(pause_s=0.0, clock=Off(by)))
    assert (report.error, report.deferred) == (None, None)
    assert report.source_lag_s is not None and 0 <= report.source_lag_s < 60
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)
    _nothing_in_the_future(world, one)
    assert abs((gauge(world, one, "fleetgauge_clock_skew_seconds") or 0) - 600) < 5
    monkeypatch.setattr(SystemClock, "now", lambda _: Off(by).now())
    assert len(re.findall(r"\b60\d", doctor_says(world, one, "fail"))) >= 2


@contextmanager
def _shifted(world: World, by: timedelta) -> Iterator[Settings]:
    """The metrics database's clock is off: its clients find another `clock_timestamp` before the real one."""
    world.metrics.execute(
        "CREATE SCHEMA shifted; GRANT USAGE ON SCHEMA shifted TO PUBLIC;"
        " CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE"
        f" AS $$ SELECT pg_catalog.clock_timestamp() + interval '{by.total_seconds()} s' $$"
    )
    old = world.settings.metrics.url.get_secret_value()
    url = f"{old}{'&' if '?' in old else '?'}options=-csearch_path%3Dshifted%2Cpg_catalog%2Cpublic"
    metrics = world.settings.metrics.model_copy(update={"url": type(world.settings.metrics.url)(url)})
    try:
        yield world.settings.model_copy(update={"metrics": metrics})
    finally:
        world.metrics.execute("DROP FUNCTION shifted.clock_timestamp(); DROP SCHEMA shifted")


@fault(
    "The metrics database's clock is ten minutes fast or slow",
    number="right: the worker's and the replica's clocks outvote it",
    freshness="by that clock, so too strict or too mild by ten minutes",
    doctor="fail: its clock differs from this machine's",
    exporter="fleetgauge_clock_skew_seconds 600",
    exit_code="0",
)
@pytest.mark.parametrize("by", [TEN, -TEN], ids=["fast", "slow"])
def test_a_metrics_database_whose_clock_is_wrong_is_outvoted(world: World, one: Definition, by: timedelta) -> None:
    world.insert(datetime.now(UTC) - timedelta(minutes=2))
    beat(world)
    with _shifted(world, by) as settings:
        report = run(world, one, settings=settings)
        assert (report.error, report.deferred) == (None, None)
        found = doctor.examine(settings, {one.metric: one}, {})
        assert any(re.search(r"60\d\.\d s", line.said) and line.status == "fail" for line in found)
    assert abs((gauge(world, one, "fleetgauge_clock_skew_seconds") or 0) - 600) < 5
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)
    _nothing_in_the_future(world, one)


@fault(
    "The heartbeat is frozen while production goes on",
    number="right up to the heartbeat; nothing later becomes final",
    freshness="warn, then error, once the next window is overdue",
    doctor="warn: how old the heartbeat is",
    exporter="fleetgauge_source_lag_seconds and fleetgauge_rollup_overdue_seconds rise",
    exit_code="75 of freshness, once overdue",
)
def test_a_frozen_heartbeat_closes_nothing(world: World, one: Definition) -> None:
    _forget_runs(world, one)
    beat(world, -timedelta(minutes=20))
    for _ in range(2):
        world.insert(datetime.now(UTC) - timedelta(minutes=2))
        world.catch_up()
        report = run(world, one)
        assert (report.error, report.deferred) == (None, None)
    for grain in ("minute", "hour", "day"):
        _, closed = world.ledger(one, grain)
        assert all(r.upper <= datetime.now(UTC) - timedelta(minutes=20) for r in closed)
    assert _standings(world, one)["minute"].verdict == "error"
    assert "heartbeat is 12" in doctor_says(world, one, "warn")
    assert (gauge(world, one, "fleetgauge_source_lag_seconds") or 0) > 1190
    beat(world)
    assert run(world, one).error is None
    assert totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (5, 5))
    world.assert_right(one)


@fault(
    "A minute of the hour at hand is blocked by a check",
    number="the older one of that minute, provisional up to hour and day",
    freshness="final until the last window that is really closed, never until the future",
    doctor="ok",
    exporter="fleetgauge_rollup_blocked_windows 1, no negative lag",
    exit_code="78 of the run",
)
def test_a_blocked_minute_does_not_make_the_future_final(world: World, one: Definition) -> None:
    blocked = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
    world.metrics.execute(
        "INSERT INTO fleetgauge.blocked (metric, version, window_start, reason) VALUES (%s, %s, %s, 'n < 1')",
        [one.metric, one.version, blocked],
    )
    for grain, found in _standings(world, one).items():
        _, closed = world.ledger(one, grain)
        assert found.closed_until is not None and found.closed_until <= max(r.upper for r in closed)
        assert found.done_until is not None and found.done_until <= datetime.now(UTC)
        assert found.behind is not None and found.behind >= timedelta()
        assert (gauge(world, one, "fleetgauge_rollup_lag_seconds", grain=grain) or 0) >= 0


def test_a_refusal_reaches_whoever_asked(world: World, tmp_path: Path) -> None:
    """`run`, its dry run and `plan` tell it; exit code 75 says that trying again later helps."""
    shell = Shell(world, tmp_path)
    shell.configure()
    shell.write(METRIC)
    shell("migrate")
    beat(world, TEN)
    answer = shell("run", "ride", code=75)
    assert "ahead of the other clocks" in answer.err
    assert "refused: source operations claims" in shell("plan", "ride", code=None).out
    found: Any = shell("plan", "ride", "--json", code=None).json
    assert found["metrics"][0]["plan"]["refused"] is True
    assert found["metrics"][0]["plan"]["stages"] == []
    beat(world)
    shell("run", "ride")

"""Clocks that lie: production's heartbeat, the workers', the metrics database's, and the primary's when it is set."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cli_world import METRIC, Shell
from fault_table import fault
from prometheus_client import CollectorRegistry
from rollup_world import Off, World, definition

from fleetgauge.errors import Transient
from fleetgauge.rollup import Definition, RunReport, raise_failures, run_metrics
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import MetricFreshness, freshness
from fleetgauge.rollup.operating.preview import preview_metrics
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.plan.stages import TakeBack
from fleetgauge.settings import Settings

TEN = timedelta(minutes=10)
REAL = RunOptions(pause_s=0.0)
"""As in production."""


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    """A metric with an hour of facts that a first run has taken up."""
    found = definition(f"clock_{uuid4().hex[:8]}")
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    world.migrate(found)
    for minutes in (61, 31, 1):
        world.insert(datetime.now(UTC) - timedelta(minutes=minutes))
    _beat(world)
    assert _run(world, found).error is None
    yield found
    world.app.execute(
        "ALTER TABLE fleetgauge_heartbeat ALTER beat_at SET NOT NULL, ALTER oldest_xact_start SET NOT NULL"
    )


def _beat(world: World, by: timedelta = timedelta()) -> None:
    """The primary's clock is off `by` that much, and writes a heartbeat."""
    world.app.execute(
        "INSERT INTO fleetgauge_heartbeat SELECT 1, at, at FROM (SELECT clock_timestamp() + %s) AS _(at)"
        " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, oldest_xact_start = excluded.oldest_xact_start",
        [by],
    )
    world.catch_up()


def _run(world: World, one: Definition, options: RunOptions = REAL, settings: Settings | None = None) -> RunReport:
    return run_metrics(settings or world.settings, [one], "minute", options=options)[0]


def _forget_runs(world: World, one: Definition) -> None:
    world.metrics.execute(
        "UPDATE fleetgauge.ledger SET done = '{}', closed = '{}', cursor_at = NULL, beat_at = NULL WHERE metric = %s",
        [one.metric],
    )


def _totals(world: World, one: Definition) -> dict[str, tuple[int, int]]:
    """By grain: facts, and those that are open."""
    return {
        grain: world.metrics.execute(f"SELECT sum(n), sum(open) FROM metrics.{one.metric}_{grain}").fetchone()
        for grain in ("minute", "hour", "day")
    }


def _standings(world: World, one: Definition) -> dict[str, MetricFreshness]:
    return {found.grain: found for found in freshness(world.settings, [one])}


def _gauge(world: World, one: Definition, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, {one.metric: one}))
    return registry.get_sample_value(name, {"metric": one.metric, **labels})


def _doctor(world: World, one: Definition, status: str) -> str:
    found = doctor.examine(world.settings, {one.metric: one}, {})
    return "\n".join(f"{line.about} {line.said}" for line in found if line.status == status)


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
    _beat(world, TEN)
    report = _run(world, one)
    assert report.severity == "transient"
    assert "ahead of the other clocks" in (report.error or "")
    with pytest.raises(Transient):
        raise_failures([report])
    assert [world.ledger(one, grain) for grain in ("minute", "hour", "day")] == before
    assert _gauge(world, one, "fleetgauge_rollup_failing") == 1
    assert "in the future" in _doctor(world, one, "fail")
    _beat(world)
    for _ in range(22):
        world.insert(datetime.now(UTC))
    world.change(ride, state="done")
    _beat(world)
    report = _run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (26, 25))
    world.assert_right(one)
    _nothing_in_the_future(world, one)
    assert _gauge(world, one, "fleetgauge_rollup_failing") == 0


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
    _beat(world, TEN)
    assert _run(world, one, RunOptions(pause_s=0.0, tolerance=None)).error is None  # as it was
    for _ in range(22):
        world.insert(datetime.now(UTC))
    world.change(ride, state="done")
    _beat(world)
    minute = _standings(world, one)["minute"]
    assert minute.verdict == "error" and minute.ahead is not None
    assert minute.behind is not None and minute.behind >= timedelta()
    assert minute.closed_until is not None and minute.closed_until <= datetime.now(UTC)
    assert (_gauge(world, one, "fleetgauge_rollup_ahead_seconds", grain="minute") or 0) > 400
    assert "computed or final until" in _doctor(world, one, "fail")
    (preview,) = preview_metrics(world.settings, [one], RunRequest(), options=REAL)
    assert preview.plan is not None and isinstance(preview.plan.stages[0], TakeBack)
    report = _run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (26, 25))
    world.assert_right(one)
    _nothing_in_the_future(world, one)
    assert _gauge(world, one, "fleetgauge_rollup_ahead_seconds", grain="minute") == 0
    assert "computed or final until" not in _doctor(world, one, "fail")


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
    report = _run(world, one)
    assert (report.error is not None) or (report.deferred is not None)
    assert (report.windows, report.cells, report.rows) == (0, 0, 0)
    assert [world.ledger(one, grain) for grain in ("minute", "hour", "day")] == before
    assert "heartbeat" in _doctor(world, one, "warn" if what == "of 2001" else "fail")
    world.insert(datetime.now(UTC) - timedelta(minutes=2))
    world.app.execute(MENDED.get(what, "DELETE FROM fleetgauge_heartbeat"))
    _beat(world)
    report = _run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
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
    _beat(world)
    world.app.execute(
        "INSERT INTO fleetgauge_heartbeat VALUES (2, '2001-01-01Z', '2001-01-01Z'), (7, 'infinity', now())"
    )
    world.catch_up()
    report = _run(world, one)
    assert (report.error, report.deferred) == (None, None)
    world.assert_right(one)
    assert "2 row(s) beside that with id 1" in _doctor(world, one, "warn")
    world.app.execute("DELETE FROM fleetgauge_heartbeat WHERE id <> 1")
    world.catch_up()
    assert "beside that with id 1" not in _doctor(world, one, "warn")


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
    _beat(world)
    report = _run(world, one, RunOptions(pause_s=0.0, clock=Off(by)))
    assert (report.error, report.deferred) == (None, None)
    assert report.source_lag_s is not None and 0 <= report.source_lag_s < 60
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)
    _nothing_in_the_future(world, one)
    assert abs((_gauge(world, one, "fleetgauge_clock_skew_seconds") or 0) - 600) < 5
    monkeypatch.setattr(doctor, "SystemClock", lambda: Off(by))
    assert _doctor(world, one, "fail").count("600") >= 2


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
    _beat(world)
    with _shifted(world, by) as settings:
        report = _run(world, one, settings=settings)
        assert (report.error, report.deferred) == (None, None)
        found = doctor.examine(settings, {one.metric: one}, {})
        assert any("600.0 s" in line.said and line.status == "fail" for line in found)
    assert abs((_gauge(world, one, "fleetgauge_clock_skew_seconds") or 0) - 600) < 5
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)
    _nothing_in_the_future(world, one)


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
    _beat(world, fast)
    assert _run(world, one).error is None
    cursor = world.metrics.execute(
        "SELECT cursor_at FROM fleetgauge.ledger WHERE metric = %s AND grain = 'minute'", [one.metric]
    ).fetchone()[0]
    ride = world.insert(read - timedelta(minutes=5))
    (changed,) = world.app.execute("SELECT changed_at FROM facts WHERE id = %s", [ride]).fetchone()
    assert changed < cursor
    _beat(world)
    report = _run(world, one)
    assert "is behind what was read before" in (report.deferred or "")
    deadline = time.monotonic() + 60
    while report.deferred is not None:
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.5)
        _beat(world)
        report = _run(world, one)
        assert report.error is None
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
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
        _beat(world, -timedelta(seconds=seconds))
        world.metrics.execute(
            "UPDATE fleetgauge.ledger SET cursor_at = %s WHERE metric = %s AND grain = 'minute'",
            [datetime.now(UTC) - timedelta(seconds=seconds + 5), one.metric],
        )
        if seconds == 120:
            assert _run(world, one).deferred is None
            ride = world.insert(datetime.now(UTC) - timedelta(minutes=5))
            world.app.execute("UPDATE facts SET changed_at = now() - interval '140 s' WHERE id = %s", [ride])
    report = _run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
    world.assert_right(one)


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
    _beat(world, -timedelta(minutes=20))
    for _ in range(2):
        world.insert(datetime.now(UTC) - timedelta(minutes=2))
        world.catch_up()
        report = _run(world, one)
        assert (report.error, report.deferred) == (None, None)
    for grain in ("minute", "hour", "day"):
        _, closed = world.ledger(one, grain)
        assert all(r.upper <= datetime.now(UTC) - timedelta(minutes=20) for r in closed)
    assert _standings(world, one)["minute"].verdict == "error"
    assert "heartbeat is 12" in _doctor(world, one, "warn")
    assert (_gauge(world, one, "fleetgauge_source_lag_seconds") or 0) > 1190
    _beat(world)
    assert _run(world, one).error is None
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (5, 5))
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
        assert (_gauge(world, one, "fleetgauge_rollup_lag_seconds", grain=grain) or 0) >= 0


def test_a_refusal_reaches_whoever_asked(world: World, tmp_path: Path) -> None:
    """`run`, its dry run and `plan` tell it; exit code 75 says that trying again later helps."""
    shell = Shell(world, tmp_path)
    shell.configure()
    shell.write(METRIC)
    shell("migrate")
    _beat(world, TEN)
    answer = shell("run", "ride", code=75)
    assert "ahead of the other clocks" in answer.err
    assert "refused: source operations claims" in shell("plan", "ride", code=None).out
    found: Any = shell("plan", "ride", "--json", code=None).json
    assert found["metrics"][0]["plan"]["refused"] is True
    assert found["metrics"][0]["plan"]["stages"] == []
    _beat(world)
    shell("run", "ride")


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
    assert _run(world, one).error is None
    for ago, off in ((5, back), (15, back), (0, timedelta())):  # while it is behind, heartbeats are no steps
        production(off)
        if off:
            _insert_at(world, off, ago)
    report = _run(world, one)
    assert (report.error, report.deferred) == (None, None)
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (5, 5))
    world.assert_right(one)
    assert "its clock was set back in the last hour" in _doctor(world, one, "warn")
    assert world.app.execute("SELECT set_back FROM fleetgauge_heartbeat").fetchone() == (1,)
    noted = "SELECT cursor_token FROM fleetgauge.ledger WHERE metric = %s AND grain = 'minute'"
    deadline = time.monotonic() + 60
    while world.metrics.execute(noted, [one.metric]).fetchone() != ({"set_back": 1},):  # then it is told no more
        assert time.monotonic() < deadline
        production(timedelta())
        assert _run(world, one).error is None


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
        _beat(world)
        assert _run(world, one).error is None
        _insert_at(world, -timedelta(seconds=45))
        _insert_at(world, -timedelta(minutes=20), ago=130)  # in an hour that is over and that nothing else touches
        _beat(world)
        assert _run(world, one).error is None
        assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (4, 4))
        assert "does not remember when its clock was set back" in _doctor(world, one, "warn")
        _beat(world)
        span = (datetime.now(UTC) - timedelta(hours=4), datetime.now(UTC))
        (found,) = reconcile_metrics(world.settings, [one], span, options=REAL)
        assert (found.error, found.different) == (None, 1)
        assert _totals(world, one)["hour"] == (5, 5)
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
        _beat(world, -timedelta(minutes=minutes))
        report = _run(world, one)
        assert (report.error, report.rows) == (None, 0)
        assert "is behind what was read before" in (report.deferred or "")
    assert [world.ledger(one, grain) for grain in ("minute", "hour", "day")] == before
    assert "heartbeat is 4" in _doctor(world, one, "warn")
    assert _gauge(world, one, "fleetgauge_rollup_deferred") == 1
    _beat(world)
    assert _run(world, one).deferred is None
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (6, 6))
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
        report = _run(world, one)
        assert report.error is None
        waited += report.deferred is not None
    assert waited == 3
    production(timedelta())
    assert _run(world, one).deferred is None
    assert _totals(world, one) == dict.fromkeys(("minute", "hour", "day"), (9, 9))
    world.assert_right(one)

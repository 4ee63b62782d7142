"""Every run is a row: what it planned, what it wrote, how it ended; and what changed by it names it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cli_world import METRIC, Shell
from fault_table import fault
from rollup_world import QUICK, World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.operating import expire
from fleetgauge.rollup.operating.backfill import backfill_metrics
from fleetgauge.rollup.operating.backfill_record import BackfillOrder
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.operating.runs import LoggedRun, list_runs

AT = (datetime.now(UTC) - timedelta(days=3)).replace(hour=4, minute=5, second=0, microsecond=0)
SPAN = (AT - timedelta(hours=2), AT + timedelta(hours=2))


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    """Two facts of a day that is final."""
    found = definition("logged", source_kept="400d")
    world.migrate(found)
    world.forget(found)
    world.metrics.execute("DELETE FROM fleetgauge.restatement; DELETE FROM fleetgauge.run")
    world.insert(AT, zone="a", state="done", amount=10, length=3)
    _ready(world)
    assert world.run(found).error is None
    yield found


def _ready(world: World) -> None:
    world.beat()
    world.catch_up()


def _runs(world: World, one: Definition) -> list[LoggedRun]:
    """The oldest first."""
    return list_runs(world.settings, one.metric)[::-1]


def _names(world: World) -> set[tuple[int, str]]:
    return set(world.metrics.execute("SELECT DISTINCT run_id, reason FROM metrics.restatement").fetchall())


def test_each_command_is_a_row_and_what_it_changed_names_it(world: World, one: Definition) -> None:
    world.insert(AT, zone="a", state="done", amount=5)
    _ready(world)
    assert world.run(one).restated == 1
    world.app.execute("UPDATE facts SET length = length + 1")
    _ready(world)
    order = BackfillOrder(*SPAN, reason="a test", max_lag=None)
    list(backfill_metrics(world.settings, [one], order, options=QUICK))
    world.app.execute("UPDATE facts SET amount = amount + 1")
    _ready(world)
    assert reconcile_metrics(world.settings, [one], SPAN, options=QUICK)[0].different == 1
    assert reconcile_metrics(world.settings, [one], SPAN, options=QUICK, dry_run=True)[0].different == 0
    assert expire.drop_expired(world.settings, [one])[0].error is None

    first, late, backfill, reconcile, retention = _runs(world, one)
    assert [r.command for r in (first, late, backfill, reconcile, retention)] == [
        "run", "run", "backfill", "reconcile", "retention",
    ]  # fmt: skip
    for run in (first, late, backfill, reconcile, retention):
        assert (run.outcome, run.version, run.error_type) == ("ok", one.version, None)
        assert run.ended_at is not None and run.started_at <= run.ended_at
        assert run.host and run.pid
    assert {"stage": "Begin", "reason": "first run"} in first.stages
    assert {(s["stage"], s["reason"], s.get("cells")) for s in late.stages if "cells" in s} == {
        ("ComputeCells", "changed", 1)
    }
    assert (late.cells, late.restated) == (1, 1) and late.rows > 0
    (asked,) = [s for s in backfill.stages if s["reason"] == "asked for"]
    assert asked["windows"] == backfill.windows == 240
    assert (asked["begin"], asked["end"]) == tuple(at.isoformat() for at in SPAN)
    assert _names(world) == {
        (late.id, "late or changed rows"),
        (backfill.id, "backfill"),
        (reconcile.id, "reconcile"),
    }


def test_a_viewer_reads_runs_but_not_where_they_ran(world: World, one: Definition) -> None:
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name)) as viewer:
        row = viewer.execute("SELECT * FROM metrics.run WHERE metric = %s", [one.metric])
        columns = {column.name for column in row.description or ()}
        assert row.fetchone() is not None
        assert columns.isdisjoint({"reason", "host", "pid", "airflow_run"})
        comments = viewer.execute(
            "SELECT count(*) FROM pg_attribute AS a JOIN pg_description AS d ON d.objoid = a.attrelid"
            " AND d.objsubid = a.attnum WHERE a.attrelid = 'metrics.run'::regclass"
        ).fetchone()
        assert comments == (len(columns),)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            viewer.execute("SELECT * FROM fleetgauge.run")


@fault(
    "a run fails, is deferred or has a cell blocked",
    number="as each of these has it",
    freshness="as each of these has it",
    doctor="as each of these has it",
    exporter="fleetgauge_rollup_failing, fleetgauge_rollup_deferred, fleetgauge_rollup_blocked_windows",
    exit_code="75 or 78; runs lists it with the class of its error",
)
def test_how_a_run_ended_is_told(world: World, one: Definition) -> None:
    world.app.execute("DELETE FROM fleetgauge_heartbeat")
    world.catch_up()
    assert world.run(one).deferred is not None
    world.app.execute("ALTER TABLE facts RENAME COLUMN length TO extent")
    _ready(world)
    try:
        assert world.run(one).error is not None
    finally:
        world.app.execute("ALTER TABLE facts RENAME COLUMN extent TO length")
        world.catch_up()
    checked = definition("checked", source_kept="400d", checks={"fail": ["n < 2"]})
    world.migrate(checked)
    world.insert(AT, zone="a", state="done", amount=10, length=3)
    _ready(world)
    world.run(checked)
    deferred, failed = _runs(world, one)[1:]
    assert (deferred.outcome, deferred.error_type, deferred.rows) == ("deferred", None, 0)
    assert "no heartbeat" in (deferred.reason or "")
    assert (failed.outcome, failed.error_type) == ("failed", "Terminal")
    assert "length" in (failed.reason or "")
    (blocked,) = _runs(world, checked)
    assert (blocked.outcome, blocked.error_type) == ("blocked", None)
    assert "'n < 2'" in (blocked.reason or "")


@fault(
    "the process of a run is killed",
    number="right: what is done stays, the next run does the rest",
    freshness="as late as the next run",
    doctor="ok",
    exporter="ok",
    exit_code="none; runs calls it interrupted once another has begun",
)
def test_a_run_whose_process_is_gone_is_told_from_one_at_work(world: World, one: Definition) -> None:
    killed, at_work = (activity.Run(world.settings, "run", one.metric, one.version, "minute") for _ in range(2))
    assert killed.begin() is not None and at_work.begin() is not None
    ended = world.metrics.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s", [killed.id]
    ).fetchall()
    assert ended == [(True,)]
    _ready(world)
    assert world.run(one).error is None
    assert [r.outcome for r in _runs(world, one)] == ["ok", "interrupted", "running", "ok"]
    at_work.end()
    assert [r.outcome for r in _runs(world, one)] == ["ok", "interrupted", "ok", "ok"]


def test_an_interrupt_is_told_and_goes_on(world: World, one: Definition) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        activity.logged(world.settings, "run", one.metric, one.version, "minute"),
    ):
        raise KeyboardInterrupt
    assert _runs(world, one)[-1].outcome == "interrupted"


@fault(
    "the run log cannot be written",
    number="right: the run goes on",
    freshness="ok",
    doctor="ok",
    exporter="its counts stand still",
    exit_code="0, and a warning in the log",
)
def test_a_log_that_cannot_be_written_stops_no_run(world: World, one: Definition) -> None:
    world.metrics.execute("ALTER TABLE fleetgauge.run RENAME TO away")
    try:
        world.insert(AT, zone="a", state="done", amount=5)
        _ready(world)
        report = world.run(one)
        assert (report.error, report.restated) == (None, 1)
        world.assert_right(one)
    finally:
        world.metrics.execute("ALTER TABLE fleetgauge.away RENAME TO run")
    assert {run for run, _ in _names(world)} == {None}


def test_its_connection_may_be_lost_in_between(world: World, one: Definition) -> None:
    with activity.logged(world.settings, "run", one.metric, one.version, "minute") as run:
        assert run.begin() is not None
        world.metrics.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'fleetgauge-activity' AND datname = current_database()"
        )
    assert _runs(world, one)[-1].outcome == "ok"


def test_what_is_old_is_let_go(world: World, one: Definition) -> None:
    kept = {"plain": 0, "failed": 1, "backfill": 1, "restating": 1, "new version": 1, "ancient": 0}
    for name in kept:
        world.metrics.execute(
            "INSERT INTO fleetgauge.run (metric, command, grain, started_at, outcome, stages, restated, host)"
            " VALUES (%s, %s, 'minute', now() - %s::interval, %s, %s, %s, %s)",
            [
                one.metric,
                "backfill" if name in ("backfill", "ancient") else "run",
                "500 days" if name == "ancient" else "15 days",
                "failed" if name == "failed" else "ok",
                json.dumps([{"stage": "ComputeSpan", "reason": "new version" if name == "new version" else "missing"}]),
                int(name == "restating"),
                name,
            ],
        )
    assert expire.drop_expired(world.settings, [one])[0].error is None
    left = [run.host for run in _runs(world, one)]
    assert {name: left.count(name) for name in kept} == kept


def test_stretches_beyond_some_are_told_by_the_hour() -> None:
    minutes = [(AT + timedelta(minutes=2 * n), AT + timedelta(minutes=2 * n + 1)) for n in range(activity.MOST + 1)]
    assert activity.merged_spans(minutes[:-1]) == minutes[:-1]
    (told,) = activity.merged_spans(minutes)
    assert told[0] == AT.replace(minute=0)


def test_the_command_lists_them(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(world, tmp_path)
    shell.configure()
    shell.write(METRIC)
    shell("migrate")
    _ready(world)
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "fleetgauge_minute")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_RUN_ID", "scheduled__1")
    shell("run", "ride")
    answer = shell("runs", "ride", "--last", "1")
    assert "run (minute)" in answer.out and "first run" in answer.out
    found: Any = shell("runs", "ride", "--json").json
    assert [(r["command"], r["outcome"], r["airflow_run"]) for r in found] == [
        ("run", "ok", "fleetgauge_minute scheduled__1"),
        ("migrate", "ok", None),
    ]
    assert found[1]["stages"][0]["stage"] == "CreateTables"

"""The key of fingerprints: it is written nowhere, nothing is computed without it, and another makes another version."""

import logging
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fault_table import fault
from privacy_world import riders, rides, stored_prints
from pydantic import SecretStr
from rollup_world import KEY, SECRET, World, definition
from structlog.testing import capture_logs

from fleetgauge.errors import sure
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.settings import RollupSettings
from fleetlab.stack import PostgresState

HALVES = (SECRET.get_secret_value(), KEY.inner.hex(), KEY.outer.hex())


@pytest.fixture
def one(world: World) -> Definition:
    return rides(world)


@fault(
    "The source's server logs every statement with its parameters and plan",
    number="right; the key of the fingerprints is in none of it",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_the_key_is_written_nowhere(
    world: World, one: Definition, postgres: PostgresState, caplog: pytest.LogCaptureFixture
) -> None:
    logged = {
        "log_statement": "all",
        "log_min_duration_statement": "0",
        "log_parameter_max_length": "-1",
        "log_parameter_max_length_on_error": "-1",
        "log_error_verbosity": "verbose",
        "debug_print_plan": "on",
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_verbose": "on",
        "auto_explain.log_analyze": "on",
    }
    source = world.settings.source("operations").url.get_secret_value()
    logs = ((world.replica, "replica"), (world.metrics, "metrics"))
    with psycopg.connect(postgres.url("primary", "postgres", "postgres"), autocommit=True) as admin:
        for name, value in logged.items():
            admin.execute(f"ALTER ROLE fleetgauge_reader SET {name} = '{value}'")
    try:
        world.catch_up()
        caplog.set_level(logging.DEBUG)
        with capture_logs() as said:
            report = world.run(one)
        assert report.rows > 0
        with pytest.raises(psycopg.Error) as error, psycopg.connect(source) as connection:
            connection.execute("SELECT current_setting('fleetgauge.distinct_inner')")  # of another session: nothing
        told = [str(error.value), repr(said), caplog.text, repr(report), str(report.to_dict())]
        told += [_log_of(connection, name) for connection, name in logs]
        assert "current_setting('fleetgauge.distinct_inner')" in told[-2], "the statements are logged"
        assert "Query Text" in told[-2], "their plans are logged"
        for connection in (world.replica, world.metrics):
            for query in (
                "SELECT string_agg(query, ' ') FROM pg_stat_activity",
                "SELECT string_agg(concat_ws(' ', name, setting), ' ') FROM pg_settings",
            ):
                told.append(str(connection.execute(query).fetchone()))
        told += [str(row) for row in world.metrics.execute("SELECT a::text FROM fleetgauge.run AS a").fetchall()]
        told += [str(r) for r in world.metrics.execute("SELECT a::text FROM fleetgauge.metric_version AS a").fetchall()]
        with psycopg.connect(world.postgres.url("replica", "postgres", "postgres"), autocommit=True) as admin:
            there = admin.execute("SELECT to_regclass('pg_stat_statements')").fetchone()
            if there != (None,):
                told.append(str(admin.execute("SELECT string_agg(query, ' ') FROM pg_stat_statements").fetchone()))
        for secret in HALVES:
            assert not [text[:200] for text in told if secret in text]
    finally:
        with psycopg.connect(postgres.url("primary", "postgres", "postgres"), autocommit=True) as admin:
            for name in logged:
                admin.execute(f"ALTER ROLE fleetgauge_reader RESET {name}")
        world.catch_up()


@fault(
    "No key is set for a metric that counts persons",
    number="stays as it was; nothing of that metric is computed without a key",
    freshness="late",
    doctor="`fail`: the metric, and how a key is made",
    exporter="ok",
    exit_code="78",
)
def test_without_a_key_a_metric_about_persons_is_refused_with_the_cure(world: World) -> None:
    settings = world.settings.model_copy(update={"rollup": RollupSettings()})
    bare = riders().keyed(None)
    done = migrate(settings, {"ride": bare, "fact": definition().keyed(None)})
    assert "fleetgauge metrics key" in done.refused["ride"]
    (report,) = run_metrics(settings, [bare], "minute")
    assert report.error is not None
    assert report.severity == "terminal"
    assert "rollup.distinct_key is not set; make one with fleetgauge metrics key" in report.error
    (harmless,) = run_metrics(settings, [definition("plain", measures={"n": {"agg": "count"}})], "minute")
    assert "distinct_key" not in (harmless.error or "")


@fault(
    "The key of the fingerprints is changed",
    number="right; the metric is computed anew as another version, and shown once it is filled; two keys never merge",
    freshness="`waiting` until a run has filled it",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_another_key_is_another_version_beside_the_old_one(world: World, one: Definition) -> None:
    world.run(one)
    before = world.metrics.execute("SELECT window_start, zone, n FROM metrics.ride_day ORDER BY 1, 2").fetchall()
    secret = SecretStr("another key, as long as a key must be")
    settings = world.settings.model_copy(update={"rollup": RollupSettings(distinct_key=secret)})
    rotated = RollupSettings(distinct_key=secret)
    new = one.keyed(_id(rotated))
    assert new.version != one.version
    assert migrate(settings, {"ride": new}).waiting == ("ride",)
    (wrong,) = run_metrics(world.settings, [new], "minute")
    assert KEY.id in str(wrong.error)  # the other key's runs leave it alone
    (report,) = run_metrics(settings, [new], "minute")
    assert report.error is None
    found = world.metrics.execute(
        "SELECT window_start, zone, n, version FROM metrics.ride_day ORDER BY 1, 2"
    ).fetchall()
    assert [row[:3] for row in found] == before
    assert {row[3] for row in found} == {new.version}
    minute = one.levels[0]
    old_prints, new_prints = stored_prints(world, one.table(minute)), stored_prints(world, new.table(minute))
    assert old_prints
    assert old_prints.isdisjoint(new_prints)


def _log_of(connection: psycopg.Connection[Any], name: str) -> str:
    """What a server has written."""
    (data,) = connection.execute("SHOW data_directory").fetchone()
    return (Path(data).parents[1] / "logs" / f"postgres-{name}.log").read_text()


def _id(settings: RollupSettings) -> str:
    return sure(DistinctKey.of(settings.distinct_key), "a key").id

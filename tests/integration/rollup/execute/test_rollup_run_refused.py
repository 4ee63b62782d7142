"""Sources that a run refuses, waits for or cannot reach: primaries, columns and tables that are gone."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from rollup_world import QUICK, World, definition
from run_world import HOUR_AGO, NOW, migrated_metric, ready

from fleetgauge.errors import Stop, Terminal, Transient
from fleetgauge.postgres import Database
from fleetgauge.rollup import Definition, raise_failures, run_metrics
from fleetgauge.settings import Settings, SourceSettings


@pytest.fixture
def one(world: World) -> Definition:
    return migrated_metric(world)


def _source(world: World, **changes: Any) -> Settings:
    source = SourceSettings(**{"url": world.settings.source("operations").url, **changes})
    return world.settings.model_copy(update={"sources": {"operations": source}})


@pytest.fixture
def primary_url(world: World) -> Iterator[SecretStr]:
    """The reader's address on the primary, as somebody might configure it by mistake."""
    yield SecretStr(world.postgres.url("primary", "fleetgauge_reader", world.name))


def _statements_of_reader(world: World) -> list[str]:
    return [
        row[0]
        for row in world.app.execute(
            "SELECT query FROM pg_stat_statements AS s JOIN pg_roles AS r ON r.oid = s.userid"
            " WHERE r.rolname = 'fleetgauge_reader' AND s.dbid = (SELECT oid FROM pg_database WHERE datname = %s)",
            [world.name],
        ).fetchall()
    ]


def test_a_primary_is_refused_and_nothing_runs_on_it(world: World, one: Definition, primary_url: SecretStr) -> None:
    world.app.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    report = run_metrics(_source(world, url=primary_url), [one], "minute", options=QUICK)[0]
    assert report.severity == "stop"
    assert report.error is not None
    assert "operations is not a standby" in report.error
    with pytest.raises(Stop, match="metric fact: source operations"):
        raise_failures([report])
    assert _statements_of_reader(world) == []


def test_a_server_promoted_after_the_connection_is_refused(
    world: World, one: Definition, primary_url: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check at connect time says nothing about later transactions: here it is made to pass."""
    connect = Database.connect

    def anywhere(self: Database, part: str, **options: Any) -> Any:
        return connect(self, part, **{**options, "target_session_attrs": "any"})

    monkeypatch.setattr(Database, "connect", anywhere)
    world.app.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    (report,) = run_metrics(_source(world, url=primary_url), [one], "minute", options=QUICK)
    assert report.severity == "stop" and "has been promoted" in (report.error or "")
    assert not any("facts" in s for s in _statements_of_reader(world))


def test_allow_primary_lets_it_pass(world: World, one: Definition, primary_url: SecretStr) -> None:
    world.insert(HOUR_AGO)
    world.beat()
    report = run_metrics(_source(world, url=primary_url, allow_primary=True), [one], "minute", options=QUICK)[0]
    assert report.error is None
    world.assert_right(one)


def test_no_heartbeat_row_defers(world: World, one: Definition) -> None:
    world.app.execute("DELETE FROM fleetgauge_heartbeat")
    world.insert(HOUR_AGO)
    world.catch_up()
    report = world.run(one)
    assert report.error is None
    assert "heartbeat" in (report.deferred or "")
    assert world.stored(one, "minute") == {}


def test_no_heartbeat_table_needs_a_declared_age(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    world.app.execute("ALTER TABLE fleetgauge_heartbeat RENAME TO hidden")
    try:
        world.catch_up()
        report = world.run(one)
        assert report.severity == "terminal"
        assert "max_transaction_age_s" in (report.error or "")
        declared = run_metrics(_source(world, max_transaction_age_s=120), [one], "minute", options=QUICK)[0]
        assert declared.error is None
        assert declared.watermark is not None
        assert declared.watermark <= datetime.now(UTC) - timedelta(seconds=115)
        world.assert_right(one)
    finally:
        world.app.execute("ALTER TABLE hidden RENAME TO fleetgauge_heartbeat")


def test_a_replica_behind_what_was_read_before_is_not_read(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    ready(world)
    world.run(one)
    world.app.execute("UPDATE fleetgauge_heartbeat SET beat_at = beat_at - interval '1 minute'")
    world.catch_up()
    report = world.run(one)
    assert report.error is None
    assert "behind" in (report.deferred or "")
    ready(world)


def test_a_renamed_column_fails_its_metric_alone_and_is_named(world: World, one: Definition) -> None:
    other = definition(
        "plain",
        source_sql="SELECT id, happened_at, changed_at, kind AS zone, kind FROM facts",
        measures={"n": {"agg": "count"}},
    )
    world.migrate(one, other)
    world.forget(one)
    world.insert(HOUR_AGO)
    world.app.execute("ALTER TABLE facts RENAME COLUMN amount TO price")
    try:
        ready(world)
        reports = run_metrics(world.settings, [one, other], "minute", options=QUICK)
    finally:
        world.app.execute("ALTER TABLE facts RENAME COLUMN price TO amount")
    assert reports[0].severity == "terminal"
    assert 'column "amount" does not exist' in (reports[0].error or "")
    assert reports[1].error is None
    assert sum(r[0] for r in world.stored(other, "minute").values()) == 1
    with pytest.raises(Terminal, match=r"metric fact: sql/metrics/fact/source\.sql"):
        raise_failures(reports)


def test_a_table_that_may_not_be_read_is_a_stop(world: World, one: Definition) -> None:
    world.app.execute("REVOKE SELECT ON facts FROM fleetgauge_reader")
    try:
        ready(world)
        report = world.run(one)
    finally:
        world.app.execute("GRANT SELECT ON facts TO fleetgauge_reader")
    assert report.severity == "stop"
    assert "permission denied for table facts" in (report.error or "")


def test_a_time_out_makes_the_pieces_smaller(world: World) -> None:
    """Each fact costs 20 ms to read; the whole backlog in one statement would take longer than is allowed."""
    one = definition(
        "slow",
        source_sql="SELECT happened_at, changed_at, zone, kind, nap(id) AS nap FROM facts",
        measures={"n": {"agg": "count"}, "naps": {"agg": "count", "where": {"nap": {"is_null": False}}}},
    )
    world.app.execute(
        "CREATE FUNCTION nap(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE"
        " AS 'BEGIN PERFORM pg_sleep(0.02); RETURN 1; END'"
    )
    world.migrate(one)
    world.forget(one)
    for i in range(100):
        world.insert(HOUR_AGO + timedelta(seconds=30 * i) - timedelta(days=1))
    ready(world)
    settings = _source(world, statement_timeout_s=0.8)
    report = run_metrics(settings, [one], "minute", options=replace(QUICK, windows=4096))[0]
    assert report.error is None
    assert sum(r[0] for r in world.stored(one, "day").values()) == 100
    hopeless = run_metrics(
        _source(world, statement_timeout_s=0.01), [one], "minute", (HOUR_AGO - timedelta(days=1), NOW), options=QUICK
    )[0]
    assert hopeless.severity == "transient"
    assert "statement timeout" in (hopeless.error or "")


def test_a_run_before_migrate_says_so(world: World) -> None:
    report = world.run(definition("nowhere"))
    assert report.severity == "terminal"
    assert "run fleetgauge migrate" in (report.error or "")


def test_a_server_that_is_away_is_transient(world: World, one: Definition) -> None:
    away = SecretStr("postgresql://fleetgauge_reader@127.0.0.1:1/none")
    report = run_metrics(_source(world, url=away), [one], "minute", options=QUICK)[0]
    assert report.severity == "transient"
    with pytest.raises(Transient):
        raise_failures([report])

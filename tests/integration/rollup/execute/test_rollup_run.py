"""What a run refuses, blocks, defers and reports, on a real standby."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from rollup_world import KEY, QUICK, World, definition

from fleetgauge.errors import Stop, Terminal, Transient
from fleetgauge.postgres import Database
from fleetgauge.rollup import COMMANDS, Definition, load_definitions, raise_failures, run_metrics
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.settings import Settings, SourceSettings

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR_AGO = NOW - timedelta(hours=1)
CONTENT = Path(__file__).parents[4]


@pytest.fixture
def one(world: World) -> Definition:
    found = definition()
    world.migrate(found)
    world.forget(found)
    world.beat()
    world.catch_up()
    return found


def _ready(world: World) -> None:
    world.beat()
    world.catch_up()


def _source(world: World, **changes: Any) -> Settings:
    source = SourceSettings(**{"url": world.settings.source("operations").url, **changes})
    return world.settings.model_copy(update={"sources": {"operations": source}})


# --- the replica guard ----------------------------------------------------------------------------------------------


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


# --- how far the source is ------------------------------------------------------------------------------------------


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


def test_a_long_transaction_and_a_stale_heartbeat_hold_windows_open(world: World, one: Definition) -> None:
    with world.session() as session:
        fact = world.insert(HOUR_AGO, session)
        (began,) = session.execute("SELECT now()").fetchone()
        _ready(world)
        report = world.run(one)
        assert report.watermark == began
        session.commit()
    world.catch_up()
    world.run(one)  # the same heartbeat as before: what is visible comes in, nothing more closes
    world.assert_right(one)
    assert world.run(one).watermark == began
    world.change(fact, state="done")
    _ready(world)
    report = world.run(one)
    assert report.watermark is not None
    assert report.watermark > began
    world.assert_right(one)


def test_windows_close_by_the_given_watermark_where_it_is_earlier(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    _ready(world)
    report = world.run(one, watermark=HOUR_AGO + timedelta(minutes=5))
    assert report.closed_until["minute"] == HOUR_AGO + timedelta(minutes=5)
    world.assert_right(one)
    provisional = dict(world.metrics.execute("SELECT window_start, provisional FROM metrics.fact_minute").fetchall())
    assert provisional == {HOUR_AGO: False}
    assert world.run(one).closed_until["minute"] > HOUR_AGO + timedelta(minutes=5)


def test_a_replica_behind_what_was_read_before_is_not_read(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    _ready(world)
    world.run(one)
    world.app.execute("UPDATE fleetgauge_heartbeat SET beat_at = beat_at - interval '1 minute'")
    world.catch_up()
    report = world.run(one)
    assert report.error is None
    assert "behind" in (report.deferred or "")
    _ready(world)


# --- open rows, late rows, rows of the future -----------------------------------------------------------------------


def test_an_open_row_keeps_its_window_provisional(world: World) -> None:
    one = definition("opened", provisional_while="open")
    world.migrate(one)
    world.forget(one)
    fact = world.insert(HOUR_AGO)
    _ready(world)
    world.run(one)
    view = "SELECT bool_or(provisional) FROM metrics.opened_minute"
    assert world.metrics.execute(view).fetchone() == (True,)
    world.change(fact, state="done")
    _ready(world)
    report = world.run(one)
    assert (report.cells, report.restated) == (1, 1)
    assert world.metrics.execute(view).fetchone() == (False,)


def test_late_early_and_future_facts_come_in(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    _ready(world)
    world.run(one)
    world.insert(HOUR_AGO - timedelta(days=900))
    world.insert(HOUR_AGO + timedelta(minutes=3), zone=None)
    world.insert(NOW + timedelta(days=3))
    _ready(world)
    report = world.run(one)
    assert (report.windows, report.cells) == (0, 3)
    world.assert_right(one)


def test_a_source_without_change_column_is_read_once_after_its_grace(world: World) -> None:
    one = definition("appended", change_time=None, grace="90s")
    world.migrate(one)
    world.forget(one)
    world.insert(HOUR_AGO)
    too_young = datetime.now(UTC).replace(second=0, microsecond=0)
    world.insert(too_young)
    _ready(world)
    report = world.run(one)
    assert report.cells == 0
    assert [key[0] for key in world.stored(one, "minute")] == [HOUR_AGO]
    assert report.closed_until["minute"] <= too_young


def test_an_interval_is_recomputed_as_a_whole(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    world.insert(HOUR_AGO - timedelta(hours=30))
    _ready(world)
    world.run(one)
    for level in one.levels:
        world.metrics.execute(f"UPDATE store.{one.table(level)} SET n = 99")
    for grain in ("minute", "hour", "day"):
        assert world.run(one, grain, (HOUR_AGO - timedelta(days=2), NOW)).error is None
    world.assert_right(one)


def test_an_hour_run_heals_what_the_ledger_lacks(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO - timedelta(hours=5))
    world.insert(HOUR_AGO)
    _ready(world)
    world.run(one)
    world.metrics.execute(f"DELETE FROM store.{one.table(one.levels[1])}")
    world.metrics.execute(
        "UPDATE fleetgauge.ledger SET done = done - tstzmultirange(tstzrange(%s, NULL))"
        " WHERE metric = 'fact' AND grain = 'hour'",
        [HOUR_AGO - timedelta(days=1)],
    )
    world.run(one, "hour")
    assert world.stored(one, "hour") == {
        k: v for k, v in world.expected(one, "hour").items() if k[0] < NOW.replace(minute=0)
    }


# --- limits, checks, drift ------------------------------------------------------------------------------------------


def test_values_beyond_the_limit_are_other_for_good(world: World) -> None:
    one = definition("limited", dimensions={"kind": {"column": "kind", "limit": 2}})
    world.migrate(one)
    world.forget(one)

    def kinds() -> dict[str, int]:
        return {key[1]: row[0] for key, row in world.stored(one, "minute").items()}

    facts = [world.insert(HOUR_AGO, kind=k) for k in ("a", "b")]
    _ready(world)
    world.run(one)
    facts += [world.insert(HOUR_AGO, kind=k) for k in ("c", "d", "d", "(other)")]
    _ready(world)
    world.run(one)
    assert kinds() == {"a": 1, "b": 1, "(other)": 4}
    world.change(facts[3], state="done", amount=7)
    world.change(facts[0], state="done")
    _ready(world)
    world.run(one)
    assert kinds() == {"a": 1, "b": 1, "(other)": 4}
    rows = world.stored(one, "day")
    assert {k[1]: (r[2], r[3]) for k, r in rows.items()} == {"a": (1, 1), "b": (0, 0), "(other)": (1, 7)}


def test_a_broken_check_keeps_the_old_rows_and_blocks_only_its_window(world: World) -> None:
    one = definition("checked", checks={"fail": ["length <= 100"], "warn": ["n < 3"]})
    world.migrate(one)
    world.forget(one)
    bad, good = world.insert(HOUR_AGO), world.insert(HOUR_AGO + timedelta(minutes=2))
    _ready(world)
    world.run(one)
    before = world.stored(one, "minute")[HOUR_AGO, "a", "x"]
    world.change(bad, length=1000)
    world.change(good, length=50)
    _ready(world)
    report = world.run(one)
    assert [(b.cell, b.check) for b in report.blocked] == [((HOUR_AGO, ("a", "x")), "length <= 100")]
    with pytest.raises(Terminal, match=r"'length <= 100' is broken in 1 cell\(s\), first .* zone=a kind=x"):
        raise_failures([report])
    after = world.stored(one, "minute")
    assert after[HOUR_AGO, "a", "x"] == before
    assert after[HOUR_AGO + timedelta(minutes=2), "a", "x"][4] == 50
    shown = dict(world.metrics.execute("SELECT window_start, provisional FROM metrics.checked_minute").fetchall())
    assert shown == {HOUR_AGO: True, HOUR_AGO + timedelta(minutes=2): False}
    assert world.metrics.execute("SELECT bool_and(provisional) FROM metrics.checked_day").fetchone() == (True,)

    world.change(bad, length=3)
    _ready(world)
    report = world.run(one)
    assert report.blocked == ()
    world.assert_right(one)
    shown = dict(world.metrics.execute("SELECT window_start, provisional FROM metrics.checked_minute").fetchall())
    assert not any(shown.values())


def test_a_window_blocked_from_the_first_is_no_row_and_comes_in_later(world: World) -> None:
    one = definition("first", checks={"fail": ["length <= 100"]})
    world.migrate(one)
    world.forget(one)
    bad = world.insert(HOUR_AGO, length=1000)
    _ready(world)
    report = world.run(one)
    assert len(report.blocked) == 1
    assert world.stored(one, "minute") == {}
    assert report.closed_until["minute"] == HOUR_AGO
    world.change(bad, length=1)
    _ready(world)
    assert world.run(one).blocked == ()
    world.assert_right(one)


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
        _ready(world)
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
        _ready(world)
        report = world.run(one)
    finally:
        world.app.execute("GRANT SELECT ON facts TO fleetgauge_reader")
    assert report.severity == "stop"
    assert "permission denied for table facts" in (report.error or "")


def test_predicates_and_names_cannot_inject(world: World) -> None:
    evil = "'); DROP TABLE facts; --%s%%{}"
    one = definition(
        "evil",
        measures={
            "n": {"agg": "count", "where": {"kind": [evil, "x"]}},
            "m": {"agg": "count", "where": {"kind": {"ne": evil}}},
        },
    )
    world.migrate(one)
    world.forget(one)
    world.insert(HOUR_AGO, kind=evil)
    world.insert(HOUR_AGO, kind="y")
    _ready(world)
    assert world.run(one).error is None
    assert {k[2]: r for k, r in world.stored(one, "minute").items()} == {evil: (1, 0), "y": (0, 1)}


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
    _ready(world)
    settings = _source(world, statement_timeout_s=0.8)
    report = run_metrics(settings, [one], "minute", options=replace(QUICK, windows=4096))[0]
    assert report.error is None
    assert sum(r[0] for r in world.stored(one, "day").values()) == 100
    hopeless = run_metrics(
        _source(world, statement_timeout_s=0.01), [one], "minute", (HOUR_AGO - timedelta(days=1), NOW), options=QUICK
    )[0]
    assert hopeless.severity == "transient"
    assert "statement timeout" in (hopeless.error or "")


# --- the metrics database as its own source -------------------------------------------------------------------------


def test_the_metrics_database_is_a_source_and_its_open_transactions_count(world: World) -> None:
    one = definition("own", source=COMMANDS, source_sql="SELECT * FROM fleetgauge.own_facts")
    world.metrics.execute(
        "CREATE TABLE fleetgauge.own_facts (happened_at timestamptz, changed_at timestamptz, zone text, kind text,"
        " state text, amount numeric, length int, score float8)"
    )
    world.metrics.execute("GRANT SELECT, INSERT ON fleetgauge.own_facts TO fleetgauge_writer")
    world.migrate(one)
    insert = "INSERT INTO fleetgauge.own_facts VALUES (%s, now(), 'a', 'x', 'open', 1, 1, 1)"
    with psycopg.connect(world.settings.metrics.url.get_secret_value()) as writer:
        writer.execute(insert, [HOUR_AGO])
        writer.commit()
        writer.execute(insert, [HOUR_AGO])
        (began,) = writer.execute("SELECT now()").fetchone()
        report = world.run(one)
        assert report.error is None
        assert report.watermark == began
        assert world.stored(one, "minute")[HOUR_AGO, "a", "x"][0] == 1
        writer.commit()
    world.run(one)
    assert world.stored(one, "minute")[HOUR_AGO, "a", "x"][0] == 2


# --- migrations -----------------------------------------------------------------------------------------------------


def test_migrate_at_once_and_twice_and_dry(world: World) -> None:
    found = {d.metric: d for d in (definition("m1"), definition("m2"))}
    dry = migrate(world.settings, found, dry_run=True)
    assert len(dry.created) == 2 * len(definition().levels)
    outcomes: list[Any] = [None] * 3

    def work(i: int) -> None:
        try:
            outcomes[i] = migrate(world.settings, found)
        except BaseException as error:
            outcomes[i] = error

    threads = [threading.Thread(target=work, args=[i]) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(o.created) for o in outcomes) == [0, 0, 2 * len(definition().levels)]
    assert not any(o.waiting for o in outcomes)


def test_all_definitions_of_the_project_migrate(world: World) -> None:
    definitions = load_definitions(CONTENT, KEY.id)
    migrate(world.settings, definitions)
    assert migrate(world.settings, definitions).created == ()
    for one in definitions.values():
        assert world.stored(one, "day") == {}
    assert {s.metric for s in freshness(world.settings, definitions.values())} == set(definitions)


def test_a_changed_definition_is_shown_when_it_is_filled(world: World) -> None:
    old = definition("changing")
    new = definition("changing", source_sql="SELECT *, 1 FROM facts")
    wider = definition(
        "changing", source_sql="SELECT *, 2 FROM facts", measures={"n": {"agg": "count"}, "fresh": {"agg": "count"}}
    )
    view = "SELECT count(*) FROM metrics.changing_minute"
    world.migrate(old)
    world.forget(old)
    world.insert(HOUR_AGO)
    _ready(world)
    world.run(old)
    assert migrate(world.settings, {"changing": new}).waiting == ("changing",)
    assert world.metrics.execute(view).fetchone() == (1,)
    assert world.run(new).error is None
    assert migrate(world.settings, {"changing": new}).published == ()  # the run has done it
    assert world.metrics.execute(view).fetchone() == (1,)

    assert migrate(world.settings, {"changing": wider}).waiting == ("changing",)
    assert world.run(wider).error is None
    assert world.metrics.execute("SELECT fresh FROM metrics.changing_minute").fetchall() == [(1,)]


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

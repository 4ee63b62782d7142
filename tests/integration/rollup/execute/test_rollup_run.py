"""What a run refuses, blocks, defers and reports, on a real standby."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rollup_world import KEY, QUICK, World, definition
from run_world import HOUR_AGO, NOW, migrated_metric, ready

from fleetgauge.errors import Terminal
from fleetgauge.rollup import COMMANDS, Definition, RunReport, load_definitions, raise_failures, run_metrics
from fleetgauge.rollup.execute import metrics_run
from fleetgauge.rollup.execute.options import connect_metrics
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.store.migrate import migrate

CONTENT = Path(__file__).parents[4]


@pytest.fixture
def one(world: World) -> Definition:
    return migrated_metric(world)


def test_a_long_transaction_and_a_stale_heartbeat_hold_windows_open(world: World, one: Definition) -> None:
    with world.session() as session:
        fact = world.insert(HOUR_AGO, session)
        (began,) = session.execute("SELECT now()").fetchone()
        ready(world)
        report = world.run(one)
        assert report.watermark == began
        session.commit()
    world.catch_up()
    world.run(one)  # the same heartbeat as before: what is visible comes in, nothing more closes
    world.assert_right(one)
    assert world.run(one).watermark == began
    world.change(fact, state="done")
    ready(world)
    report = world.run(one)
    assert report.watermark is not None
    assert report.watermark > began
    world.assert_right(one)


def test_source_and_metrics_are_connected_to_at_once(world: World, one: Definition) -> None:
    """A handshake takes as long as many questions, and a run that waits for another worker has it behind itself."""
    world.insert(HOUR_AGO)
    ready(world)
    lock = "(hashtextextended('fleetgauge rollup ' || %s, 0))"
    reports: list[RunReport] = []
    with psycopg.connect(world.postgres.url("metrics", "postgres", world.name), autocommit=True) as worker:
        worker.execute(f"SELECT pg_advisory_lock{lock}", [one.metric])
        run = threading.Thread(target=lambda: reports.append(world.run(one)))
        run.start()
        try:
            wait_for(lambda: _sessions(world.metrics, world, "wait_event = 'advisory'") == 1)
            wait_for(lambda: _sessions(world.replica, world, "application_name = 'fleetgauge-rollup'") == 1)
            assert not reports
        finally:
            worker.execute(f"SELECT pg_advisory_unlock{lock}", [one.metric])
            run.join(60)
    assert reports[0].error is None
    world.assert_right(one)
    wait_for(lambda: _sessions(world.replica, world, "application_name = 'fleetgauge-rollup'") == 0)


def _sessions(connection: psycopg.Connection[Any], world: World, condition: str) -> int:
    asked = f"SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND {condition}"
    return int(connection.execute(asked, [world.name]).fetchone()[0])


def wait_for(condition: Callable[[], bool], limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_metrics_are_written_through_one_connection_whatever_their_columns(
    world: World, one: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary tables of the one must not be the other's; a connection that is cut is opened again."""
    other = definition("plain", measures={"n": {"agg": "count"}, "amounts": {"agg": "sum", "of": "amount"}})
    world.migrate(one, other)
    world.forget(one)
    opened: list[psycopg.Connection[Any]] = []

    def connect(*arguments: Any) -> psycopg.Connection[Any]:
        opened.append(connect_metrics(*arguments))
        return opened[-1]

    monkeypatch.setattr(metrics_run, "connect_metrics", connect)
    fact = world.insert(HOUR_AGO)
    ready(world)
    raise_failures(run_metrics(world.settings, [one, other], "minute", options=QUICK))
    world.change(fact, amount=7)
    ready(world)
    reports = run_metrics(world.settings, [one, other, one], "minute", options=QUICK)
    raise_failures(reports)
    assert [report.cells for report in reports[:2]] == [1, 1]
    world.assert_right(one)
    assert [row[1] for row in world.stored(other, "minute").values()] == [7]
    assert len(opened) == 2 and all(connection.closed for connection in opened)
    told = world.metrics.execute("SELECT metric, outcome FROM fleetgauge.run ORDER BY id DESC LIMIT 5").fetchall()
    assert told == [(d.metric, "ok") for d in (one, other, one, other, one)]
    assert not world.metrics.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchall()


def test_windows_close_by_the_given_watermark_where_it_is_earlier(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    ready(world)
    report = world.run(one, watermark=HOUR_AGO + timedelta(minutes=5))
    assert report.closed_until["minute"] == HOUR_AGO + timedelta(minutes=5)
    world.assert_right(one)
    provisional = dict(world.metrics.execute("SELECT window_start, provisional FROM metrics.fact_minute").fetchall())
    assert provisional == {HOUR_AGO: False}
    assert world.run(one).closed_until["minute"] > HOUR_AGO + timedelta(minutes=5)


def test_an_open_row_keeps_its_window_provisional(world: World) -> None:
    one = definition("opened", provisional_while="open")
    world.migrate(one)
    world.forget(one)
    fact = world.insert(HOUR_AGO)
    ready(world)
    world.run(one)
    view = "SELECT bool_or(provisional) FROM metrics.opened_minute"
    assert world.metrics.execute(view).fetchone() == (True,)
    world.change(fact, state="done")
    ready(world)
    report = world.run(one)
    assert (report.cells, report.restated) == (1, 1)
    assert world.metrics.execute(view).fetchone() == (False,)


def test_late_early_and_future_facts_come_in(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    ready(world)
    world.run(one)
    world.insert(HOUR_AGO - timedelta(days=900))
    world.insert(HOUR_AGO + timedelta(minutes=3), zone=None)
    world.insert(NOW + timedelta(days=3))
    ready(world)
    report = world.run(one)
    assert report.cells == 3 and report.windows <= 1  # a minute may have passed since
    world.assert_right(one)


def test_a_source_without_change_column_is_read_once_after_its_grace(world: World) -> None:
    one = definition("appended", change_time=None, grace="90s")
    world.migrate(one)
    world.forget(one)
    world.insert(HOUR_AGO)
    too_young = datetime.now(UTC).replace(second=0, microsecond=0)
    world.insert(too_young)
    ready(world)
    report = world.run(one)
    assert report.cells == 0
    assert [key[0] for key in world.stored(one, "minute")] == [HOUR_AGO]
    assert report.closed_until["minute"] <= too_young


def test_an_interval_is_recomputed_as_a_whole(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO)
    world.insert(HOUR_AGO - timedelta(hours=30))
    ready(world)
    world.run(one)
    for level in one.levels:
        world.metrics.execute(f"UPDATE store.{one.table(level)} SET n = 3")
    for grain in ("minute", "hour", "day"):
        assert world.run(one, grain, (HOUR_AGO - timedelta(days=2), NOW)).error is None
    world.assert_right(one)


def test_an_hour_run_heals_what_the_ledger_lacks(world: World, one: Definition) -> None:
    world.insert(HOUR_AGO - timedelta(hours=5))
    world.insert(HOUR_AGO)
    ready(world)
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


def test_values_beyond_the_limit_are_other_for_good(world: World) -> None:
    one = definition("limited", dimensions={"kind": {"column": "kind", "limit": 2}})
    world.migrate(one)
    world.forget(one)

    def kinds() -> dict[str, int]:
        return {key[1]: row[0] for key, row in world.stored(one, "minute").items()}

    facts = [world.insert(HOUR_AGO, kind=k) for k in ("a", "b")]
    ready(world)
    world.run(one)
    facts += [world.insert(HOUR_AGO, kind=k) for k in ("c", "d", "d", "(other)")]
    ready(world)
    world.run(one)
    assert kinds() == {"a": 1, "b": 1, "(other)": 4}
    world.change(facts[3], state="done", amount=7)
    world.change(facts[0], state="done")
    ready(world)
    world.run(one)
    assert kinds() == {"a": 1, "b": 1, "(other)": 4}
    rows = world.stored(one, "day")
    assert {k[1]: (r[2], r[3]) for k, r in rows.items()} == {"a": (1, 1), "b": (0, 0), "(other)": (1, 7)}


def test_a_broken_check_keeps_the_old_rows_and_blocks_only_its_window(world: World) -> None:
    one = definition("checked", checks={"fail": ["length <= 100"], "warn": ["n < 3"]})
    world.migrate(one)
    world.forget(one)
    bad, good = world.insert(HOUR_AGO), world.insert(HOUR_AGO + timedelta(minutes=2))
    ready(world)
    world.run(one)
    before = world.stored(one, "minute")[HOUR_AGO, "a", "x"]
    world.change(bad, length=1000)
    world.change(good, length=50)
    ready(world)
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
    ready(world)
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
    ready(world)
    report = world.run(one)
    assert len(report.blocked) == 1
    assert world.stored(one, "minute") == {}
    assert report.closed_until["minute"] == HOUR_AGO
    world.change(bad, length=1)
    ready(world)
    assert world.run(one).blocked == ()
    world.assert_right(one)


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
    ready(world)
    assert world.run(one).error is None
    assert {k[2]: r for k, r in world.stored(one, "minute").items()} == {evil: (1, 0), "y": (0, 1)}


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
    ready(world)
    world.run(old)
    assert migrate(world.settings, {"changing": new}).waiting == ("changing",)
    assert world.metrics.execute(view).fetchone() == (1,)
    assert world.run(new).error is None
    assert migrate(world.settings, {"changing": new}).published == ()  # the run has done it
    assert world.metrics.execute(view).fetchone() == (1,)

    assert migrate(world.settings, {"changing": wider}).waiting == ("changing",)
    assert world.run(wider).error is None
    assert world.metrics.execute("SELECT fresh FROM metrics.changing_minute").fetchall() == [(1,)]

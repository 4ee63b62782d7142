"""What can be found out about persons from what is stored, shown and written: no rider by an id, no key anywhere."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fault_table import fault
from pydantic import SecretStr
from rollup_world import KEY, SECRET, World, definition
from structlog.testing import capture_logs

from fleetgauge.errors import sure
from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.definitions.parts import Privacy
from fleetgauge.rollup.sketches import distinct
from fleetgauge.rollup.sketches.distinct_key import DistinctKey
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.settings import RollupSettings
from fleetlab.stack import PostgresState

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR_AGO = NOW.replace(minute=10) - timedelta(hours=1)
RIDERS = (777, 12345)
"""Whom an attacker looks for: the only riders of zone `lonely`."""
NUMBERED = range(1, 20_001)
"""All ids that an attacker hashes."""
HALVES = (SECRET.get_secret_value(), KEY.inner.hex(), KEY.outer.hex())


def riders(**changes: object) -> Definition:
    """Riders by zone; `length` of the facts is the rider's id."""
    return definition(
        "ride",
        measures={"n": {"agg": "count"}, "riders": {"agg": "distinct", "of": "length"}},
        dimensions={"zone": {"column": "zone", "limit": 16}},
        rollups={"total": []},
        **changes,
    )


def ride(world: World) -> None:
    """Two riders in zone `lonely`, one each in two minutes; many elsewhere."""
    for minute, rider in enumerate(RIDERS):
        world.insert(HOUR_AGO + timedelta(minutes=minute), zone="lonely", state="done", length=rider)
    world.app.execute(
        "INSERT INTO facts (happened_at, zone, kind, state, length) SELECT %s, 'crowded', 'x', 'done', n * 7 + 1"
        " FROM generate_series(1, 500) AS n",
        [HOUR_AGO],
    )
    world.beat()
    world.catch_up()


@pytest.fixture
def one(world: World) -> Definition:
    found = riders()
    world.migrate(found)
    world.forget(found)
    ride(world)
    return found


def stored_prints(world: World, table: str) -> set[int]:
    """Fingerprints of all small sketches of a table."""
    rows = world.metrics.execute(f"SELECT riders::text FROM store.{table} WHERE length(riders) <= 4096").fetchall()
    return {int(bits[i : i + 32], 2) for (bits,) in rows for i in range(0, len(bits), 32)}


@fault(
    "Somebody who reads the tables hashes all rider ids, to find out who rode where",
    number="right; fingerprints are keyed, so that hashing ids finds nobody",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_hashing_all_ids_finds_nobody_in_the_tables(world: World, one: Definition) -> None:
    world.run(one)
    prints = stored_prints(world, one.table(one.levels[0]))
    assert prints >= {distinct.fingerprint(rider, KEY) for rider in RIDERS}  # whoever has the key finds them
    assert prints.isdisjoint({distinct.fingerprint(rider) for rider in RIDERS})
    found = sum(distinct.fingerprint(number) in prints for number in NUMBERED)
    assert found <= 2, "more than fall together by chance"


@pytest.fixture
def viewer(world: World, one: Definition) -> Iterator[psycopg.Connection[Any]]:
    """Grafana's login, over what a run has filled; its grants must do, not a setting of its session."""
    world.run(one)
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("SET statement_timeout = 0")
        yield connection


DAY = "'ride', 'riders', now() - interval '2 days', now() + interval '1 day'"


@fault(
    "A reader of dashboards tries to get at the sketches, or at a number about fewer than k riders",
    number="right as a total; NULL and `suppressed` in cells of fewer than k riders",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_a_viewer_finds_no_rider_in_anything_that_can_be_read(
    world: World, one: Definition, viewer: psycopg.Connection[Any]
) -> None:
    """Hashes of all ids, with and without the key, against the text of everything that a viewer can select."""
    readable = viewer.execute(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"
    ).fetchall()
    names = {name for (name,) in readable}
    assert {"metrics.ride_day", "metrics.restatement", "pg_catalog.pg_stats"} <= names
    assert not [name for name in names if name.startswith("store.")]
    wanted = [form for number in RIDERS for form in _forms(number)]
    for name in sorted(names):
        try:
            with viewer.transaction():
                text = str(viewer.execute(f"SELECT string_agg(r::text, ' ') FROM {name} AS r").fetchone())
        except psycopg.Error as error:
            text = str(error)
        assert not [form for form in wanted if form in text], name
    everything = " ".join(str(row) for row in viewer.execute("SELECT * FROM metrics.ride_minute").fetchall())
    assert not [n for n in NUMBERED if format(distinct.fingerprint(n), "032b") in everything]


def test_sketches_are_out_of_a_viewers_reach(world: World, one: Definition, viewer: psycopg.Connection[Any]) -> None:
    table = one.table(one.levels[0])
    for forbidden in (
        f"SELECT riders FROM store.{table}",
        f"TABLE store.{table}",
        f"COPY store.{table} TO STDOUT",
        f"COPY (SELECT riders FROM store.{table}) TO STDOUT",
        "COPY (SELECT riders FROM store.ride_day) TO STDOUT",
        "COPY metrics.ride_day TO PROGRAM 'cat'",
        "SELECT riders FROM store.ride_day",
        f"EXPLAIN ANALYZE SELECT riders FROM store.{table}",
        f"CREATE TEMP VIEW mine AS SELECT * FROM store.{table}",
        "SET ROLE fleetgauge_writer",
        "SET SESSION AUTHORIZATION fleetgauge",
        "CREATE OR REPLACE VIEW metrics.ride_day AS SELECT 1",
        "ALTER FUNCTION fleetgauge.distinct_count SECURITY INVOKER",
        f"SELECT pg_relation_filepath('store.{table}'), pg_read_file('PG_VERSION')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            viewer.execute(forbidden)
    kinds = dict(
        viewer.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
            " WHERE attrelid = 'metrics.ride_day'::regclass"
        ).fetchall()
    )
    assert kinds["riders"] == "bigint"
    assert "bit varying" not in kinds.values()
    for query in (
        "SELECT fleetgauge.distinct_merge(riders) FROM metrics.ride_day",
        "SELECT riders::bit varying FROM metrics.ride_day",
        f"SELECT fleetgauge.distinct_merge(estimate) FROM fleetgauge.distinct_count({DAY})",
    ):
        with pytest.raises(psycopg.Error) as told:
            viewer.execute(query)
        assert not any(form in str(told.value) for number in RIDERS for form in _forms(number))
    assert viewer.execute("SELECT count(*) FROM pg_stats WHERE schemaname = 'store'").fetchone() == (0,)
    (seen,) = viewer.execute("SELECT count(*) FROM information_schema.columns WHERE table_schema = 'store'").fetchone()
    assert seen == 0


def test_the_counting_function_gives_numbers_alone_whatever_it_is_asked(
    world: World, one: Definition, viewer: psycopg.Connection[Any]
) -> None:
    """Names that are no dimension, SQL in names, functions of a viewer in the search path, plans and errors."""
    viewer.execute(
        "CREATE FUNCTION pg_temp.text(bit varying) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE NOTICE 'sketch %', $1; RETURN $1::text; END $$"
    )
    viewer.execute("CREATE TEMP TABLE ride_day AS SELECT 1 AS riders")
    viewer.execute("SET search_path = pg_temp, store, metrics, fleetgauge, public, pg_catalog")
    notices: list[str] = []
    viewer.add_notice_handler(lambda found: notices.append(str(found.message_primary)))
    for view, measure, filters, by in (
        ("ride", "n", "{}", "{}"),
        ("ride", "window_start", "{}", "{}"),
        ("ride", "riders", "{}", "{riders}"),
        ("ride", "riders", '{"riders": ["1"]}', "{}"),
        ("ride", "riders", "{}", "{version}"),
        ("ride", "riders::text::date", "{}", "{}"),
        ("ride", "riders", "{}", '{"zone, s.riders::text"}'),
        ("ride AS s; SELECT 1", "riders", "{}", "{}"),
        (one.table(one.levels[0]), "riders", "{}", "{}"),
        ("ride_total", "_of", "{}", "{}"),
        ("ride", None, "{}", "{}"),
        ([], None, None, None),
    ):
        with pytest.raises(psycopg.errors.UndefinedColumn) as error:
            viewer.execute(
                "SELECT * FROM fleetgauge.distinct_count(%s, %s, '-infinity', 'infinity', 'day', %s, %s)",
                [view, measure, filters, by],
            ).fetchall()
        assert not any(form in str(error.value) for number in RIDERS for form in _forms(number))
    plan = viewer.execute(f"EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM fleetgauge.distinct_count({DAY})").fetchall()
    rows = viewer.execute(f"SELECT * FROM fleetgauge.distinct_count({DAY}, by => '{{zone}}')").fetchall()
    assert [(parts, estimate, kept) for _, parts, estimate, kept, _ in rows] == [
        (["crowded"], pytest.approx(500, rel=0.08), False),
        (["lonely"], 2, False),  # no k is declared here
    ]
    assert not any(form in f"{plan}{rows}{notices}" for number in RIDERS for form in _forms(number))
    (whole,) = viewer.execute(f"SELECT estimate FROM fleetgauge.distinct_count({DAY}, whole => true)").fetchone()
    assert whole == pytest.approx(502, rel=0.08)


@pytest.fixture
def guarded(world: World) -> Iterator[tuple[Definition, psycopg.Connection[Any]]]:
    """With k = 10: `lonely` has two riders, `small` nine more, `crowded` five hundred; a reader beside."""
    found = replace(riders(), metric="kept", privacy=Privacy(of="riders", k=10))
    world.migrate(found)
    world.forget(found)
    ride(world)
    for rider in range(9):
        world.insert(HOUR_AGO, zone="small", state="done", length=90_000 + rider)
    world.insert(HOUR_AGO - timedelta(days=2), zone="lonely", state="done", length=RIDERS[0])
    for rider in range(20):
        world.insert(HOUR_AGO - timedelta(days=2), zone="medium", state="done", length=80_000 + rider)
        world.insert(HOUR_AGO - timedelta(days=2), zone="vast", state="done", length=rider)
        world.insert(HOUR_AGO - timedelta(days=2), zone="vast", state="done", length=1000 + rider)
    world.beat()
    world.catch_up()
    world.run(found)
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name), autocommit=True) as connection:
        yield found, connection


@fault(
    "A cell has fewer than k riders",
    number="NULL and `suppressed`, with enough others that the total does not tell it; totals are right",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_numbers_about_few_riders_are_kept_back_and_totals_stay(
    world: World, guarded: tuple[Definition, psycopg.Connection[Any]]
) -> None:
    _, viewer = guarded
    rows = viewer.execute("SELECT zone, n, riders, suppressed FROM metrics.kept_day ORDER BY window_start, zone")
    assert rows.fetchall() == [
        ("lonely", 1, None, True),
        ("medium", 20, None, True),  # alone, `lonely` would be the total less the others
        ("vast", 40, 40, False),
        ("crowded", 500, pytest.approx(500, rel=0.08), False),
        ("lonely", 2, None, True),
        ("small", 9, None, True),
    ]
    totals = viewer.execute("SELECT n, riders, suppressed FROM metrics.kept_total_day ORDER BY window_start").fetchall()
    assert totals == [(61, 61, False), (511, pytest.approx(511, rel=0.08), False)]
    stored = world.metrics.execute(
        'SELECT zone, fleetgauge."distinct"(riders::fleetgauge.distinct_bits) FROM store.kept_day'
        " ORDER BY window_start, zone"
    ).fetchall()
    assert stored[0] == ("lonely", 1)  # operators' tools read this view
    assert {row[0] for row in rows.description or ()} == {"zone", "n", "riders", "suppressed"}


def test_readers_see_that_a_number_about_persons_changed_and_not_from_what_to_what(
    world: World, guarded: tuple[Definition, psycopg.Connection[Any]]
) -> None:
    one, viewer = guarded
    world.insert(HOUR_AGO - timedelta(days=2), zone="lonely", state="done", length=RIDERS[1])
    world.beat()
    world.catch_up()
    world.run(one)
    query = "SELECT before, after FROM {} WHERE metric = 'kept' AND level = 'day' AND measure = %s"
    zone = ' AND dimensions = \'{{"zone": "lonely"}}\''
    seen = {m: viewer.execute((query + zone).format("metrics.restatement"), [m]).fetchall() for m in ("n", "riders")}
    assert seen == {"n": [("1", "2")], "riders": [(None, None)]}
    written = world.metrics.execute((query + zone).format("fleetgauge.restatement"), ["riders"]).fetchall()
    assert written == [("1", "2")]


def test_no_question_to_the_counting_function_takes_a_cell_out_of_a_total(
    guarded: tuple[Definition, psycopg.Connection[Any]],
) -> None:
    _, viewer = guarded

    def ask(filters: str = "{}", by: str = "{}", *, days: int = 1, whole: bool = False) -> list[Any]:
        rows = viewer.execute(
            "SELECT parts, estimate, suppressed"
            " FROM fleetgauge.distinct_count('kept', 'riders', %s, %s, 'day', %s, %s, %s)",
            [HOUR_AGO - timedelta(days=days), HOUR_AGO + timedelta(days=1), filters, by, whole],
        ).fetchall()
        return [
            (parts, estimate) for parts, estimate, kept in rows if kept == (estimate is None) or pytest.fail(str(rows))
        ]

    crowded, all_of_it = pytest.approx(500, rel=0.08), pytest.approx(511, rel=0.08)
    assert ask() == [([], all_of_it)]
    assert ask('{"zone": ["lonely"]}') == [([], None)]
    assert ask('{"zone": ["lonely", "small"]}') == [([], 11)]  # eleven riders of two cells
    assert ask('{"zone": ["crowded"]}') == [([], crowded)]
    assert ask('{"zone": ["crowded", "lonely"]}') == [([], None)]
    assert ask('{"zone": ["crowded", "lonely"]}', whole=True) == [([], None)]
    assert ask('{"zone": ["*"]}') == [([], all_of_it)]
    assert ask(by="{zone}") == [(["crowded"], crowded), (["lonely"], None), (["small"], None)]
    both = ask(by="{zone}", days=4, whole=True)
    assert both == [(["crowded"], crowded), (["lonely"], None), (["medium"], None), (["small"], None), (["vast"], 40)]
    assert ask(days=4, whole=True) == [([], pytest.approx(571, rel=0.08))]


def _forms(number: int) -> list[str]:
    """How a rider's fingerprint may be written: bits, hexadecimal digits, a number; by the key, and without one."""
    found = (distinct.fingerprint(number), distinct.fingerprint(number, KEY))
    return [text for one in found for text in (format(one, "032b"), format(one, "08x"), str(one))]


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

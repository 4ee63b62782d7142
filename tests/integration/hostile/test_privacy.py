"""What can be found out about persons from what is stored, shown and written: no rider by an id, no key anywhere."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from fault_table import fault
from privacy_world import HOUR_AGO, RIDERS, ride, riders, rides, stored_prints
from rollup_world import KEY, World

from fleetgauge.rollup import Definition
from fleetgauge.rollup.definitions.parts import Privacy
from fleetgauge.rollup.sketches import distinct

NUMBERED = range(1, 20_001)
"""All ids that an attacker hashes."""


@pytest.fixture
def one(world: World) -> Definition:
    return rides(world)


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

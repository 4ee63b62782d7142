"""Nothing that a definition or a row holds becomes SQL: not names, predicates, checks, descriptions, dimension values.

What is written by the team and *is* SQL, source.sql and views.sql, is read by the login of its database: the last tests
show that its grants, and a read-only session, are the wall, whatever lint lets through.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError
from rollup_world import World, definition

from fleetgauge.errors import FleetgaugeError
from fleetgauge.rollup import Definition
from fleetgauge.rollup.labels import label_of
from fleetgauge.rollup.operating.metric_reference import pages

HOSTILE = [
    "'; DROP TABLE victim; --",
    '"; DROP TABLE victim; --',
    "' OR '1'='1",
    "\\'; DROP TABLE victim; --",
    "/* */ */ -- $$ $1 ${zone}",
    "%s %(zone)s %% 100% {} {0}",
    "line\nbreak\ttab\r\n",
    "E'\\x27' U&'\\0027'",
    "한국 🛴 ‮abc ￿ ʼ ＇",
    "a" * 3000,
    "",
    " other ",
    "NULL",
]
"""What people and attackers write. Postgres has no place for a NUL, so no row can hold one."""
AT = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)


@pytest.fixture(scope="module", autouse=True)
def victim(world: World) -> Iterator[None]:
    """A table in each database that statements smuggled in would drop."""
    for connection in (world.app, world.metrics):
        connection.execute("CREATE TABLE victim (id integer)")
        connection.execute("GRANT ALL ON victim TO PUBLIC")
    world.beat()
    world.catch_up()
    yield
    for connection in (world.app, world.metrics):
        assert connection.execute("SELECT to_regclass('victim')").fetchone() == ("victim",)


def shape(metric: str, **changes: Any) -> Definition:
    plain: dict[str, Any] = {
        "dimensions": {"zone": {"column": "zone", "limit": 100}},
        "measures": {"n": {"agg": "count"}},
        "rollups": {"total": []},
    }
    return definition(metric, **{**plain, **changes})


def test_values_of_dimensions_stay_values(world: World) -> None:
    one = shape(
        "hostile_values", measures={"n": {"agg": "count"}, "last": {"agg": "last", "of": "zone", "type": "text"}}
    )
    world.app.execute("TRUNCATE facts")
    for value in HOSTILE:
        world.insert(AT, zone=value)
    world.migrate(one)
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    wanted = {(AT, label_of(value)): 1 for value in HOSTILE}
    assert {key: row[0] for key, row in world.stored(one, "minute").items()} == wanted
    assert {row[1] for row in world.stored(one, "minute").values()} == set(HOSTILE)
    for value in HOSTILE:  # now as touched cells, which name their values
        world.app.execute("UPDATE facts SET amount = 2, changed_at = now() WHERE zone = %s", [value])
        world.beat()
        world.catch_up()
        report = world.run(one)
        assert (report.error, report.cells) == (None, 1), value
    assert {key: row[0] for key, row in world.stored(one, "minute").items()} == wanted


@pytest.mark.parametrize("value", HOSTILE)
def test_values_of_predicates_stay_values(world: World, value: str) -> None:
    measures = {
        "same": {"agg": "count", "where": {"zone": value}},
        "listed": {"agg": "count", "where": {"zone": [value, "'"]}},
        "other": {"agg": "count", "where": {"zone": {"ne": value}}},
        "none": {"agg": "count", "where": {"zone": {"not_in": [value, "x"], "is_null": False}}},
    }
    one = shape("hostile_predicates", measures=measures, dimensions={}, rollups={})
    world.app.execute("TRUNCATE facts")
    for zone in (value, "fine"):
        world.insert(AT, zone=zone)
    world.migrate(one)
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    assert list(world.stored(one, "day").values()) == [(1, 1, 1, 1)]
    assert pages({"hostile_predicates": one}, {})


def test_descriptions_stay_text(world: World) -> None:
    text = " ".join(HOSTILE)
    one = shape(
        "hostile_texts",
        description=text,
        owner=text,
        dimensions={"zone": {"column": "zone", "limit": 9, "description": text}},
        measures={"n": {"agg": "count", "description": text}},
    )
    world.migrate(one)
    found = world.metrics.execute(
        "SELECT obj_description('metrics.hostile_texts_day'::regclass), col_description(attrelid, attnum)"
        " FROM pg_attribute WHERE attrelid = 'metrics.hostile_texts_day'::regclass AND attname IN ('zone', 'n')"
    ).fetchall()
    assert found == [(text, text)] * 2


@pytest.mark.parametrize("value", [*HOSTILE, "a b", "a-b", "A", "é", "a.b", "1a", "pg_catalog.x"])
def test_names_are_refused_unless_they_are_plain(value: str) -> None:
    if value == "a" * 3000:
        value = "a" * 49
    count = {"n": {"agg": "count"}}
    for changes in (
        {"metric": value},
        {"source": value},
        {"event_time": value},
        {"change_time": value},
        {"time_zone": value},
        {"grace": value},
        {"provisional_while": value},
        {"dimensions": {value: {"column": "zone", "limit": 1}}},
        {"dimensions": {"zone": {"column": value, "limit": 1}}},
        {"rollups": {value: []}},
        {"measures": {value: {"agg": "count"}}},
        {"measures": {"n": {"agg": "sum", "of": value}}},
        {"measures": {"n": {"agg": "count", "where": {value: 1}}}},
        {"measures": {**count, "r": {"agg": "ratio", "numerator": value, "denominator": "n"}}},
        {"interval": {"until": value, "longest": "1h"}},
        {"checks": {"fail": [f"n > {value}"]}},
        {"checks": {"warn": [value]}},
    ):
        with pytest.raises((ValidationError, FleetgaugeError)):
            definition(**{"metric": "plain", "rollups": {}, "measures": count, **changes})


@pytest.mark.parametrize(
    "source",
    [
        "SELECT id, happened_at, changed_at, zone, 1 AS x FROM facts, (SELECT set_config('role', 'postgres', false)) s",
        "SELECT happened_at, changed_at, zone FROM facts WHERE nextval('facts_id_seq') > 0",
        "SELECT happened_at, changed_at, pg_read_file('/etc/passwd') AS zone FROM facts",
        "SELECT happened_at, changed_at, lo_import('/etc/passwd')::text AS zone FROM facts",
        "SELECT happened_at, changed_at, rolpassword AS zone FROM facts, pg_authid",
        "WITH gone AS (DELETE FROM victim RETURNING 1) SELECT happened_at, changed_at, zone FROM facts, gone",
        "SELECT happened_at, changed_at, zone FROM facts) AS s; DROP TABLE victim; SELECT * FROM (SELECT * FROM facts",
    ],
)
def test_grants_are_the_wall_around_source_sql(world: World, source: str) -> None:
    """These definitions never met lint; the source refuses each, and the other side is not touched."""
    one = shape("hostile_source", source_sql=source)
    world.app.execute("TRUNCATE facts")
    world.insert(AT)
    world.migrate(one)
    world.beat()
    world.catch_up()
    report = world.run(one)
    assert report.error is not None
    assert report.rows == 0


def test_the_readers_session_is_read_only_on_a_standby(world: World) -> None:
    url = world.settings.source("operations").url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as reader:
        for statement in ("DELETE FROM facts", "CREATE TEMP TABLE t (a int)", "SELECT * FROM pg_authid"):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
                reader.execute(statement.encode())

"""Databases, logins and machines whose encoding is not UTF-8: a label is the same text, whoever reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from fault_table import fault
from pydantic import SecretStr
from rollup_world import BEAT, FACTS, HEARTBEAT, QUICK, World, definition

from fleetgauge.rollup import Definition, RunReport, run_metrics
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.settings import Settings, SourceSettings

HAN = "\ud55c\uac15"  # a river
CIRCLED = "\u2460\u756a"  # of which vendors' tables have more than Python's
WAVE = "\uff5e"
FACT = "INSERT INTO facts (happened_at, zone, kind, state) VALUES (now() - interval '1 hour', {}, 'x', 'open')"


@pytest.mark.parametrize(("encoding", "zone"), [("EUC_JP", CIRCLED), ("EUC_JP", WAVE), ("EUC_KR", HAN)])
def test_a_label_is_the_same_in_every_encoding(world: World, encoding: str, zone: str) -> None:
    one = metric(f"in_{uuid4().hex[:8]}")
    with source(world, encoding) as (settings, app):
        app.execute(FACT.format("%s"), [zone])
        assert run(world, app, settings, one).error is None
        assert labels(world, one) == {zone: 1}
        app.execute(FACT.format("%s"), [zone])  # a late one, of a cell that is there
        assert run(world, app, settings, one).error is None
        assert labels(world, one) == {zone: 2}


@fault(
    "A source's database has the encoding SQL_ASCII, and a text in it is no UTF-8",
    number="as before: the run ends before it writes",
    freshness="error: its last run failed, with the bytes and the two cures",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="70 of run",
)
def test_bytes_of_no_encoding_are_told(world: World) -> None:
    one = metric("bytes")
    with source(world, "SQL_ASCII") as (settings, app):
        app.execute(FACT.format("%s"), [HAN])
        assert run(world, app, settings, one).error is None
        app.execute(FACT.format(r"E'\xc7\xd1'"))
        said = run(world, app, settings, one).error
        assert said is not None
        assert 'source operations: invalid byte sequence for encoding "UTF8": 0xc7 0xd1' in said
        assert "SQL_ASCII takes any bytes; correct the rows, or write encode(" in said
        assert labels(world, one) == {HAN: 1}
        (held, *_) = freshness(settings, [one])[0].conditions
        assert held.condition.name == "failing"
        assert "0xc7 0xd1" in held.said
        cured = metric(
            "bytes", "SELECT *, encode(convert_to(zone, 'SQL_ASCII'), 'escape') AS place FROM facts", "place"
        )
        assert run(world, app, settings, cured).error is None
        assert sum(labels(world, cured).values()) == 2


@pytest.mark.parametrize("side", ["primary", "metrics"])
def test_no_default_of_a_login_changes_a_label(world: World, monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    one = metric(f"login_{side}")
    admin = world.app if side == "primary" else world.metrics
    admin.execute(f"ALTER DATABASE {world.name} SET client_encoding = 'EUC_KR'")
    try:
        world.app.execute(FACT.format("%s"), [HAN + "\U0001f6f4"])
        world.migrate(one)
        world.beat()
        world.catch_up()
        assert world.run(one).error is None
        assert HAN + "\U0001f6f4" in labels(world, one)
    finally:
        admin.execute(f"ALTER DATABASE {world.name} RESET client_encoding")


def metric(name: str, source_sql: str = "SELECT * FROM facts", zone: str = "zone") -> Definition:
    return definition(
        name,
        source_sql=source_sql,
        dimensions={"zone": {"column": zone, "limit": 16}},
        measures={"n": {"agg": "count"}},
    )


@contextmanager
def source(world: World, encoding: str) -> Iterator[tuple[Settings, psycopg.Connection]]:
    """A database of production in that encoding, with facts and heartbeat."""
    name = f"encoded_{uuid4().hex[:8]}"
    with psycopg.connect(world.postgres.url("primary", "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'"
        )
        try:
            url = world.postgres.url("primary", "postgres", name)
            with psycopg.connect(url, autocommit=True, client_encoding="UTF8") as app:
                app.execute(FACTS + HEARTBEAT)
                app.execute("GRANT SELECT ON facts, fleetgauge_heartbeat TO fleetgauge_reader")
                replica = SourceSettings(url=SecretStr(world.postgres.url("replica", "fleetgauge_reader", name)))
                yield world.settings.model_copy(update={"sources": {"operations": replica}}), app
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(world: World, app: psycopg.Connection, settings: Settings, one: Definition) -> RunReport:
    world.migrate(one)
    app.execute(BEAT)
    world.catch_up()
    return run_metrics(settings, [one], "minute", options=QUICK)[0]


def labels(world: World, one: Definition) -> dict[str, int]:
    with psycopg.connect(world.postgres.url("metrics", "postgres", world.name), client_encoding="UTF8") as reader:
        return dict(reader.execute(f"SELECT zone, sum(n)::int FROM metrics.{one.metric}_day GROUP BY 1").fetchall())

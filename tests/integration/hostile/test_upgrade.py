"""A metrics database as an older release left it, with views that show sketches, is brought up to date.

`metrics_0026.sql.gz` is what pg_dump wrote of one that the release of migration 0026 had migrated and filled:
metric `ride`, with 2 riders in zone `lonely` and 20 in zone `crowded`, at 2026-11-20 03:10 UTC.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fault_table import fault
from psycopg import sql
from pydantic import SecretStr
from rollup_world import SECRET, World, definition

from fleetgauge.postgres.schema_revision import newest
from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.definitions.definition import Privacy
from fleetgauge.rollup.store.migrate import Migration, migrate
from fleetgauge.settings import MetricsSettings, RollupSettings, Settings
from fleetlab.stack import PostgresState

AT = datetime(2026, 11, 20, 3, 10, tzinfo=UTC)
DUMP = Path(__file__).parent / "metrics_0026.sql.gz"
SKETCHES = """
SELECT n.nspname || '.' || c.relname || '.' || a.attname FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE 'varbit'::regtype IN (t.oid, t.typbasetype) AND a.attnum > 0 AND NOT a.attisdropped
    AND has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT') ORDER BY 1
"""
"""Columns with sketches of sets that the login may read."""
RIDERS = "SELECT zone, riders FROM metrics.ride_day ORDER BY zone"
VIEWERS = ("grafana", "analyst")


@dataclass(frozen=True)
class Older:
    """The older database, restored under a name of its own."""

    postgres: PostgresState
    name: str
    settings: Settings

    @property
    def metric(self) -> Definition:
        """As it was defined then."""
        return definition(
            "ride",
            measures={"n": {"agg": "count"}, "riders": {"agg": "distinct", "of": "length"}},
            dimensions={"zone": {"column": "zone", "limit": 16}},
            rollups={"total": []},
        )

    def migrate(self, one: Definition) -> Migration:
        """By today's release."""
        return migrate(self.settings, {one.metric: one})

    def ask(self, query: str, login: str = "grafana") -> list[tuple[Any, ...]]:
        """As a viewer."""
        with psycopg.connect(self.postgres.url("metrics", login, self.name), autocommit=True) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]


@pytest.fixture
def older(postgres: PostgresState, metrics_template: str) -> Iterator[Older]:
    """`metrics_template`: its migration has made the roles that the dump grants to."""
    name = f"older_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER fleetgauge_owner").format(sql.Identifier(name)))
        with psycopg.connect(postgres.url("metrics", "postgres", name)) as connection:
            connection.execute(gzip.decompress(DUMP.read_bytes()).decode())  # type: ignore[arg-type]
        url, owner_url = (SecretStr(postgres.url("metrics", who, name)) for who in ("fleetgauge", "fleetgauge_owner"))
        metrics = MetricsSettings(url=url, owner_url=owner_url)
        yield Older(postgres, name, Settings(metrics=metrics, rollup=RollupSettings(distinct_key=SECRET)))
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@fault(
    "A metrics database is of a release whose views showed viewers the sketches of persons",
    number="the same, as numbers; no viewer reads a sketch from the migration on, before any run",
    freshness="`waiting` until a run has filled the new version",
    doctor="fail before it: the migration that is missing",
    exporter="ok",
    exit_code="0 of migrate",
)
def test_no_viewer_reads_a_sketch_after_the_upgrade(older: Older) -> None:
    for login in VIEWERS:
        shown = {name for (name,) in older.ask(SKETCHES, login)}
        assert {f"metrics.ride_{grain}.riders" for grain in ("minute", "hour", "day")} <= shown  # so it was
    assert len(str(older.ask(RIDERS)[0][1])) >= 20 * 32
    done = older.migrate(older.metric)
    assert done.revisions[0] == "0027" and done.revisions[-1] == newest() and not done.refused
    for login in VIEWERS:
        assert older.ask(SKETCHES, login) == []
        assert older.ask(RIDERS, login) == [("crowded", 20), ("lonely", 2)]
    counted = "SELECT parts, estimate FROM fleetgauge.distinct_count('ride', 'riders', '2026-11-19', '2026-11-22'"
    assert older.ask(f"{counted}, whole => true)") == [([], 22)]
    assert older.ask(f"{counted}, by => '{{zone}}', whole => true)") == [(["crowded"], 20), (["lonely"], 2)]


def test_few_riders_are_kept_back_of_what_an_older_release_has_computed(older: Older) -> None:
    done = older.migrate(replace(older.metric, privacy=Privacy(of="riders", k=10)))
    assert not done.refused
    # `crowded` goes with `lonely`, or the total less it would tell how many these are.
    assert older.ask("SELECT zone, n, riders, suppressed FROM metrics.ride_day ORDER BY zone") == [
        ("crowded", 20, None, True),
        ("lonely", 2, None, True),
    ]
    assert older.ask("SELECT n, riders, suppressed FROM metrics.ride_total_day") == [(22, 22, False)]
    assert older.ask(SKETCHES) == []


def test_a_view_that_cannot_be_made_anew_hides_its_sketches_all_the_same(older: Older) -> None:
    with psycopg.connect(older.postgres.url("metrics", "postgres", older.name), autocommit=True) as admin:
        admin.execute("CREATE SCHEMA mine AUTHORIZATION analyst")
        admin.execute("SET ROLE analyst")
        admin.execute("CREATE VIEW mine.riders AS SELECT window_start, zone, riders FROM metrics.ride_day")
    done = older.migrate(older.metric)
    assert "mine.riders" in done.refused["ride"]
    for login in VIEWERS:
        assert older.ask(SKETCHES.replace("ORDER BY", "AND n.nspname <> 'mine' ORDER BY"), login) == []
        for query in (RIDERS, "SELECT * FROM metrics.ride_day"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                older.ask(query, login)
        assert older.ask("SELECT zone, n FROM metrics.ride_day ORDER BY zone", login) == [
            ("crowded", 20),
            ("lonely", 2),
        ]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # it reads with the rights of its owner
        older.ask("SELECT * FROM mine.riders", "analyst")
    with psycopg.connect(older.postgres.url("metrics", "postgres", older.name), autocommit=True) as admin:
        admin.execute("DROP VIEW mine.riders")
    assert not older.migrate(older.metric).refused
    assert older.ask(RIDERS) == [("crowded", 20), ("lonely", 2)]


def test_the_first_run_turns_to_the_new_version_and_says_what_differs(older: Older, world: World) -> None:
    """Rules of versions have changed since: the same definition has another version, and the old tables their name."""
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    for rider in (777, 12345):
        world.insert(AT, zone="lonely", state="done", length=rider)
    for rider in range(21):  # one more than then
        world.insert(AT, zone="crowded", state="done", length=rider)
    world.beat()
    world.catch_up()
    older.migrate(older.metric)
    settings = older.settings.model_copy(update={"sources": world.settings.sources})
    (report,) = run_metrics(settings, [older.metric], "minute")
    assert (report.error, report.version) == (None, older.metric.version)
    assert older.ask("SELECT DISTINCT version FROM metrics.ride_day") == [(older.metric.version,)]
    assert older.ask(RIDERS) == [("crowded", 21), ("lonely", 2)]
    told = older.ask(
        "SELECT dimensions, before, after, reason FROM metrics.restatement WHERE level = 'day' AND measure = 'n'"
    )
    assert told == [({"zone": "crowded"}, "20", "21", "new version")]
    assert older.ask(SKETCHES) == []

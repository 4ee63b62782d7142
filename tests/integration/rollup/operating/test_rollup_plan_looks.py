"""A plan only looks: it changes nothing, waits for nobody, lets nobody wait, and stays small however much there is."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from cli_world import METRIC, Shell
from ingest_world import wait_until
from rollup_world import World

from fleetgauge.rollup.store import migrate

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
DERIVED = "CREATE OR REPLACE VIEW metrics.ride_double AS SELECT window_start, 2 * n AS twice FROM metrics.ride_hour;"
CATALOGUE = """
SELECT (SELECT count(*) || ' ' || max(xmin::text::bigint) FROM pg_class),
    (SELECT count(*) || ' ' || max(xmin::text::bigint) FROM pg_proc),
    (SELECT count(*) || ' ' || max(xmin::text::bigint) FROM pg_attribute),
    (SELECT string_agg(l.xmin || ' ' || l::text, ';' ORDER BY l.version, l.grain) FROM fleetgauge.ledger AS l),
    (SELECT string_agg(v.xmin || ' ' || v::text, ';' ORDER BY v.version) FROM fleetgauge.metric_version AS v)
"""
WAITING = """
SELECT a.pid FROM pg_stat_activity AS a, unnest(pg_blocking_pids(a.pid)) WHERE a.datname = current_database()
"""
NEWEST = "SELECT published_at IS NOT NULL FROM fleetgauge.metric_version ORDER BY created_at DESC LIMIT 1"
SMALL = """
import re, sys
from pathlib import Path
from fleetgauge.cli import main
sys.argv = ["fleetgauge", "plan", "ride", "--json"]
try:
    main()
finally:
    # not ru_maxrss, which begins with what the parent had
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def shell(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(world, tmp_path_factory.mktemp("content"))
    made.configure()
    world.insert(NOW - timedelta(hours=1))
    world.beat()
    world.catch_up()
    made.write()
    made("migrate")
    made("run", "ride")
    return made


def test_it_changes_nothing_while_readers_and_a_migration_are_at_work(shell: Shell, world: World) -> None:
    """Views, tables and functions would have to be made anew: a reader holds them, and so does a migration."""
    shell.write(METRIC.replace("  share:", "  longest: {agg: max, of: length}\n  share:"))
    (shell.folder / "sql" / "metrics" / "ride" / "views.sql").write_text(DERIVED)
    before = world.metrics.execute(CATALOGUE).fetchone()
    with psycopg.connect(world.postgres.url("metrics", "postgres", world.name)) as reader:
        reader.execute("SELECT pg_advisory_lock(439905248628)")  # that of a migration
        reader.execute("LOCK TABLE metrics.ride_hour, metrics.ride_day, fleetgauge.metric_version IN ACCESS SHARE MODE")
        environment = {**os.environ, "FLEETGAUGE_CONFIG": str(shell.config)}
        done = subprocess.run(
            [sys.executable, "-m", "fleetgauge", "plan", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "ride_minute__" in done.stdout
    assert world.metrics.execute(CATALOGUE).fetchone() == before
    (shell.folder / "sql" / "metrics" / "ride" / "views.sql").unlink()


@pytest.mark.parametrize(
    "first", [datetime(202, 1, 1, tzinfo=UTC), NOW - timedelta(minutes=7_000_000)], ids=["year 202", "7 million"]
)
def test_it_stays_small(shell: Shell, world: World, first: datetime) -> None:
    """A row of the year 202 is no time of a fleet; seven million minutes are counted, not listed."""
    shell.write(METRIC.replace("grace: 0s", "grace: 1s"))  # another version: all of it is missing
    world.app.execute("TRUNCATE facts")
    world.insert(first)
    world.insert(NOW - timedelta(hours=1))
    world.beat()
    world.catch_up()
    done = subprocess.run(
        [sys.executable, "-c", SMALL],
        env={**os.environ, "FLEETGAUGE_CONFIG": str(shell.config)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    megabytes = int(done.stderr.splitlines()[-1])
    assert megabytes < 200, f"{megabytes} MB"
    assert len(done.stdout) < 100_000
    minutes = 7_000_000 if first.year > 2000 else 60
    (plan,) = json.loads(done.stdout)["metrics"]
    assert abs(plan["minutes"] - minutes) < 3000, "whole days at most beside it"


def test_a_dry_migration_waits_for_nobody_for_long(shell: Shell, world: World) -> None:
    before = world.metrics.execute(CATALOGUE).fetchone()
    with psycopg.connect(world.postgres.url("metrics", "postgres", world.name)) as reader:
        reader.execute("LOCK TABLE metrics.ride_hour IN ACCESS SHARE MODE")
        said = shell("migrate", "--dry-run", code=75).err
        assert "waits at most 5s for a lock" in said and "fleetgauge plan" in said
    assert "nothing" in shell("migrate", "--dry-run").out
    assert world.metrics.execute(CATALOGUE).fetchone() == before


def test_a_migration_makes_nobody_wait_for_long_and_goes_on_when_it_can(
    shell: Shell, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for an open transaction in short tries, between which those go on that have waited behind it."""
    monkeypatch.setattr(migrate, "LOCK_WAITS", "1s")
    monkeypatch.setattr(migrate, "PAUSE_S", 1.0)
    admin = world.postgres.url("metrics", "postgres", world.name)
    with psycopg.connect(admin) as analyst, psycopg.connect(admin, autocommit=True) as other:
        analyst.execute("LOCK TABLE metrics.ride_hour IN ACCESS SHARE MODE")
        monkeypatch.setattr(migrate, "TRIES", 1)
        assert "waits at most 1s for a lock" in shell("migrate", code=75).err

        def read_and_end() -> None:
            wait_until(lambda: other.execute(WAITING).fetchone(), "the migration waits", 20)
            other.execute("SET statement_timeout = '10s'")
            other.execute("SELECT count(*) FROM metrics.ride_hour")
            analyst.rollback()

        monkeypatch.setattr(migrate, "TRIES", 20)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_and_end)
            shell("migrate")
            reading.result()


def test_a_run_that_shows_a_new_version_makes_nobody_wait_for_long(shell: Shell, world: World) -> None:
    """It leaves the views as they are while somebody holds them, says so, and the next one shows it."""
    shell.write(METRIC.replace("  share:", "  shortest: {agg: min, of: length}\n  share:"))
    shell("migrate")
    with psycopg.connect(world.postgres.url("metrics", "postgres", world.name)) as analyst:
        analyst.execute("LOCK TABLE metrics.ride_hour IN ACCESS SHARE MODE")
        assert "is filled, but not shown: an open transaction" in shell("run", "ride").err
        assert world.metrics.execute(NEWEST).fetchone() == (False,)
        told = [one for one in shell("freshness", "--json", code=None).json if one["metric"] == "ride"]
        assert {(one["verdict"], *(held["condition"] for held in one["conditions"])) for one in told} == {
            ("warn", "waiting")
        }
        assert all("the next run makes them anew" in one["conditions"][0]["said"] for one in told)
    shell("run", "ride")
    assert not any(one["conditions"] for one in shell("freshness", "--json", code=None).json)
    assert world.metrics.execute(NEWEST).fetchone() == (True,)

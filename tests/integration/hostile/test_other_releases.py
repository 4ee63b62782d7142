"""Workers of one release, a metrics database of another: they write nothing, and say which of the two to change."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cli_world import Shell
from fault_table import fault
from rollup_world import World

from fleetgauge.command_attempts import drop_command_months, materialise_commands, rebuild_commands
from fleetgauge.commands.month_partitions import LOCK
from fleetgauge.commands.store import CommandSource, open_store
from fleetgauge.errors import Terminal
from fleetgauge.postgres.schema_revision import newest
from fleetgauge.settings import load

ROOT = Path(__file__).parents[3]
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
GRAINS = ("minute", "hour", "day")
WRITERS = (
    ("run", "ride"),
    ("reconcile", "ride", "--days", "1"),
    ("backfill", "ride", "--from", f"{SAME:%Y-%m-%dT%H:%MZ}", "--to", f"{NOW:%Y-%m-%dT%H:%MZ}", "--reason", "x"),
    ("dimensions", "expire", "ride", "zone", "a"),
)


@contextmanager
def at_revision(world: World, revision: str) -> Iterator[None]:
    world.metrics.execute("UPDATE fleetgauge.alembic_version SET version_num = %s", [revision])
    try:
        yield
    finally:
        world.metrics.execute("UPDATE fleetgauge.alembic_version SET version_num = %s", [newest()])


@fault(
    "A worker is of an older or a newer release than the migrations of the metrics database",
    number="as before: that worker writes nothing",
    freshness="error: its last run failed, with both revisions and which of the two to change",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="78 of run, reconcile, backfill, migrate (of an older release)",
)
@pytest.mark.parametrize(
    ("revision", "cure"), [("9999", "update this one"), (f"{int(newest()) - 1:04}", "run fleetgauge migrate")]
)
def test_a_worker_of_another_release_writes_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str, cure: str
) -> None:
    shell = Shell(world, tmp_path)
    shell.configure()
    one = shell.write()
    shell("migrate")
    world.forget(one)
    world.insert(SAME)
    world.beat()
    world.catch_up()
    shell("run", "ride")
    world.insert(SAME)
    world.beat()
    world.catch_up()
    with at_revision(world, revision):
        for command in WRITERS:
            said = shell(*command, code=78).err
            assert f"migration {revision}" in said and newest() in said and cure in said, command
        if revision > newest():
            assert cure in shell("migrate", code=78).err
        assert cure in shell("freshness", "ride", code=75).out
        assert cure in shell("doctor", code=78).out
        monkeypatch.setenv("FLEETGAUGE_CONFIG", str(shell.config))
        for write in (materialise_commands, rebuild_commands, lambda found: rebuild_commands(found, from_empty=True)):
            with pytest.raises(Terminal, match=cure):
                write(load().model_copy(update={"content": ROOT}))
        with pytest.raises(Terminal, match=cure):
            drop_command_months(load().model_copy(update={"content": ROOT}))
        counts = [world.metrics.execute(f"SELECT sum(n) FROM metrics.ride_{grain}").fetchone()[0] for grain in GRAINS]
        assert counts == [1] * 3
    shell("run", "ride")
    counts = [world.metrics.execute(f"SELECT sum(n) FROM metrics.ride_{grain}").fetchone()[0] for grain in GRAINS]
    assert counts == [2] * 3


def test_a_release_that_comes_while_a_worker_waits_for_its_turn_is_seen(world: World) -> None:
    """The comparison belongs to the lock: what was compared before it may be of yesterday."""
    settings = world.settings.metrics

    def write() -> None:
        with open_store(settings, CommandSource("device-commands", "late", "device-commands")):
            raise AssertionError("an older release has begun to write")

    with psycopg.connect(world.postgres.url("metrics", "postgres", world.name), autocommit=True) as other:
        other.execute(LOCK.format("pg_advisory_lock"))
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            until = time.monotonic() + 30
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while world.metrics.execute(waiting).fetchone() == (0,):
                assert time.monotonic() < until
                time.sleep(0.01)
            with at_revision(world, "9999"):
                other.execute(LOCK.format("pg_advisory_unlock"))
                with pytest.raises(Terminal, match="update this one"):
                    writing.result(30)

"""What a real standby does to a run: conflicts, paused replay, a crash, a promotion. On servers of its own."""

import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from laboratory_folder import fast_folder
from rollup_world import KEY, QUICK, World, build, definition

from fleetgauge.errors import FleetgaugeError, Stop
from fleetgauge.rollup import Definition, RunReport
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.options import connect_metrics
from fleetgauge.rollup.sources.port import Facts
from fleetgauge.rollup.sources.postgres import PostgresSource
from fleetlab.stack import Silent, Stack

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A stack that this module may break."""
    home = Path(tempfile.mkdtemp(prefix="fleetlab-test-", dir=fast_folder()))
    home.chmod(0o755)
    stack = Stack(home)
    try:
        stack.up({"postgres"}, progress=Silent(), guard=True, wipe_on_guard=True)
        yield stack
    finally:
        stack.down(wipe=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def world(own: Stack) -> Iterator[World]:
    state = own.state()
    assert state is not None
    with build(state.need_postgres(), "standby") as found:
        yield found


@pytest.fixture
def one(world: World) -> Definition:
    found = definition()
    world.migrate(found)
    world.forget(found)
    _ready(world)
    return found


def _ready(world: World) -> None:
    world.beat()
    world.catch_up()


class Interrupted(PostgresSource):
    """Calls `act` with the number of the look and its facts, in its own transaction, before rows are asked for."""

    act: Callable[[int, Any], None]
    looks = 0

    @contextmanager
    def look(self, definition: Definition) -> Iterator[Facts]:
        """See `Source`."""
        with super().look(definition) as facts:
            self.looks += 1
            self.act(self.looks, facts)
            yield facts


def _run(world: World, one: Definition, act: Callable[[int, Any], None], interval: Any = None) -> RunReport:
    source = Interrupted("operations", world.settings.source("operations"), key=KEY)
    source.act = act
    single = Engine(one, source, lambda: connect_metrics(world.settings.metrics, QUICK), QUICK)
    try:
        return single.run("minute", interval)
    finally:
        source.close()


def _facts(world: World, count: int = 60) -> list[int]:
    return [world.insert(NOW - timedelta(minutes=7 * i), length=i) for i in range(count)]


# --- conflicts with recovery ----------------------------------------------------------------------------------------


def _vacuum(world: World) -> None:
    world.app.execute("UPDATE facts SET amount = amount + 1, changed_at = now()")
    world.app.execute("VACUUM facts")


def _truncate(world: World) -> None:
    world.app.execute("CREATE TABLE IF NOT EXISTS other AS SELECT * FROM facts")
    world.app.execute("BEGIN; LOCK facts IN ACCESS EXCLUSIVE MODE; TRUNCATE other; COMMIT")


def _alter(world: World) -> None:
    world.app.execute("ALTER TABLE facts ADD COLUMN IF NOT EXISTS remark text DEFAULT 'x'")
    world.app.execute("CREATE INDEX ON facts (zone)")


@pytest.mark.parametrize("what", [_vacuum, _truncate, _alter], ids=["vacuum", "truncate", "ddl"])
def test_what_the_primary_does_meanwhile_costs_a_piece_at_most(
    world: World, one: Definition, what: Callable[[World], None]
) -> None:
    """The look's transaction holds a snapshot and locks that replay must break: three pieces in a row."""
    _facts(world)
    _ready(world)
    world.run(one)
    _facts(world)
    _ready(world)
    met = 0

    def act(look: int, facts: Any) -> None:
        nonlocal met
        if 1 < look <= 4:
            facts.connection.execute("SELECT count(*) FROM facts")  # a lock that replay has to wait for
            what(world)
            met += 1
            _ready(world)  # a commit of its own: what VACUUM writes is not flushed by itself, so nobody would meet it

    with _replay_waits(world, "50ms"):
        report = _run(world, one, act, (NOW - timedelta(hours=8), NOW))
    assert met
    assert report.conflicts >= 1
    _ready(world)
    assert world.run(one).error is None
    world.assert_right(one)


@contextmanager
def _replay_waits(world: World, delay: str) -> Iterator[None]:
    """How long the replica lets a query stand in the way of replay."""
    world.replica.execute(f"ALTER SYSTEM SET max_standby_streaming_delay = '{delay}'")
    world.replica.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        world.replica.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        world.replica.execute("SELECT pg_reload_conf()")


# --- a replica that lags, or is away --------------------------------------------------------------------------------


def test_paused_replay_closes_nothing_and_loses_nothing(world: World, one: Definition) -> None:
    _facts(world)
    _ready(world)
    world.run(one)
    done = world.ledger(one, "minute")
    world.replica.execute("SELECT pg_wal_replay_pause()")
    try:
        _facts(world)
        world.beat()
        report = world.run(one)
        assert report.error is None
        assert world.ledger(one, "minute") == done
        # What was read stays what it was: the lag is told, no window is called final meanwhile.
        assert report.source_lag_s is not None
        assert report.watermark is not None
        assert report.watermark <= datetime.now(UTC) - timedelta(seconds=report.source_lag_s - 1)
    finally:
        world.replica.execute("SELECT pg_wal_replay_resume()")
    _ready(world)
    assert world.run(one).error is None
    world.assert_right(one)


def test_a_replica_killed_during_a_run_and_back_later(world: World, one: Definition, own: Stack) -> None:
    _facts(world)
    _ready(world)

    def act(look: int, facts: Any) -> None:
        if look == 2:
            world.replica.close()
            _kill_replica(own)

    try:
        _run(world, one, act)
    except FleetgaugeError as error:  # else the session has outlived its server for the one question it still had
        assert re.search(r"broke off|not standby", str(error))
    assert world.replica.closed
    report = world.run(one)
    assert report.severity == "transient"
    assert "source operations" in (report.error or "")
    _facts(world)
    own.up({"postgres"}, progress=Silent())
    _connect_again(world)
    _ready(world)
    assert world.run(one).error is None
    world.assert_right(one)


def _connect_again(world: World) -> None:
    """All servers were started anew."""
    world.app = psycopg.connect(world.postgres.url("primary", "postgres", world.name), autocommit=True)
    world.metrics = psycopg.connect(world.postgres.url("metrics", "postgres", world.name), autocommit=True)
    world.replica = psycopg.connect(world.postgres.replica_admin_url, autocommit=True)


def _kill_replica(own: Stack) -> None:
    pid = int((own.home / "data" / "postgres-replica" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)


# --- not a replica --------------------------------------------------------------------------------------------------


def test_a_replica_promoted_between_two_transactions_is_not_read_again(world: World, one: Definition) -> None:
    """Last: there is no way back from it."""
    _facts(world)
    _ready(world)
    assert world.run(one).error is None
    looks: list[int] = []

    def act(look: int, facts: Any) -> None:
        looks.append(look)
        if look == 1:
            promoted = threading.Thread(target=world.replica.execute, args=["SELECT pg_promote()"])
            promoted.start()
            promoted.join()

    before = {level.name: world.stored(one, level) for level in one.levels}
    with pytest.raises(Stop, match="promoted"):
        _run(world, one, act, (NOW - timedelta(hours=8), NOW))
    assert looks == [1]
    assert {level.name: world.stored(one, level) for level in one.levels} == before
    report = world.run(one)
    assert report.severity == "stop"
    assert "is not a standby" in (report.error or "")

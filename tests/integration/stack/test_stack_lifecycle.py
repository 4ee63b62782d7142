"""Starting and stopping, also the rough way: nothing is left over. Postgres stands for all, since it starts fast.

To create its clusters takes longer than all else, so tests that are not about that share a home where it has been done.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from fleetgauge.errors import Terminal
from fleetlab.stack import Stack, layout, ports
from fleetlab.stack.processes import Processes

FLEETLAB = Path(sys.executable).with_name("fleetlab")
PARENT = """
import sys
from pathlib import Path
from fleetlab.stack import Stack
Stack(Path(sys.argv[1])).up({"postgres"}, guard=True, wipe_on_guard=True)
print("up", flush=True)
sys.stdin.read()
"""


def wait_for(condition: Callable[[], object], limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.02)


def left_over(home: Path) -> list[list[str]]:
    """Command lines of what still runs for this home."""
    names = (str(home), str(layout.find(home).base))
    found = []
    for process in psutil.process_iter():
        try:
            command, folder = process.cmdline(), process.cwd()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(name in text for name in names for text in (*command, folder)):
            found.append(command)
    return found


@contextmanager
def temporary() -> Iterator[Path]:
    """A home to be; nothing of it may be left in the end."""
    # As pytest's own temporary folders: nobody else can enter, so root's servers cannot use it directly.
    above = Path(tempfile.mkdtemp(prefix="fleetlab-lifecycle-"))
    yield above / "lab"
    Stack(above / "lab").down(wipe=True)
    shutil.rmtree(above)
    assert left_over(above) == []
    assert not [p for p in Path("/var/tmp").glob("fleetlab-*") if (p / "home").read_text() == str(above / "lab")]


@pytest.fixture
def new_home() -> Iterator[Path]:
    """Not there yet."""
    with temporary() as folder:
        yield folder


@pytest.fixture(scope="module")
def created() -> Iterator[Path]:
    with temporary() as folder:
        Stack(folder).up({"postgres"})
        yield folder


@pytest.fixture
def home(created: Path) -> Iterator[Path]:
    """Of servers that were created, have run, and are down."""
    Stack(created).down()
    yield created
    Stack(created).down()
    assert left_over(created) == []


@pytest.mark.parametrize("kill", [False, True])
def test_one_service_can_be_stopped_and_started_again_with_its_data(home: Path, kill: bool) -> None:
    lab = Stack(home)
    first = lab.up({"postgres"})
    table = f"kept_{kill}"
    with psycopg.connect(first.need_postgres().primary_app_url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {table} AS SELECT 1 AS n")
    lab.stop("postgres", kill=kill)
    assert left_over(home) == []
    assert not lab.status()[0].running and "ended" in lab.status()[0].detail
    assert lab.up({"postgres"}) == first
    with psycopg.connect(first.need_postgres().primary_app_url) as connection:
        assert connection.execute(f"SELECT n FROM {table}").fetchone() == (1,)


def test_up_twice_down_and_up_again(home: Path) -> None:
    lab = Stack(home)
    first = lab.up({"postgres"})
    pids = {name: Processes(layout.find(home)).pid(name) for name in ("postgres-primary", "postgres-replica")}
    with psycopg.connect(first.need_postgres().primary_app_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    beside = Processes(layout.find(home))  # as the demo runs its consumers
    beside.spawn("consumer", ["sleep", "600"], log=home / "logs" / "consumer.log")
    assert Stack(home).up({"postgres"}) == first
    assert beside.pid("consumer")
    assert {name: Processes(layout.find(home)).pid(name) for name in pids} == pids
    assert lab.status()[0].running
    lab.down()
    lab.down()
    assert lab.state() is None
    assert left_over(home) == []
    again = lab.up({"postgres"})
    assert again.need_postgres() == first.need_postgres()  # ports and passwords as well
    with psycopg.connect(again.need_postgres().replica_reader_url) as replica:
        assert replica.execute("SELECT to_regclass('kept') IS NOT NULL").fetchone() == (True,)


def test_two_starts_at_once_make_one_stack(new_home: Path) -> None:
    command = [FLEETLAB, "up", "postgres", "--json", "--home", new_home]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], outputs
    assert json.loads(outputs[0][0]) == json.loads(outputs[1][0])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_cut_short_leaves_nothing(new_home: Path, how: signal.Signals) -> None:
    command = subprocess.Popen(
        [FLEETLAB, "up", "postgres", "--home", new_home], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: Processes(layout.find(new_home)).pid("postgres-primary"))
    command.send_signal(how)
    _, errors = command.communicate(timeout=60)
    assert "Traceback" not in errors
    assert command.returncode == {signal.SIGKILL: -9}.get(how, 130)
    wait_for(lambda: left_over(new_home) == [])
    state = Stack(new_home).up({"postgres"})
    with psycopg.connect(state.need_postgres().replica_reader_url) as replica:
        assert replica.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)


def test_a_guarded_stack_goes_with_its_parent_even_by_kill_9(new_home: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, new_home], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"up\n"
    assert Stack(new_home).status()[0].running
    parent.kill()
    parent.communicate()
    wait_for(lambda: left_over(new_home) == [])
    wait_for(lambda: not new_home.exists())


def test_a_crashed_server_is_seen_and_started_again(home: Path) -> None:
    lab = Stack(home)
    lab.up({"postgres"})
    processes = Processes(layout.find(home))
    crashed = processes.pid("postgres-replica")
    assert crashed is not None
    os.kill(crashed, signal.SIGKILL)
    wait_for(lambda: processes.pid("postgres-replica") is None)
    status = lab.status()[0]
    assert (status.running, status.detail) == (
        False,
        "postgres-replica ended; see `fleetlab logs postgres`",
    )
    state = lab.up({"postgres"})
    assert lab.status()[0].running
    with psycopg.connect(state.need_postgres().replica_reader_url) as replica:
        assert replica.execute("SELECT 1").fetchone() == (1,)


def test_a_failing_start_names_the_log_and_stops_what_it_started(home: Path) -> None:
    lab = Stack(home)
    settings = layout.find(home).data / "postgres-metrics" / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(f"{good}no_such_setting = 1\n")
    try:
        with pytest.raises(Terminal) as raised:
            lab.up({"postgres"})
    finally:
        settings.write_text(good)
    message = str(raised.value)
    assert f"postgres-metrics ended while starting; see {home / 'logs' / 'postgres-metrics.log'}" in message
    assert 'unrecognized configuration parameter "no_such_setting"' in message
    assert len(message.splitlines()) <= 16
    assert left_over(home) == []
    assert lab.state() is None


def test_asked_ports_are_used(home: Path) -> None:
    lab = Stack(home)
    (port,) = ports.choose(["metrics"], asked={}, before={}).values()
    state = lab.up({"postgres"}, asked_ports={"metrics": port})
    assert state.need_postgres().metrics.port == port
    assert lab.up({"postgres"}, asked_ports={"metrics": port}) == state
    with pytest.raises(Terminal, match=f"postgres is up and has port {port} for metrics; run `fleetlab down`"):
        lab.up({"postgres"}, asked_ports={"metrics": port + 1})

"""Processes are found and stopped in every case, with small programs in the servers' place."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fleetgauge.errors import Terminal
from fleetlab.stack.layout import Layout
from fleetlab.stack.processes import Cancelled, Processes, last_lines
from fleetlab.stack.users import ServerUser

SLEEP = ["sleep", "600"]
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]


def wait_for(condition: Callable[[], object], limit_s: float = 10) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.02)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    folders = Layout(tmp_path, tmp_path, ServerUser("the caller"))
    for folder in (folders.run, folders.data, folders.logs):
        folder.mkdir()
    return folders


@pytest.fixture
def processes(layout: Layout) -> Iterator[Processes]:
    table = Processes(layout)
    yield table
    table.stop(table.names(), grace_s=0.1)
    table.sweep()


def start(processes: Processes, layout: Layout, name: str, command: list[str]) -> int:
    pid = processes.spawn(name, command, log=layout.logs / f"{name}.log")
    assert processes.pid(name) == pid
    return pid


def test_another_process_finds_and_stops_it(processes: Processes, layout: Layout) -> None:
    pid = start(processes, layout, "server", SLEEP)
    stranger = Processes(layout)
    wait_for(lambda: stranger.pid("server"))
    assert stranger.names() == ["server"]
    assert stranger.pid("server") == pid
    stranger.stop(["server"])
    assert stranger.pid("server") is None
    assert stranger.names() == []
    wait_for(lambda: not psutil.pid_exists(pid))


def test_the_whole_family_goes_also_who_ignores_sigterm(processes: Processes, layout: Layout) -> None:
    start(processes, layout, "server", ["/bin/sh", "-c", "sleep 600 & setsid sleep 600 & exec " + " ".join(SLEEP)])
    stubborn = start(processes, layout, "stubborn", STUBBORN)
    wait_for(lambda: len(processes.family("server")) == 3)
    members = processes.family("server")
    processes.stop(["server", "stubborn"], grace_s=0.5)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)
    assert not psutil.pid_exists(stubborn)


def test_a_reused_pid_is_left_alone(processes: Processes, layout: Layout) -> None:
    bystander = subprocess.Popen(SLEEP)
    try:
        (layout.run / "pids").mkdir()
        stale = layout.run / "pids" / "server.pid"
        stale.write_text(f"{bystander.pid}\n")
        assert processes.pid("server") == bystander.pid  # written while it ran: it is the one
        long_ago = time.time() - 3600
        os.utime(stale, (long_ago, long_ago))
        assert processes.pid("server") is None
        processes.stop(["server"])
        assert bystander.poll() is None
        assert not stale.exists()
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("text", ["", "no number", "999999999"])
def test_a_damaged_pid_file_does_no_harm(processes: Processes, layout: Layout, text: str) -> None:
    (layout.run / "pids").mkdir()
    path = layout.run / "pids" / "server.pid"
    path.write_text(text)
    os.utime(path, (time.time() - 60,) * 2)
    assert processes.pid("server") is None
    processes.stop(["server"])
    assert processes.names() == []


def test_stop_waits_for_one_that_is_just_being_forked(processes: Processes, layout: Layout) -> None:
    (layout.run / "pids").mkdir()
    with (layout.run / "pids" / "server.pid").open("wb") as pid_file:
        late = subprocess.Popen(
            ["/bin/sh", "-c", "sleep 0.5; echo $$ >&0; exec sleep 600 </dev/null"],
            stdin=pid_file,
            start_new_session=True,
        )
    processes.stop(["server"])  # nobody has its pid yet
    wait_for(lambda: late.poll() is not None)


def test_sweep_finds_what_lost_its_pid_file_and_spares_the_kept(processes: Processes, layout: Layout) -> None:
    kept, lost = start(processes, layout, "kept", SLEEP), start(processes, layout, "lost", SLEEP)
    (layout.run / "pids" / "lost.pid").unlink()
    other = Layout(layout.home / "other", layout.home / "other", layout.user)
    Processes(other).sweep()
    assert psutil.Process(lost).status() != psutil.STATUS_ZOMBIE
    processes.sweep(keep=["kept"])
    wait_for(lambda: not psutil.pid_exists(lost))
    assert psutil.Process(kept).is_running()


def test_sweep_finds_who_overwrote_its_environment(processes: Processes, layout: Layout) -> None:
    title = "import setproctitle, time; setproctitle.setproctitle('x' * 4000); time.sleep(600)"
    folder = layout.data / "server"
    folder.mkdir()
    pid = processes.spawn("server", [sys.executable, "-c", title], log=layout.logs / "log", folder=folder)
    wait_for(lambda: psutil.Process(pid).environ() == {})
    (layout.run / "pids" / "server.pid").unlink()
    shell = subprocess.Popen(SLEEP, cwd=folder)  # a user's own program in that folder
    try:
        processes.sweep()
        wait_for(lambda: not psutil.pid_exists(pid))
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_failing_start_names_the_log_and_shows_its_last_lines(processes: Processes, layout: Layout) -> None:
    log = layout.logs / "server.log"
    command = ["/bin/sh", "-c", "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; exit 3"]
    with pytest.raises(Terminal) as raised:
        processes.run("server", command, log=log)
    message = str(raised.value)
    assert f"server ended with exit code 3; see {log}" in message
    assert message.splitlines()[1:] == [f"line {n}" for n in range(15, 30)]


def test_ready_or_ended_or_too_late(processes: Processes, layout: Layout) -> None:
    log = layout.logs / "log"
    processes.spawn("quick", ["true"], log=log)
    with pytest.raises(Terminal, match="quick ended while starting"):
        processes.wait_ready("quick", lambda: False, log=log, timeout_s=10)
    processes.spawn("slow", SLEEP, log=log)
    processes.wait_ready("slow", lambda: True, log=log, timeout_s=10)
    with pytest.raises(Terminal, match="slow was not ready within 0 s"):
        processes.wait_ready("slow", lambda: False, log=log, timeout_s=0)
    with pytest.raises(Terminal, match="slow did not end within 0 s"):
        processes.run("slow", SLEEP, log=log, timeout_s=0)


def test_nothing_starts_after_cancel(processes: Processes, layout: Layout) -> None:
    processes.cancel()
    with pytest.raises(Cancelled):
        processes.spawn("server", SLEEP, log=layout.logs / "log")
    assert processes.names() == []


def test_missing_program_is_a_failed_start(processes: Processes, layout: Layout) -> None:
    with pytest.raises(Terminal, match="exit code 127"):
        processes.run("server", ["/no/such/program"], log=layout.logs / "log")


def test_last_lines_are_plain_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n\x1b[31mtwo\x1b[0m\n\xff\n")
    assert last_lines(tmp_path / "log", 2) == "[31mtwo[0m\n\N{REPLACEMENT CHARACTER}"
    assert last_lines(tmp_path / "missing") == ""

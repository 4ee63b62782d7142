"""Whatever the demo waits for, it ends soon after a process that it needs; small programs stand in for servers."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from fleetgauge.errors import Terminal
from fleetlab.demo.steps import in_background
from fleetlab.demo.watch import Watch
from fleetlab.stack.layout import prepare
from fleetlab.stack.processes import Processes

LIMIT_S = 60


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    folders = prepare(tmp_path)
    table = Processes(folders)
    for name in ("kafka", "metrics"):
        (folders.logs / f"{name}.log").write_text(f"the last word of {name}\n")
        table.spawn(name, ["sleep", "600"], log=folders.logs / f"{name}.log")
    deadline = time.monotonic() + LIMIT_S
    while not all(Processes(folders).pid(name) for name in table.names()):  # a process writes its pid by itself
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield table
    table.stop(table.names(), grace_s=0.1)
    table.sweep()


def receive() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(LIMIT_S)
        one.recv(1)


WAITS: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(LIMIT_S),
    "socket": receive,
    "event": lambda: threading.Event().wait(LIMIT_S),
    "future": lambda: Future[None]().result(LIMIT_S),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_ends_when_a_process_has(processes: Processes, tmp_path: Path, wait: str) -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGUSR1)
    with Watch(tmp_path, told.append) as watch:
        watch.expect()
        processes.stop(["kafka"], grace_s=5)
        begun = time.monotonic()
        with pytest.raises(Terminal, match=r"(?s)kafka has ended while the demo needed it.*last word of kafka"):
            WAITS[wait]()
        assert time.monotonic() - begun < 10
    assert told == ["kafka has ended: the demo cannot go on"]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_what_was_never_there_is_missed_too(processes: Processes, tmp_path: Path) -> None:
    """A process that is named has ended also if it did so before anybody looked."""
    with Watch(tmp_path, lambda _: None) as watch, pytest.raises(Terminal, match="consumer-x has ended"):
        watch.expect(["consumer-x"])
        time.sleep(LIMIT_S)


def test_a_process_that_nobody_expects_may_end(processes: Processes, tmp_path: Path) -> None:
    late = tmp_path / "logs" / "late.log"
    told: list[str] = []
    with Watch(tmp_path, told.append) as watch:
        watch.expect()
        processes.spawn("late", ["true"], log=late)
        processes.stop(["late"])
        processes.stop(["metrics"], grace_s=5)
        with pytest.raises(Terminal, match="metrics has ended"):
            time.sleep(LIMIT_S)
    assert told == ["metrics has ended: the demo cannot go on"]


def test_nobody_waits_for_work_in_the_background() -> None:
    outcome = in_background("wait", lambda: threading.Event().wait(LIMIT_S))
    (thread,) = (one for one in threading.enumerate() if one.name == "wait")
    assert thread.daemon
    assert not outcome.done()


def test_what_happens_in_the_background_is_told() -> None:
    assert in_background("right", lambda: 7).result(10) == 7
    with pytest.raises(ZeroDivisionError):
        in_background("wrong", lambda: 1 // 0).result(10)

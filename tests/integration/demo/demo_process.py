"""`fleetlab demo` as a process that never outlives the test, however pytest ends."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

_PR_SET_PDEATHSIG = 1
_STOP_S = 60
COMMAND = (sys.executable, "-m", "fleetlab", "demo")


class DemoProcess:
    """Use as a context manager; at its end the demo has ended, by Ctrl-C if it was still at work.

    It is in a session of its own, so that Ctrl-C on the terminal does not reach it twice. Where pytest itself is
    killed, the system (Linux) sends the demo the same signal.
    """

    def __init__(self, home: Path, log: Path, *arguments: str, command: tuple[str, ...] = COMMAND) -> None:
        self.home, self.log = home, log
        environment = {name: value for name, value in os.environ.items() if name != "FLEETGAUGE_CONFIG"}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--home", str(home), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                preexec_fn=_end_with_the_parent if sys.platform == "linux" else None,
            )

    def __enter__(self) -> "DemoProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.interrupt()
            try:
                self._process.wait(_STOP_S)
            finally:
                self.kill()

    def text(self) -> str:
        return self.log.read_text()

    def wait_for_line(self, words: str, timeout_s: float = 300) -> None:
        deadline = time.monotonic() + timeout_s
        while words not in self.text():
            assert self._process.poll() is None, f"the demo ended early:\n{self.text()}"
            assert time.monotonic() < deadline, f"no {words!r} within {timeout_s} s:\n{self.text()}"
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """`kill -9`, and wait."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Its exit code."""
        return self._process.wait(timeout_s)


def _end_with_the_parent() -> None:
    # A shell that runs pytest in the background lets it ignore Ctrl-C, and the demo would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def processes_of(home: Path) -> list[str]:
    """Everything that was started for this home or works in it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = [*process.cmdline(), process.cwd(), process.environ().get("FLEETLAB_OWNER", "")]
            if any(str(home) in word for word in words):
                found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
    return found


def wait_until_gone(home: Path, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while left := processes_of(home):
        assert time.monotonic() < deadline, "left over:\n" + "\n".join(left)
        time.sleep(0.2)

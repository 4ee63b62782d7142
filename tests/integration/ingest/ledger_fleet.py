"""Consumers as real processes, started again when they end, as systemd would."""

import signal
import subprocess
import time
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest

_EXIT_S = 60.0


def note(text: str) -> None:
    """pytest shows it when the test fails, or with `-s`."""
    print(text)  # noqa: T201


class Fleet:
    """One consumer at work, at times two. Every end that nobody caused and nothing excuses fails the test."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.members: list[subprocess.Popen[str]] = []
        self._leaving: list[subprocess.Popen[str]] = []
        self.exits: list[int] = []
        """Exit codes of all that have ended."""

    def start(self) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = self._world.start()
        self.members.append(process)
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        """`kill -9`; nobody takes its place yet."""
        self.members.remove(process)
        process.send_signal(signal.SIGKILL)
        self.exits.append(process.wait(10))

    def terminate(self, process: subprocess.Popen[str]) -> None:
        """SIGTERM; it must end in good order while the test goes on."""
        self.members.remove(process)
        self._leaving.append(process)
        process.send_signal(signal.SIGTERM)

    def until(self, condition: Callable[[], Any], what: str, limit: float = 600.0, every: float = 0.1) -> None:
        """Wait for a condition, starting again whoever ends meanwhile; fails the test when time is up."""
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                tails = "\n".join(self._stacks(process) for process in self.members)
                pytest.fail(f"{what}: not within {limit} s; the consumers say:\n{tails}")
            self.tend()
            time.sleep(every)

    def tend(self) -> None:
        """Check those that have ended, and replace those that nobody told to."""
        for process in [one for one in self.members if one.poll() is not None]:
            # Only a consumer that has not begun yet may ask to be started again.
            assert process.returncode == 75 and not self.has_begun(process), self._tail(process)
            self.members.remove(process)
            self.exits.append(75)
            note(f"started again: {self._world.stderr(process).splitlines()[-1]}")
            self.start()
        for process in [one for one in self._leaving if one.poll() is not None]:
            self._has_left(process)

    def settle(self) -> None:
        """Wait until nobody is on the way out or in: only then it is certain who meets what comes."""
        self.until_left()
        self.until(lambda: all(self.has_begun(process) for process in self.members), "all have begun")

    def until_left(self) -> None:
        """Wait for those that were told to go."""
        for process in list(self._leaving):
            process.wait(_EXIT_S)
            self._has_left(process)

    def until_refused(self) -> None:
        """Wait until all members have given up, with exit code 70 and a word on what to do; nobody replaces them."""
        for process in self.members:
            process.wait(_EXIT_S)
            text = self._world.stderr(process)
            assert process.returncode == 70, self._tail(process)
            last = text.splitlines()[-1]
            assert last.startswith("fleetgauge: ") and "check elasticsearch.api_key" in last, last
            assert "security_exception" in last and "Traceback" not in text, text
            self.exits.append(70)
        self.members.clear()

    def has_begun(self, process: subprocess.Popen[str]) -> bool:
        """Whether it has been given partitions."""
        return "partitions assigned" in self._world.stderr(process)

    def metric(self, process: subprocess.Popen[str], name: str) -> float:
        """0 while the process does not serve it."""
        try:
            return float(self._world.metric(process, f"fleetgauge_ingest_{name}"))
        except (urllib.error.URLError, OSError):
            return 0.0

    def told(self, word: str) -> int:
        """How often the consumers have logged a word."""
        return sum(self._world.stderr(process).count(word) for process in self._world.processes)

    def _has_left(self, process: subprocess.Popen[str]) -> None:
        self._leaving.remove(process)
        self.exits.append(process.returncode)
        # Before it has begun, nothing needs an order: the signal ends it as any program.
        allowed = (0,) if self.has_begun(process) else (0, -signal.SIGTERM)
        assert process.returncode in allowed, self._tail(process)

    def _stacks(self, process: subprocess.Popen[str]) -> str:
        """What each thread of a process is doing; ends it. It needs PYTHONFAULTHANDLER in its environment."""
        process.send_signal(signal.SIGABRT)
        process.wait(10)
        return self._tail(process, 250)

    def _tail(self, process: subprocess.Popen[str], count: int = 25) -> str:
        lines = self._world.stderr(process).splitlines()[-count:]
        return "\n".join([f"pid {process.pid}, exit code {process.poll()}:", *lines])

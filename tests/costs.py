"""What a test run cost: the slowest files and tests, their processor time, and how many servers were started for each.

Processor time is that of the test process and of everything below it, servers included, also those that a process of a
test left running; on a busy machine it says more than the clock. Registered by `conftest.py`; works with and without
pytest-xdist.
"""

import json
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleetlab.stack.processes import JOURNAL_VARIABLE, OWNER_VARIABLE

SHOWN = 10
SERVERS = {
    "postgres-metrics": "postgres",  # one of the three clusters that start together
    "kafka": "kafka",
    "elasticsearch": "elasticsearch",
    "airflow-scheduler": "airflow",
}
_OUTPUT = "costs"


@dataclass
class FileCost:
    """Of one test file. Seconds; `started`: servers by kind."""

    tests: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    started: Counter[str] = field(default_factory=Counter)


class Costs:
    """A pytest plugin; in a worker it measures, in the controller it tells."""

    def __init__(self) -> None:
        self.files: dict[str, FileCost] = {}
        self.tests: Counter[str] = Counter()  # seconds
        self._journal: Path | None = None
        self._cpu = 0.0
        self._left: dict[psutil.Process, float] = {}

    def pytest_sessionstart(self) -> None:
        self._journal = Path(tempfile.gettempdir()) / f"fleetgauge-started-{os.getpid()}"
        self._cpu = processor_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        assert self._journal is not None
        os.environ[JOURNAL_VARIABLE] = str(self._journal)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            took = time.monotonic() - began
            file = item.nodeid.partition("::")[0]
            cost = self.files.setdefault(file, FileCost())
            cost.tests += 1
            cost.wall += took
            self.tests[item.nodeid] += took
            begun = started(self._journal)
            cost.started += begun
            self._journal.unlink(missing_ok=True)
            if begun or self._left:
                for server, seconds in left_running(self._journal).items():
                    cost.cpu += seconds - self._left.get(server, 0.0)
                    self._left[server] = seconds
            if nextitem is None or nextitem.path != item.path:
                before, self._cpu = self._cpu, processor_seconds()
                cost.cpu += self._cpu - before
                self._left.clear()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        os.environ.pop(JOURNAL_VARIABLE, None)
        if self._journal is not None:
            self._journal.unlink(missing_ok=True)
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            files = {name: [c.tests, c.wall, c.cpu, dict(c.started)] for name, c in self.files.items()}
            output[_OUTPUT] = json.dumps({"files": files, "tests": dict(self.tests.most_common(SHOWN))})

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended."""
        found = json.loads(getattr(node, "workeroutput", {}).get(_OUTPUT, "{}"))
        self.tests.update(found.get("tests", {}))
        for name, (tests, wall, cpu, begun) in found.get("files", {}).items():
            cost = self.files.setdefault(name, FileCost())
            cost.tests += tests
            cost.wall += wall
            cost.cpu += cpu
            cost.started.update(begun)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.files:
            return
        terminalreporter.section("costs", sep="-")
        terminalreporter.line(" wall s   cpu s  tests  slowest files and the servers that they started")
        every = terminalreporter.verbosity > 0
        slowest = sorted(self.files.items(), key=lambda one: -one[1].wall)
        for name, cost in slowest if every else slowest[:SHOWN]:
            terminalreporter.line(f"{cost.wall:7.1f} {cost.cpu:7.1f} {cost.tests:6}  {name}{_told(cost.started)}")
        terminalreporter.line(" wall s  slowest tests, with their fixtures")
        for name, seconds in self.tests.most_common(SHOWN):
            terminalreporter.line(f"{seconds:7.1f}  {name}")
        total: Counter[str] = Counter()
        for cost in self.files.values():
            total.update(cost.started)
        cpu = sum(cost.cpu for cost in self.files.values())
        terminalreporter.line(f"In all {cpu:.0f} s of processor time; started:{_told(total) or ' no server'}")


def processor_seconds() -> float:
    """User and system time of this process, of what it has waited for, and of all that lives below it."""
    total = sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
    return total + sum(_with_reaped(one) for one in psutil.Process().children(recursive=True))


def left_running(journal: Path) -> dict[psutil.Process, float]:
    """Servers of the laboratories whose starts this journal names that are no longer below this process, with the
    processor time of each and of all below it.
    """
    below = {*psutil.Process().children(recursive=True)}
    marks = {one: _environment(one) for one in psutil.process_iter() if one not in below}
    owners = {marked.get(OWNER_VARIABLE) for marked in marks.values() if marked.get(JOURNAL_VARIABLE) == str(journal)}
    found = {one for one, marked in marks.items() if marked.get(OWNER_VARIABLE) in owners - {None}}
    totals = {}
    for server in found:
        with suppress(psutil.Error):
            if server.parent() not in found:
                totals[server] = sum(map(_with_reaped, [server, *server.children(recursive=True)]))
    return totals


def _with_reaped(process: psutil.Process) -> float:
    """Of a process and of what it has waited for; 0 if it has just gone."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:
        return 0.0


def _environment(process: psutil.Process) -> dict[str, str]:
    """Empty where it may not be seen."""
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def started(journal: Path) -> Counter[str]:
    """How many servers of each kind a journal of the laboratory names."""
    try:
        names = journal.read_text("utf-8").split()
    except OSError:
        return Counter()
    return Counter(SERVERS[name] for name in names if name in SERVERS)


def _told(begun: Counter[str]) -> str:
    return " " + " ".join(f"{kind} {number}" for kind, number in sorted(begun.items())) if begun else ""

"""`fleetgauge run --follow` without a source: a process for each, which end together."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from fleetgauge import pipeline
from fleetgauge.following import stamp
from fleetgauge.ingest.stopping import StopRequest, on_signals
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How often it is looked whether all still run, and whether there is a source more."""
END_S = 30.0
"""How long they may take to end before they are killed; what they have done is in transactions."""


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command)  # noqa: S603 (our own command line)


@dataclass
class Sources:
    """The processes. `run` blocks in the main thread until asked to stop."""

    settings: Settings
    options: Sequence[str] = ()
    """Of each process, beside its source."""
    stop: StopRequest = field(default_factory=StopRequest)
    start: Callable[[Sequence[str]], "subprocess.Popen[bytes]"] = _start
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def run(self) -> int:
        """The exit code: 0 when asked to stop, else that of the process that ended first."""
        code, seen = 0, None
        try:
            with on_signals(self.stop):
                while not self.stop.asked.is_set():
                    now = stamp(self.settings.content)
                    if now != seen:
                        seen = now
                        self._start_new()
                    ended = {name: process.poll() for name, process in self.running.items()}
                    failed = {name: found for name, found in ended.items() if found is not None}
                    if failed:
                        name, code = next(iter(failed.items()))
                        log.error("a process has ended, so the others do too", source=name, exit_code=code)
                        break
                    self.stop.asked.wait(LOOK_S)
        finally:
            self._end()
        return code

    def _start_new(self) -> None:
        for source in pipeline.metrics_by_source(self.settings.content):
            if source not in self.running:
                command = [sys.executable, "-m", "fleetgauge", "run", "--follow", "--source", source, *self.options]
                self.running[source] = self.start(command)
                log.info("started", source=source, pid=self.running[source].pid)

    def _end(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        for name, process in self.running.items():
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                log.warning("did not end in time, and is killed", source=name, pid=process.pid)
                process.kill()
                process.wait()

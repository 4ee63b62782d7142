"""What several clocks say at one moment, though they are asked one after the other."""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from fleetgauge.clock import Clock

WORKER = "this worker"
METRICS = "the metrics database"


class Clocks:
    """Samples of clocks, brought to one moment by this process's monotonic clock. Not thread-safe; never blocks."""

    def __init__(self, worker: Clock) -> None:
        self._worker = worker
        self._read: dict[str, tuple[datetime, float]] = {}

    def note(self, name: str, at: datetime) -> None:
        """Another clock says `at`, just now."""
        self._read[name] = (at, time.monotonic())

    def now(self) -> Mapping[str, datetime]:
        """What each would say now (UTC), by its name; the worker's own among them."""
        since = time.monotonic()
        found = {name: at + timedelta(seconds=since - read) for name, (at, read) in self._read.items()}
        return {WORKER: self._worker.now(), **found}


class Earliest:
    """A `Clock`: the earliest of several, so that none that is ahead ends anything early."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks

    def now(self) -> datetime:
        """See `Clock`."""
        return min(self._clocks.now().values())

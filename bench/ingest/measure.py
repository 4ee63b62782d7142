"""One run of one contender, watched from outside: the same clock and the same ruler for all of them."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

_EVERY_S = 0.1
_LIMIT_S = 600.0


@dataclass(frozen=True)
class Run:
    """What was seen between the first document and the last."""

    events_per_s: float
    cpu_us: float
    """Processor time of the contender, microseconds per event, start-up left out."""
    server_cpu_us: float
    """Processor time of Elasticsearch, the same way."""
    rss_mb: float
    """Peak of resident memory, all processes of the contender together."""


def watch(
    processes: Sequence[subprocess.Popen[bytes]],
    servers: Sequence[psutil.Process],
    indexed: Callable[[], int],
    events: int,
    go: Callable[[], None] = lambda: None,
) -> Run:
    """Wait until `events` documents are written. `go` starts contenders that wait for it. Raises `RuntimeError`."""
    watched = [psutil.Process(process.pid) for process in processes]
    go()
    deadline = time.monotonic() + _LIMIT_S
    begin: tuple[float, int, float, float] | None = None
    rss = 0.0
    while True:
        now, count = time.monotonic(), indexed()
        cpu, server = _cpu(watched), _cpu(servers)
        rss = max(rss, sum(_rss(process) for process in watched))
        if begin is None and count:
            begin = now, count, cpu, server
        if count >= events:
            break
        if now > deadline or any(process.poll() not in (None, 0) for process in processes):
            raise RuntimeError(f"{count} of {events} events after {now - deadline + _LIMIT_S:.0f} s; see the log")
        time.sleep(_EVERY_S)
    assert begin is not None
    counted = count - begin[1]
    if not counted:
        raise RuntimeError("over before it was seen; use more events")
    return Run(
        counted / (now - begin[0]),
        (cpu - begin[2]) / counted * 1e6,
        (server - begin[3]) / counted * 1e6,
        rss / 2**20,
    )


def _cpu(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _rss(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0.0

"""Which core does what: one for the primary and its load, the other for everything else."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import psycopg

from bench.rollup.lab import scalar
from fleetlab.stack import PostgresState
from fleetlab.stack.state import PostgresServer


@dataclass(frozen=True)
class Cores:
    """Two cores of this machine."""

    production: int
    rest: int


@contextmanager
def pinned(postgres: PostgresState) -> Iterator[Cores]:
    """Give the primary a core, replica, metrics database and this process another; as before at the end.

    Raises `RuntimeError` on a machine with a single core.
    """
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        raise RuntimeError("two cores are needed, one for production and one for the rest")
    cores = Cores(*sorted(before)[:2])
    places: dict[PostgresServer, int] = {"primary": cores.production, "replica": cores.rest, "metrics": cores.rest}
    try:
        _place(psutil.Process(), {cores.rest})  # first: the servers are its children if it started them
        for server, core in places.items():
            _place(_postmaster(postgres, server), {core})
        yield cores
    finally:
        for server in places:
            _place(_postmaster(postgres, server), before)
        _place(psutil.Process(), before)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that only compute, on this process's core: what a machine's cores do to each other."""
    count = "n = 0\nwhile True: n += 1"
    running = [subprocess.Popen([sys.executable, "-c", count]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _postmaster(postgres: PostgresState, server: PostgresServer) -> psutil.Process:
    with psycopg.connect(postgres.url(server, "postgres", "postgres")) as connection:
        parent = psutil.Process(scalar(connection, "SELECT pg_backend_pid()")).parent()
    assert parent is not None
    return parent


def _place(leader: psutil.Process, cores: set[int]) -> None:
    """The process, its threads and its children; children to come inherit it."""
    for process in (leader, *leader.children(recursive=True)):
        # A session or a thread may end meanwhile: nothing is left to be placed then.
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, cores)

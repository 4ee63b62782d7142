"""Milliseconds, shared buffers and processor time of one piece of work."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from bench.rollup.lab import Databases
from fleetlab.stack.state import PostgresServer

_STATEMENTS = """
SELECT calls, shared_blks_hit + shared_blks_read, total_exec_time, regexp_replace(query, '\\s+', ' ', 'g')
FROM pg_stat_statements AS s
WHERE toplevel AND dbid = (SELECT oid FROM pg_database WHERE datname = %s) AND userid = %s::regrole
ORDER BY 2 DESC
"""
_RESET = "SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = %s"


@dataclass(frozen=True)
class Statement:
    """One statement of a run, however often it was called."""

    server: str
    calls: int
    buffers: int
    ms: float
    text: str


@dataclass
class Cost:
    """What a piece of work took."""

    ms: float = 0.0
    buffers: int = 0
    """8 KB shared buffers, hit or read, of all its statements on all servers; planning is not among them."""
    cpu_s: float = 0.0
    """Processor time of the client."""
    statements: list[Statement] = field(default_factory=list)


@contextmanager
def measured(databases: Databases, logins: Mapping[PostgresServer, str]) -> Iterator[Cost]:
    """Measure the block; `logins` says by server as whom the work is done, and nobody else may work as those.

    The block closes its connections itself, so that everything is counted by its end.
    """
    cost = Cost()
    admins = {
        server: psycopg.connect(databases.postgres.url(server, "postgres", "postgres"), autocommit=True)
        for server in logins
    }
    try:
        for admin in admins.values():
            admin.execute(_RESET, [databases.name])
        cpu, begin = _cpu(), time.perf_counter()
        yield cost
        cost.ms, cost.cpu_s = (time.perf_counter() - begin) * 1000, _cpu() - cpu
        for server, login in logins.items():
            rows: list[tuple[Any, ...]] = admins[server].execute(_STATEMENTS, [databases.name, login]).fetchall()
            cost.statements += [Statement(server, int(c), int(b), float(ms), text) for c, b, ms, text in rows]
        cost.statements.sort(key=lambda s: -s.buffers)
        cost.buffers = sum(s.buffers for s in cost.statements)
    finally:
        for admin in admins.values():
            admin.close()


def _cpu() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system

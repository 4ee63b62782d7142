"""What runs do: a row for each in the run log, and counts by metric for an exporter, since tasks are short-lived.

A run that cannot be written down goes on: its numbers are what matters. What somebody decided (rows accepted, tables
dropped) is written down in the transaction that does it, or not done. The row is there before anything is written, so
that what changes can name its run; and the process holds a lock as long as it runs, so that a run whose process was
killed is told from one that is at work.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import structlog

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError, Transient
from fleetgauge.postgres import Connection, Jsonb, only_row, sql
from fleetgauge.rollup.execute.delay import Delay
from fleetgauge.rollup.execute.report import RunReport, retried
from fleetgauge.rollup.execute.run_counts import RunCounts
from fleetgauge.rollup.plan.describe import totals
from fleetgauge.rollup.plan.planner import Plan
from fleetgauge.rollup.spans import Span, union
from fleetgauge.rollup.windows import widen
from fleetgauge.settings import Settings, airflow_run

log = structlog.get_logger(__name__)

Command = Literal[
    "run",
    "run --follow",
    "backfill",
    "reconcile",
    "dimensions expire",
    "retention",
    "metrics accept",
    "metrics prune",
    "metrics drop",
    "migrate",
    "tariffs restate",
]
"""As it is typed."""
Outcome = Literal["running", "ok", "deferred", "blocked", "failed", "interrupted"]

MOST = 500
"""Stretches that one run tells one by one; of more, the whole hours or days around them."""

_LOCK = "hashtext('fleetgauge run'), mod({id}, 2147483647)::integer"
_LOST = f"""
UPDATE fleetgauge.run SET outcome = 'interrupted'
WHERE outcome = 'running' AND pg_try_advisory_xact_lock({_LOCK.format(id="id")})
"""  # noqa: S608
_BEGIN = """
INSERT INTO fleetgauge.run (metric, version, command, grain, started_at, outcome, stages, host, pid, airflow_run)
VALUES (%(metric)s, %(version)s, %(command)s, %(grain)s, clock_timestamp() - make_interval(secs => %(elapsed)s),
    'running', %(stages)s, %(host)s, %(pid)s, %(airflow_run)s) RETURNING id
"""
# It need not be on disk by itself: whatever the run writes is there after it.
_FIRST = f"""
WITH lost AS ({_LOST}), begun AS ({_BEGIN})
SELECT id, pg_advisory_lock({_LOCK.format(id="id")}), set_config('synchronous_commit', 'off', true) FROM begun
"""  # noqa: S608
_UNLOCK = f"SELECT pg_advisory_unlock({_LOCK.format(id='%s::bigint')})"
_END = """
UPDATE fleetgauge.run SET ended_at = CASE WHEN %(outcome)s <> 'running' THEN clock_timestamp() END,
    outcome = %(outcome)s, error_type = %(error_type)s,
    reason = %(reason)s, stages = %(stages)s, windows = %(windows)s, cells = %(cells)s, rows = %(rows)s,
    restated = %(restated)s, late_unapplied = %(late_unapplied)s, conflicts = %(conflicts)s,
    written = (SELECT coalesce(range_agg(tstzrange(b, e)), '{}')
        FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS _(b, e))
WHERE id = %(id)s
"""


@dataclass
class Run:
    """One run of one metric, or what else changes its tables; `logged` makes it, and writes it down at the end."""

    settings: Settings
    command: Command
    metric: str
    version: str | None = None
    grain: str | None = None
    id: int | None = None
    """Its number, once it was begun; None where it could not be written down."""
    outcome: Outcome = "ok"
    error_type: str | None = None
    reason: str | None = None
    done: RunCounts = field(default_factory=RunCounts)
    """What it did, of all its plans; of `run` the report itself."""
    counts: dict[str, float] = field(default_factory=dict)
    """To be added to the metric's, for the exporter."""
    states: dict[str, str | float | None] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    """What it does that is not in a plan."""
    delay: Delay | None = None
    """How long the changes have waited that it made readable."""
    shared: Callable[[], Connection[Any]] | None = None
    """Gives a connection that several runs are written down through, and that stays open; None: one of its own."""
    _planned: list[dict[str, Any]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _connection: Connection[Any] | None = None

    def begin(self, plans: Sequence[Plan] = ()) -> int | None:
        """It is about to execute these plans, and perhaps more; returns its number. Never raises."""
        self._planned = totals(plans, self._planned)
        if self.id is not None:
            return self.id
        try:
            with postgres.metrics(self.settings.metrics).translated():
                self.id = only_row(self._connect().execute(_FIRST, self._values()))[0]
        except FleetgaugeError as error:
            self._unwritten(error)
        return self.id

    def failed(self, error: BaseException) -> None:
        """It ends with this error."""
        self.outcome = self.outcome if self.outcome == "blocked" else "failed"
        self.error_type, self.reason = type(error).__name__, str(error)

    def add(self, tally: RunCounts) -> None:
        """A plan was executed, or a part of it."""
        done = self.done
        done.windows += tally.windows
        done.cells += tally.cells
        done.rows += tally.rows
        done.restated += tally.restated
        done.late_unapplied += tally.late_unapplied
        done.conflicts += tally.conflicts
        done.written += tally.written

    def end(self) -> None:
        """Write down how it ended. Never raises."""
        if self.begin() is None:
            return
        try:
            try:
                self._write()
            except Transient:  # its connection was idle for as long as the run took, and may have been cut
                self._close()
                self._write()
        except FleetgaugeError as error:
            self._unwritten(error)
        finally:
            self._close()

    def tell(self) -> None:
        """Write down what it has done so far; it goes on. Never raises."""
        if self.id is None:
            return
        try:
            self._write("running")
        except FleetgaugeError as error:
            self._unwritten(error)

    def write_within(self, connection: Connection[Any]) -> None:
        """Write it down as done, in the caller's transaction: then what it changes is on record, or nothing changed."""
        self.id = only_row(connection.execute(_BEGIN, self._values()))[0]
        connection.execute(_END, self._values())

    def _write(self, outcome: Outcome | None = None) -> None:
        values = self._values() | {"outcome": outcome or self.outcome}
        connection = self._connect()
        with postgres.metrics(self.settings.metrics).translated(), connection.transaction():
            connection.execute(_END, values)
            if self.counts or self.states:
                count(connection, self.metric, self.counts, self.states)
            if self.delay is not None:
                add_delays(connection, self.metric, [self.delay])
        if outcome is None and self.shared is not None:
            connection.execute(_UNLOCK, [self.id])

    def _values(self) -> dict[str, Any]:
        spans = merged_spans(self.done.written)
        return {
            "id": self.id,
            "metric": self.metric,
            "version": self.version,
            "command": self.command,
            "grain": self.grain,
            "elapsed": time.monotonic() - self._began,
            "stages": Jsonb([*self._planned, *self.stages]),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "airflow_run": airflow_run(),
            "outcome": self.outcome,
            "error_type": self.error_type,
            "reason": self.reason,
            "windows": self.done.windows,
            "cells": self.done.cells,
            "rows": self.done.rows,
            "restated": self.done.restated,
            "late_unapplied": self.done.late_unapplied,
            "conflicts": self.done.conflicts,
            "begins": [begin for begin, _ in spans],
            "ends": [end for _, end in spans],
        }

    def _connect(self) -> Connection[Any]:
        if self.shared is not None:
            return self.shared()
        if self._connection is None or self._connection.closed:
            self._connection = postgres.metrics(self.settings.metrics).connect("activity", session={})
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _unwritten(self, error: FleetgaugeError) -> None:
        self._close()
        log.warning("a run was not written down", metric=self.metric, error=str(error))


@contextmanager
def logged(
    settings: Settings,
    command: Command,
    metric: str,
    version: str | None = None,
    grain: str | None = None,
    shared: Callable[[], Connection[Any]] | None = None,
) -> Iterator[Run]:
    """A row in the run log for what happens inside, however that ends; what is raised inside goes on.

    `shared`: see `Run.shared`.
    """
    run = Run(settings, command, metric, version, grain, shared=shared)
    try:
        yield run
    except Exception as error:
        run.failed(error)
        raise
    except BaseException:
        run.outcome = "interrupted"
        raise
    finally:
        run.end()


def take_report(run: Run, report: RunReport) -> None:
    """What a run's report says, for its row and for the counts."""
    take_outcome(run, report)
    run.counts = counts_of(report)
    run.states = states_of(report)
    run.delay = report.delay


def take_outcome(run: Run, report: RunReport) -> None:
    """How a run ended, by its report."""
    if report.error is not None:
        run.outcome, run.reason = "failed", report.error
        run.error_type = run.error_type or report.severity
    elif report.deferred is not None:
        run.outcome, run.reason = "deferred", report.deferred
    elif cells := retried(report.blocked):
        run.outcome, run.reason = "blocked", f"check {cells[0].check!r}: {len(cells)} cell(s)"
    else:
        run.outcome, run.reason = "ok", None


def counts_of(report: RunReport) -> dict[str, float]:
    """What a run adds to its metric's counts."""
    return {
        "runs": 1,
        "failures": int(report.error is not None),
        "deferrals": int(report.deferred is not None),
        "windows": report.windows,
        "cells": report.cells,
        "restated": report.restated,
        "conflicts": report.conflicts,
        "source_seconds": report.source_seconds,
    }


def states_of(report: RunReport) -> dict[str, str | float | None]:
    """What a run says of its metric's state."""
    return {
        "error": report.error,
        "deferred": report.deferred,
        "source_lag_s": report.source_lag_s,
        "clock_skew_s": report.clock_skew_s,
    }


def record_backfill(settings: Settings, metric: str, windows: int, conflicts: int, source_seconds: float) -> None:
    """Count a piece of a backfill. What it restates was asked for and is not counted. Never raises."""
    try:
        with closing(postgres.metrics(settings.metrics).connect("activity", session={})) as connection:
            counts = {"windows": windows, "conflicts": conflicts, "source_seconds": source_seconds}
            with postgres.metrics(settings.metrics).translated():
                count(connection, metric, counts, {})
    except FleetgaugeError as error:
        log.warning("what a run did was not counted", metric=metric, error=str(error))


def record_dropped(
    connection: Connection[Any],
    settings: Settings,
    command: Command,
    metric: str,
    tables: Sequence[str],
    version: str | None = None,
) -> None:
    """Write down, in the transaction that drops them, tables of a metric or of one version of it."""
    stages = [{"stage": "DropTables", "reason": "shown no more", "tables": list(tables)}]
    Run(settings, command, metric, version, stages=stages).write_within(connection)


def record_within(
    settings: Settings,
    command: Command,
    connection: Connection[Any],
    metric: str,
    version: str | None,
    stages: Sequence[dict[str, Any]],
) -> int | None:
    """Write down, in the transaction that does it, what a command does to a metric; returns the run's number."""
    run = Run(settings, command, metric, version, stages=[*stages])
    run.write_within(connection)
    return run.id


def merged_spans(spans: Sequence[Span]) -> list[Span]:
    """Sorted and disjoint; very many as the hours, or the days, that hold them (UTC)."""
    found = union(spans)
    for grain in ("hour", "day"):
        if len(found) > MOST:
            found = union(widen(span, grain, "UTC") for span in found)
    return found


def add_delays(connection: Connection[Any], metric: str, delays: Iterable[Delay]) -> None:
    """Add to the histogram of a metric, in the caller's transaction."""
    seconds: Counter[float] = Counter()
    sums = 0.0
    for delay in delays:
        seconds.update(delay.buckets())
        sums += delay.sum_s
    bounds = sorted(seconds)
    connection.execute(
        "INSERT INTO fleetgauge.delay AS d (metric, at_most_s, seconds, sum_s)"
        " SELECT %s, * FROM unnest(%s::float8[], %s::float8[], %s::float8[])"
        " ON CONFLICT (metric, at_most_s) DO UPDATE SET seconds = d.seconds + excluded.seconds,"
        " sum_s = d.sum_s + excluded.sum_s",
        [metric, bounds, [seconds[one] for one in bounds], [sums if one == bounds[-1] else 0.0 for one in bounds]],
    )


def count(
    connection: Connection[Any], metric: str, counts: Mapping[str, float], states: Mapping[str, str | float | None]
) -> None:
    """Add to a metric's counts and set its states, in the caller's transaction."""
    connection.execute(_count(tuple(counts), tuple(states)), [metric, *counts.values(), *states.values()])


@cache
def _count(counts: Sequence[str], states: Sequence[str]) -> sql.SQL:
    names = [sql.Identifier(name) for name in (*counts, *states)]
    sets = [sql.SQL("{0} = a.{0} + excluded.{0}").format(sql.Identifier(name)) for name in counts]
    sets += [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in states]
    query = sql.SQL(
        "INSERT INTO fleetgauge.activity AS a (metric, {names}) VALUES ({values})"
        " ON CONFLICT (metric) DO UPDATE SET updated_at = clock_timestamp(), {sets}"
    ).format(
        names=sql.SQL(", ").join(names),
        values=sql.SQL(", ").join(sql.Placeholder() * (len(names) + 1)),
        sets=sql.SQL(", ").join(sets),
    )
    return sql.SQL(query.as_string(None))

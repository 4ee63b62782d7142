"""One pass over one metric.

Every step is one transaction in the metrics database. It takes the metric's lock *before* it reads the source, so that
rows of an older snapshot can never replace those of a newer one, and it replaces rows and writes the ledger together.
A step that is lost is done again; nothing is ever added to.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
import structlog

from fleetgauge.errors import Transient
from fleetgauge.progress.heartbeat import Horizon
from fleetgauge.rollup.database_errors import translate
from fleetgauge.rollup.definition import Definition, Grain
from fleetgauge.rollup.dimensions import Admission
from fleetgauge.rollup.ledger import Ledger, State
from fleetgauge.rollup.migrate import publication
from fleetgauge.rollup.pace import Pace
from fleetgauge.rollup.report import Blocked, PassReport
from fleetgauge.rollup.sources.port import Cell, Conflict, Cursor, Facts, Row, Source, Touched
from fleetgauge.rollup.sources.postgres import APPLICATION
from fleetgauge.rollup.spans import MINUTE, Span, clip, floor, inside, join, subtract, union
from fleetgauge.rollup.store_sql import Statements

log = structlog.get_logger(__name__)

Connect = Callable[[], psycopg.Connection[Row]]
"""Opens a connection to the metrics database; a port, so that a test may break it between any two statements."""

_T = TypeVar("_T")

_ABOVE: dict[Grain, tuple[Grain, ...]] = {"minute": ("hour", "day"), "hour": ("day",), "day": ()}
_SPAN_ABOVE = timedelta(days=31)

# Estimates about rows of this very transaction are guesses: a loop of scans would be slow for many rows, a scan for a
# few.
_FOR_SPANS = "SELECT set_config('enable_nestloop', 'off', true)"
_FOR_CELLS = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true)"
)


@dataclass(frozen=True)
class Options:
    """Sizes and patience; a test makes them small."""

    overlap: timedelta = timedelta(seconds=5)
    """How far the cursor stays behind the horizon: a session shows its transaction's start a moment after taking it."""
    windows: int = 1440
    """Minutes of the first chunk; it grows and shrinks by the rows that come."""
    cells: int = 2000
    """Touched cells of the first batch."""
    rows_aimed: int = 20_000
    """Rows that one transaction should write."""
    tries: int = 6
    """Failures in a row, each followed by a quarter of the work, after which a pass gives up what is left."""
    pause_s: float = 0.5
    """Before the first new try; doubles with each."""
    lock_timeout_s: float = 60.0
    """How long to wait for another worker on the same metric."""


def connect_metrics(
    url: str, options: Options, kind: type[psycopg.Connection[Row]] = psycopg.Connection
) -> psycopg.Connection[Row]:
    """The writing connection."""
    connection = kind.connect(url, autocommit=True, application_name=f"{APPLICATION}-writer", connect_timeout=10)
    connection.prepare_threshold = None
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('TimeZone', 'UTC', false),"
        " set_config('jit', 'off', false)",
        [f"{options.lock_timeout_s * 1000:.0f}ms"],
    )
    return connection


@dataclass(frozen=True)
class _Look:
    """What a pass learns first."""

    horizon: Horizon
    begin: datetime | None
    touched: Touched
    cursor: Cursor
    """Where the next pass goes on, once this one is through."""


class Pass:
    """Computes one metric. Not thread-safe; two workers may each have their own on the same metric."""

    def __init__(
        self,
        definition: Definition,
        source: Source,
        connect: Connect,
        options: Options | None = None,
        watermark: datetime | None = None,
    ) -> None:
        self._definition = definition
        self._source = source
        self._connect = connect
        self._options = options or Options()
        self._watermark = watermark
        self._sql = Statements(definition)
        self._connection: psycopg.Connection[Row] | None = None
        self._report = PassReport(definition.metric, definition.version, "")

    def run(self, grain: Grain, interval: Span | None) -> PassReport:
        """Do what the ledger says is missing, and recompute `interval` besides. Blocks; raises `FleetgaugeError`."""
        self._report = PassReport(self._definition.metric, self._definition.version, grain)
        began, on_source = time.perf_counter(), self._source.seconds
        try:
            if grain == "minute":
                self._minute(interval)
            else:
                self._upper(grain, interval)
            with self._step() as (_, ledger):
                self._report = replace(
                    self._report,
                    closed_until=ledger.closed_until(),
                    blocked=tuple(Blocked(*b) for b in ledger.blocked()),
                )
        finally:
            self._report = replace(
                self._report,
                seconds=round(time.perf_counter() - began, 3),
                source_seconds=round(self._source.seconds - on_source, 3),
            )
            self.close()
        return self._report

    @property
    def report(self) -> PassReport:
        """What is done so far; whole only when `run` has returned."""
        return self._report

    def close(self) -> None:
        """Give the writing connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- minute ---------------------------------------------------------------------------------------------------

    def _minute(self, interval: Span | None) -> None:
        with self._step() as (_, ledger):
            state = ledger.state()
        look = self._try(lambda: self._look(state))
        if look is None:
            self._defer(f"source {self._source.name} has shown no heartbeat yet")
            return
        frontier = self._frontier(look.horizon)
        if not state.begun:
            with self._step() as (_, ledger):
                ledger.begin(min(look.begin or frontier, frontier), look.cursor, look.horizon.beat_at)
        with self._step() as (_, ledger):
            wanted = ledger.missing(frontier)
        forced = [part for span in look.touched.spans for part in clip(span, frontier)]
        forced += [] if interval is None else clip(interval, frontier)
        self._spans(wanted, look.horizon, forced=False)
        self._spans(subtract(union(forced), wanted), look.horizon, forced=True)
        computed = [*wanted, *forced]
        self._cells([c for c in look.touched.cells if not inside(c[0], computed)], look.horizon)
        self._finish(look, state)

    def _try(self, look: Callable[[], _T]) -> _T:
        pace = Pace(1, 1, self._options.tries, self._options.pause_s)
        while True:
            try:
                return look()
            except Conflict as error:
                pace.failed(error)

    def _look(self, state: State) -> _Look | None:
        """The first look: how far the source is, where history begins, what changed. None: it cannot say yet."""
        with self._source.look(self._definition) as facts:
            horizon = facts.horizon
            if horizon is None:
                return None
            self._not_older(horizon, state.beat_at)
            begin = None if state.begun else facts.first_event()
            cursor = Cursor(horizon.at - self._options.overlap, facts.token)
            # Until a first pass is through, facts beyond the frontier may be older than any cursor.
            touched = facts.touched(state.cursor or cursor, self._frontier(horizon), first=not state.complete)
        return _Look(horizon, begin, touched, cursor)

    def _frontier(self, horizon: Horizon) -> datetime:
        """Windows that end by it are computed as a whole, once; without a change column late facts never come in."""
        at = horizon.at if self._definition.change_time else horizon.at - self._definition.grace
        return floor(at)

    def _spans(self, spans: Sequence[Span], horizon: Horizon, *, forced: bool) -> None:
        pace = Pace(self._options.windows, self._options.rows_aimed, self._options.tries, self._options.pause_s)
        for begin, end in spans:
            at = begin
            while at < end:
                upto = min(end, at + pace.size * MINUTE)
                try:
                    written = self._replace_span((at, upto), horizon, forced=forced)
                except Conflict as error:
                    pace.failed(error)
                else:
                    pace.succeeded(written)
                    at = upto

    def _replace_span(self, span: Span, horizon: Horizon, *, forced: bool) -> int:
        """Compute every minute of `span` anew; returns the rows that it has."""
        with self._step() as (connection, ledger):
            if not forced and ledger.covers(span):
                return 0  # another worker was here first
            rows = self._read(lambda facts: facts.windows(span), ledger, horizon)
            merged = self._stage(connection, ledger, rows)
            broken = self._broken(connection)
            windows = list(broken)
            connection.execute(_FOR_SPANS)
            values: dict[str, Any] = {"begin": span[0], "end": span[1], "windows": windows}
            connection.execute(self._sql.clear_minutes(), values)
            written = connection.execute(self._sql.fill(merged)).rowcount
            ledger.unblock(span, windows)
            ledger.block(broken)
            ledger.minutes_done(span, self._frontier(horizon), windows)
            written_above = self._rebuild_above(connection, ledger, "minute", span)
            if broken:
                ledger.settle()
        self._count(windows=int((span[1] - span[0]) / MINUTE), rows=written + written_above)
        return len(rows)

    def _cells(self, cells: list[Cell], horizon: Horizon) -> None:
        pace = Pace(self._options.cells, self._options.rows_aimed, self._options.tries, self._options.pause_s)
        cells = sorted(cells)  # neighbours share pages
        whole: set[datetime] = set()
        at = 0
        while at < len(cells):
            batch = cells[at : at + pace.size]
            try:
                whole |= self._replace_cells(batch, horizon)
            except Conflict as error:
                pace.failed(error)
            else:
                at += len(batch)
                pace.succeeded(len(batch))
        self._spans(join(sorted(whole)), horizon, forced=True)

    def _replace_cells(self, cells: list[Cell], horizon: Horizon) -> set[datetime]:
        """Compute the cells anew; returns the windows of those within `other`, which only a whole window can tell."""
        with self._step() as (connection, ledger):
            admission = Admission(self._definition, ledger.admitted())
            apart: list[Cell] = []
            whole: set[datetime] = set()
            for cell in cells:
                if admission.fits(cell[1]):
                    apart.append(cell)
                else:
                    whole.add(cell[0])
            written = 0
            if apart:
                rows = self._read(lambda facts: facts.cells(apart), ledger, horizon)
                ledger.admit(admission.new)
                self._stage(connection, ledger, rows)
                with connection.cursor().copy(self._sql.copy_touched()) as copy:
                    for window, values in apart:
                        copy.write_row(("minute", window + MINUTE, window, *values))
                broken = self._broken(connection)
                if broken:
                    connection.execute("DELETE FROM touched WHERE window_start = ANY (%s)", [list(broken)])
                    ledger.block(broken)
                self._count(cells=len(apart), restated=ledger.touched_closed())
                connection.execute(_FOR_CELLS)
                connection.execute(self._sql.clear_cells("minute"))
                written = connection.execute(self._sql.fill(False)).rowcount
                for grain in _ABOVE["minute"]:
                    connection.execute(self._sql.rise(grain))
                    connection.execute(self._sql.clear_cells(grain))
                    written += connection.execute(self._sql.merge_cells(grain)).rowcount
                if broken:
                    ledger.settle()
        self._count(rows=written)
        return whole

    def _finish(self, look: _Look, state: State) -> None:
        horizon = look.horizon
        watermark = horizon.at if self._watermark is None else min(horizon.at, self._watermark)
        with self._step() as (connection, ledger):
            ledger.advance(look.cursor, horizon.beat_at, watermark - self._definition.grace)
            if not state.complete and publication(connection, self._definition, replace=False) == "waiting":
                log.warning(
                    "new version is filled but its columns differ; run fleetgauge migrate to show it",
                    metric=self._definition.metric,
                    version=self._definition.version,
                )
        self._report = replace(self._report, watermark=watermark)

    # --- hour and day ---------------------------------------------------------------------------------------------

    def _upper(self, grain: Grain, interval: Span | None) -> None:
        with self._step() as (_, ledger):
            ledger.state()
            spans = ledger.missing_above(grain)
            if interval is not None:
                spans.append(ledger.widen(interval, grain))
        for begin, end in spans:
            at = begin
            while at < end:
                with self._step() as (connection, ledger):
                    connection.execute(_FOR_SPANS)
                    span = ledger.widen((at, min(end, at + _SPAN_ABOVE)), grain)
                    written = self._rebuild(connection, ledger, grain, span)
                    written += self._rebuild_above(connection, ledger, grain, span)
                    ledger.settle()
                self._count(windows=1, rows=written)
                at = span[1]

    def _rebuild_above(self, connection: psycopg.Connection[Row], ledger: Ledger, grain: Grain, span: Span) -> int:
        return sum(self._rebuild(connection, ledger, above, ledger.widen(span, above)) for above in _ABOVE[grain])

    def _rebuild(self, connection: psycopg.Connection[Row], ledger: Ledger, grain: Grain, span: Span) -> int:
        values = {"begin": span[0], "end": span[1]}
        connection.execute(self._sql.clear_span(grain), values)
        written = connection.execute(self._sql.merge_span(grain), values).rowcount
        ledger.done_above(grain, span)
        return written

    # --- parts ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self) -> Iterator[tuple[psycopg.Connection[Row], Ledger]]:
        """One transaction in the metrics database under the metric's lock."""
        try:
            connection = self._connected()
            with connection.transaction():
                ledger = Ledger(connection, self._definition)
                ledger.lock()
                yield connection, ledger
        except psycopg.errors.LockNotAvailable as error:
            self.close()
            raise Transient(
                f"another worker holds metric {self._definition.metric} for more than "
                f"{self._options.lock_timeout_s:.0f} s; this one leaves it alone until the next run"
            ) from error
        except psycopg.Error as error:
            self.close()
            raise translate(error, "the metrics database", "metrics", "run fleetgauge migrate") from error
        except BaseException:
            self.close()
            raise

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            for statement in self._sql.create_temporary():
                self._connection.execute(statement)
        return self._connection

    def _read(self, ask: Callable[[Facts], list[Row]], ledger: Ledger, horizon: Horizon) -> list[Row]:
        """Rows of a new look, which must not be older than any that rows were computed under."""
        newest = ledger.state().beat_at
        with self._source.look(self._definition) as facts:
            if facts.horizon is None:
                raise Conflict(f"source {self._source.name} lost its heartbeat row; let production write it again")
            self._not_older(facts.horizon, max(horizon.beat_at, newest) if newest else horizon.beat_at)
            rows = ask(facts)
            seen = facts.horizon.beat_at
        ledger.saw(seen)
        return rows

    def _not_older(self, horizon: Horizon, newest: datetime | None) -> None:
        if newest is not None and horizon.beat_at < newest:
            raise Transient(
                f"source {self._source.name} is behind what was read before ({horizon.beat_at:%Y-%m-%dT%H:%M:%SZ}, "
                f"then {newest:%Y-%m-%dT%H:%M:%SZ}); the run waits until this replica has caught up"
            )

    def _stage(self, connection: psycopg.Connection[Row], ledger: Ledger, rows: list[Row]) -> bool:
        """Source rows into `staged`; true if some fell together in `other`."""
        admission = Admission(self._definition, ledger.admitted())
        n = len(self._definition.dimensions)
        with connection.cursor().copy(self._sql.copy_staged()) as copy:
            for row in rows:
                copy.write_row((row[0], *admission.place(row[1 : n + 1]), *row[n + 1 :]))
        ledger.admit(admission.new)
        return admission.overflowed

    def _broken(self, connection: psycopg.Connection[Row]) -> dict[datetime, str]:
        """Windows of `staged` that break a `fail` check, taken out of it: they keep the rows that they have."""
        warn = self._sql.broken(fail=False)
        if warn is not None:
            found = connection.execute(warn).fetchall()
            if found:
                said = f"check {found[0][1]!r} is broken in {len(found)} window(s), first {found[0][0]:%Y-%m-%dT%H:%MZ}"
                self._report = replace(self._report, warnings=(*self._report.warnings, said))
                log.warning(said, metric=self._definition.metric)
        fail = self._sql.broken(fail=True)
        broken: dict[datetime, str] = dict(connection.execute(fail).fetchall()) if fail is not None else {}
        if broken:
            connection.execute("DELETE FROM staged WHERE window_start = ANY (%s)", [list(broken)])
        return broken

    def _count(self, *, windows: int = 0, cells: int = 0, rows: int = 0, restated: int = 0) -> None:
        now = self._report
        self._report = replace(
            now,
            windows=now.windows + windows,
            cells=now.cells + cells,
            rows=now.rows + rows,
            restated=now.restated + restated,
        )

    def _defer(self, why: str) -> None:
        self._report = replace(self._report, deferred=why)
        log.warning("pass deferred", metric=self._definition.metric, reason=why)

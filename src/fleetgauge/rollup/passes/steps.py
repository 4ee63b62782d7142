"""The steps of a pass: each is one transaction in the metrics database that replaces rows and writes the ledger.

A step takes the metric's lock *before* it reads the source, so that rows of an older look can never replace those of a
newer one. A step that is lost is done again; nothing is ever added to.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import psycopg
import structlog

from fleetgauge.errors import Transient
from fleetgauge.postgres.postgres_errors import translate
from fleetgauge.progress.heartbeat import Horizon
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain, Level
from fleetgauge.rollup.options import Connect, Options
from fleetgauge.rollup.sources.port import Behind, Cell, Conflict, Facts, Row, Source
from fleetgauge.rollup.spans import MINUTE, Span, floor
from fleetgauge.rollup.store import partitions, placements
from fleetgauge.rollup.store.dimensions import Admission
from fleetgauge.rollup.store.ledger import Ledger
from fleetgauge.rollup.store.store_sql import STAGED, Statements

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

# Estimates about rows of this very transaction are guesses: a loop of scans would be slow for many rows, a scan for a
# few.
_FOR_SPANS = "SELECT set_config('enable_nestloop', 'off', true)"
_FOR_CELLS = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true)"
)


@dataclass
class Tally:
    """What the steps of a pass did so far."""

    windows: int = 0
    cells: int = 0
    rows: int = 0
    restated: int = 0
    late_unapplied: int = 0
    conflicts: int = 0
    warnings: list[str] = field(default_factory=list)


class Steps:
    """Of one metric. Keeps one writing connection; not thread-safe."""

    def __init__(self, definition: Definition, source: Source, connect: Connect, options: Options) -> None:
        self._definition = definition
        self._source = source
        self._connect = connect
        self._options = options
        self._sql = Statements(definition)
        self._levels = {level.name: level for level in definition.levels}
        self._connection: psycopg.Connection[Row] | None = None
        self.tally = Tally()

    def close(self) -> None:
        """Give the writing connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def step(self) -> Iterator[tuple[psycopg.Connection[Row], Ledger]]:
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
            raise translate(error, "the metrics database", "metrics.url", "run fleetgauge migrate") from error
        except BaseException:
            self.close()
            raise

    def frontier(self, horizon: Horizon) -> datetime:
        """Windows that end by it are computed as a whole, once; without a change column late facts never come in."""
        return floor(horizon.at if self._definition.sees_changes else horizon.at - self._definition.grace)

    # --- from the source ------------------------------------------------------------------------------------------

    def replace_span(self, span: Span, grain: Grain, horizon: Horizon, *, forced: bool, restates: bool = False) -> int:
        """Compute `span` (whole windows of `grain`, the finest that is kept there) anew; returns the rows read.

        `forced`: even if another worker has done it meanwhile. `restates`: count its closed minutes as restated.
        """
        with self.step() as (connection, ledger):
            if not forced and ledger.covers(span):
                return 0
            tells = self._definition.key is not None and not forced
            rows, placed = self._read(
                lambda facts: (facts.windows(span), facts.placed(span) if tells else []), ledger, horizon
            )
            placements.note(connection, self._definition, placed)
            merged = self._stage(connection, ledger, rows)
            broken = self._broken(connection)
            kept = self._keep_old(connection, broken, grain)
            if restates:
                self.tally.restated += ledger.minutes_closed(span)
            connection.execute(_FOR_SPANS)
            lowest = self._levels[grain]
            values: dict[str, Any] = {"begin": span[0], "end": span[1], "windows": kept}
            levels = [lowest, *self._following(lowest)]
            spans = ledger.widened(span)
            partitions.ensure(connection, self._definition, levels, spans)
            connection.execute(self._sql.clear_span(lowest), values)
            if grain == "minute":
                written = connection.execute(self._sql.fill(merged)).rowcount
            else:
                written = connection.execute(self._sql.merge_span(lowest, STAGED), values).rowcount
            ledger.unblock(span, list(broken))
            ledger.block(broken)
            ledger.minutes_done(span, self.frontier(horizon), list(broken))
            written += self._rebuild(connection, ledger, levels[1:], spans, lowest.grain)
            if grain != "minute":  # what is not kept is done too, in what is
                ledger.done_above("hour", spans["hour"])
                ledger.done_above("day", spans["day"])
            if broken:
                ledger.settle()
        self.tally.windows += int((span[1] - span[0]) / MINUTE)
        self.tally.rows += written
        return len(rows)

    def replace_cells(self, cells: list[Cell], horizon: Horizon) -> set[datetime]:
        """Compute the cells anew; returns the windows of those within `other`, which only a whole window can tell."""
        with self.step() as (connection, ledger):
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
                    connection.execute("DELETE FROM staged WHERE window_start = ANY (%s)", [list(broken)])
                    ledger.block(broken)
                self.tally.cells += len(apart)
                self.tally.restated += ledger.touched_closed()
                connection.execute(_FOR_CELLS)
                written = self._write_touched(connection, ledger, apart)
                if broken:
                    ledger.settle()
        self.tally.rows += written
        return whole

    def _write_touched(self, connection: psycopg.Connection[Row], ledger: Ledger, cells: list[Cell]) -> int:
        minute, *above = levels = self._definition.levels
        span = (min(window for window, _ in cells), max(window for window, _ in cells) + MINUTE)
        partitions.ensure(connection, self._definition, levels, ledger.widened(span))
        connection.execute(self._sql.clear_cells(minute))
        written = connection.execute(self._sql.fill(False)).rowcount
        for level in above:
            connection.execute(self._sql.rise(level))
            connection.execute(self._sql.clear_cells(level))
            written += connection.execute(self._sql.merge_cells(level)).rowcount
        return written

    # --- from the level below -------------------------------------------------------------------------------------

    def rebuild(self, span: Span, grain: Grain) -> Span:
        """Make `span` of `grain` (hour or day) and what is above anew from the level below; returns it widened."""
        level = self._levels[grain]
        with self.step() as (connection, ledger):
            connection.execute(_FOR_SPANS)
            spans = ledger.widened(ledger.widen(span, grain))
            levels = [level, *self._following(level)]
            partitions.ensure(connection, self._definition, levels, spans)
            self.tally.rows += self._rebuild(connection, ledger, levels, spans, "minute")
            ledger.settle()
        self.tally.windows += 1
        return spans[grain]

    def _following(self, lowest: Level) -> list[Level]:
        """What is made anew when all of `lowest` is: the coarser levels, and the subsets of its own grain."""
        first = GRAINS.index(lowest.grain)
        return [
            level
            for level in self._definition.levels
            if GRAINS.index(level.grain) > first or (level.grain == lowest.grain and not level.whole)
        ]

    def _rebuild(
        self,
        connection: psycopg.Connection[Row],
        ledger: Ledger,
        levels: Sequence[Level],
        spans: Mapping[Grain, Span],
        kept: Grain,
    ) -> int:
        """Each of the levels from the one below it; `kept` is the finest grain that has rows there."""
        written = 0
        for level in levels:
            span = spans[level.grain]
            below = self._levels[level.below or level.grain]
            if GRAINS.index(below.grain) < GRAINS.index(kept):
                below = self._levels[level.grain]  # its hours are let go: a subset comes from the whole days
            values = {"begin": span[0], "end": span[1], "windows": []}
            connection.execute(self._sql.clear_span(level), values)
            written += connection.execute(self._sql.merge_span(level, self._sql.table(below)), values).rowcount
            if level.whole:
                ledger.done_above(level.grain, span)
        return written

    # --- parts ----------------------------------------------------------------------------------------------------

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            for statement in self._sql.create_temporary():
                self._connection.execute(statement)
        return self._connection

    def _read(self, ask: Callable[[Facts], _T], ledger: Ledger, horizon: Horizon) -> _T:
        """The answer of a new look, which must not be older than any that rows were computed under."""
        newest = ledger.state().beat_at
        with self._source.look(self._definition) as facts:
            if facts.horizon is None:
                raise Conflict(f"source {self._source.name} lost its heartbeat row; let production write it again")
            self.not_older(facts.horizon, max(horizon.beat_at, newest) if newest else horizon.beat_at)
            answer = ask(facts)
            seen = facts.horizon.beat_at
        ledger.saw(seen)
        return answer

    def not_older(self, horizon: Horizon, newest: datetime | None) -> None:
        """Raises `Behind` when a look is older than what was read before."""
        if newest is not None and horizon.beat_at < newest:
            raise Behind(
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
        """Minutes of `staged` that break a `fail` check, with the check; a broken `warn` check is only told."""
        warn = self._sql.broken(fail=False)
        if warn is not None:
            found = connection.execute(warn).fetchall()
            if found:
                said = f"check {found[0][1]!r} is broken in {len(found)} window(s), first {found[0][0]:%Y-%m-%dT%H:%MZ}"
                self.tally.warnings.append(said)
                log.warning(said, metric=self._definition.metric)
        fail = self._sql.broken(fail=True)
        return dict(connection.execute(fail).fetchall()) if fail is not None else {}

    def _keep_old(
        self, connection: psycopg.Connection[Row], broken: dict[datetime, str], grain: Grain
    ) -> list[datetime]:
        """Take the windows with broken minutes out of `staged`; returns them: they keep the rows that they have."""
        if not broken:
            return []
        found = connection.execute(
            "WITH old AS MATERIALIZED (SELECT DISTINCT fleetgauge.window_start(w, %(grain)s, %(zone)s) AS start"
            " FROM unnest(%(broken)s::timestamptz[]) AS w), gone AS (DELETE FROM staged"
            " WHERE fleetgauge.window_start(window_start, %(grain)s, %(zone)s) IN (SELECT start FROM old))"
            " SELECT start FROM old",
            {"grain": grain, "zone": self._definition.time_zone, "broken": list(broken)},
        ).fetchall()
        return [row[0] for row in found]

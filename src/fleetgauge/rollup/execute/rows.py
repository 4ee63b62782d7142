"""Replaces rows of one metric: each method is what happens inside one transaction of the executor's.

The metric's lock is held since *before* the source is read, so that rows of an older look can never replace those of a
newer one. What is lost is done again; nothing is ever added to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import structlog

from fleetgauge.errors import Transient, sure
from fleetgauge.postgres import Connection, array_text, sql
from fleetgauge.postgres.nul_text import with_nul
from fleetgauge.progress.clock_samples import METRICS, Clocks
from fleetgauge.rollup.definitions.admission import Admission
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain, Level
from fleetgauge.rollup.execute.evidence import unbelievable
from fleetgauge.rollup.execute.ledger import LedgerWriter, Noted
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.execute.restatement_log import RestatementLog, why
from fleetgauge.rollup.execute.run_counts import RunCounts
from fleetgauge.rollup.execute.shared_keys import refuse_shared
from fleetgauge.rollup.plan.emptied import Weighed
from fleetgauge.rollup.plan.planner import Plan, behind
from fleetgauge.rollup.plan.request import ReconcileRequest
from fleetgauge.rollup.plan.stages import FORCED, Advance, ComputeSpan, NotePlaces, Reason
from fleetgauge.rollup.sources.port import Behind, Conflict, Facts, Row, Source
from fleetgauge.rollup.spans import MINUTE, Span, join
from fleetgauge.rollup.store import emptied_hours, partitions, placements
from fleetgauge.rollup.store.erased_prints import leave_out_erased
from fleetgauge.rollup.store.store_sql import Statements
from fleetgauge.rollup.values import BlockedCell, Cell, LeftOut, Placed
from fleetgauge.rollup.windows import widened, window_start, windows

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class EmptiedError(Exception):
    """The source has lost facts of final hours: nothing was replaced."""

    def __init__(self, hours: Sequence[Weighed]) -> None:
        super().__init__(f"the source has lost facts of {len(hours)} hour(s)")
        self.hours = hours


class LosingError(Exception):
    """Final hours lose facts by a part of them: nothing was replaced, and they have to be read as a whole."""

    def __init__(self, hours: Sequence[Span]) -> None:
        super().__init__(f"{len(hours)} final hour(s) lose facts")
        self.hours = hours


# Estimates about rows of this very transaction are guesses: a loop of scans would be slow for many rows, a scan for a
# few. And it need not wait for the disk: the run's last transaction does, and what was lost before that is done again.
_LATER_ON_DISK = "set_config('synchronous_commit', 'off', true)"
_FOR_SPANS = f"SELECT set_config('enable_nestloop', 'off', true), {_LATER_ON_DISK}"
_FOR_CELLS = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    f" set_config('enable_mergejoin', 'off', true), {_LATER_ON_DISK}"
)


def _once_written_otherwise(cell: Cell) -> bool:
    """Whether an older release wrote a label of it with U+FFFD for U+0000: only a whole window takes that row away."""
    return any(with_nul(label) != label for label in cell[1])


@dataclass
class Rows:
    """Of one metric, in one transaction on `connection`."""

    definition: Definition
    source: Source
    connection: Connection[Row]
    ledger: LedgerWriter
    plan: Plan
    options: RunOptions
    clocks: Clocks
    tally: RunCounts
    run_id: int | None = None
    """Of the run log."""
    _noted: Noted = field(init=False)
    """Before the source is read."""

    def __post_init__(self) -> None:
        self._sql = Statements(self.definition)
        self._levels = {level.name: level for level in self.definition.levels}
        self._restatements = RestatementLog(self.connection, self.definition, self.run_id)

    # --- from the source ------------------------------------------------------------------------------------------

    def replace_span(self, stage: ComputeSpan, span: Span) -> int:
        """Compute `span`, a piece of the stage's, anew; returns the rows read.

        Where the source has lost the facts of final hours, unless that was looked for already, raises `EmptiedError`,
        or `LosingError` if the span has only a part of such an hour.
        """
        limit = sure(self.plan.computing_watermark, "the computing watermark")
        grain = stage.grain
        tells = self.definition.key is not None and stage.reason not in FORCED
        self._note()
        rows, placed, left = self._read(
            lambda facts: (
                self._windows(facts, span),
                facts.placed(span) if tells else [],
                self._left_out(facts, [span]),
            )
        )
        refuse_shared(self.definition, placed)
        self._leave_out([span], left)
        placements.note(self.connection, self.definition, placed)
        merged = self._stage(rows, Admission(self.definition, self.ledger.admitted()))
        if merged and not self._noted.has_other:
            self.ledger.note_other()
        self._look_for_emptied(stage, span)
        broken = self._broken()
        self._withhold(broken, grain)
        self.connection.execute(_FOR_SPANS)
        lowest = self._levels[grain]
        values: dict[str, Any] = {"begin": span[0], "end": span[1]}
        levels = [lowest, *self._following(lowest)]
        spans = widened(span, self.definition.time_zone)
        partitions.ensure(self.connection, self.definition, levels, {row[0] for row in rows})
        self._restatements.begin(spans)
        self._restatements.keep(lowest, spans[grain])
        self.connection.execute(self._sql.clear_span(lowest, withholding=bool(broken)), values)
        if grain == "minute":  # the finest of a metric that has no minutes may be read in parts, which are merged
            written = self.connection.execute(self._sql.fill(merged)).rowcount
        else:
            written = self.connection.execute(self._sql.merge_span(lowest, None), values).rowcount
        changed = self._block(lambda cell: span[0] <= cell[0] < span[1], broken)
        self.ledger.minutes_done(span, limit)
        written += self._merge_upwards(levels[1:], spans, lowest.grain)
        restated = self._restatements.write(why(self.plan.request, stage.reason))
        if stage.restates:
            self.tally.restated += restated
        if grain != "minute":  # what is not kept is done too, in what is
            self.ledger.done_above("hour", spans["hour"])
            self.ledger.done_above("day", spans["day"])
        if changed:
            self.ledger.settle()
        self.tally.windows += int((span[1] - span[0]) / MINUTE)
        self.tally.rows += written
        return len(rows)

    def _look_for_emptied(self, stage: ComputeSpan, span: Span) -> None:
        if stage.reason not in FORCED or isinstance(self.plan.request, ReconcileRequest):  # which has looked itself
            return
        if stage.reason == "changed" and not emptied_hours.counts_facts(self.definition):
            return  # an end that comes to be known late takes time away, and no fact
        weighed = emptied_hours.weigh(self.connection, self.definition, self._levels[stage.grain], span)
        parts = [
            (one.window_start, one.window_end)
            for one in weighed
            if one.found < one.counted and not (span[0] <= one.window_start and one.window_end <= span[1])
        ]
        if parts:
            raise LosingError(parts)
        if self.definition.key is not None and weighed:  # what has moved elsewhere is not lost
            left = placements.departed(self.connection, self.definition, self._moved)
            weighed = [replace(one, counted=max(one.counted - left.get(one.window_start, 0), 0)) for one in weighed]
        found = emptied_hours.lost(self.connection, self.definition, weighed)
        if found:
            raise EmptiedError(found)

    @property
    def _moved(self) -> list[Placed]:
        """The rows that the plan was made for."""
        return [row for stage in self.plan.stages if isinstance(stage, NotePlaces) for row in stage.rows]

    def _windows(self, facts: Facts, span: Span) -> list[Row]:
        """The rows of the span at the metric's finest grain; minutes have a query of their own."""
        zone = self.definition.time_zone
        if self.definition.finest == "minute":
            return facts.windows(span)
        starts = [begin for begin, _ in windows(span, self.definition.finest, zone)]
        return [(starts[stretch], *values) for stretch, *values in facts.totals([*starts, span[1]])]

    def replace_cells(self, cells: Sequence[Cell]) -> set[datetime]:
        """Compute the cells anew; returns the windows of those that do not fit, which only a whole window can tell.

        Raises `LosingError` where final hours lose facts by that.
        """
        self._note()
        admission = Admission(self.definition, self.ledger.admitted())
        fit: list[Cell] = []
        whole: set[datetime] = set()
        together = self._counted_together(cells) if self._noted.has_other else ()
        for cell in cells:
            if cell not in together and not _once_written_otherwise(cell) and admission.fits(cell[1]):
                fit.append(cell)
            else:
                whole.add(cell[0])
        if not fit:
            return whole
        minutes = join(sorted({window for window, _ in fit}))
        rows, left = self._read(lambda facts: (facts.cells(fit), self._left_out(facts, minutes)))
        self._leave_out(minutes, left)
        self._stage(rows, admission)
        broken = self._broken()
        self._withhold(broken, "minute")
        self.connection.execute(_FOR_CELLS)
        self._restatements.begin(widened((minutes[0][0], minutes[-1][1]), self.definition.time_zone))
        withheld = {one.cell for one in broken}
        self._write_touched([cell for cell in fit if cell not in withheld])
        changed = self._block(frozenset(fit).__contains__, broken)
        self.tally.cells += len(fit)
        if changed:
            self.ledger.settle()
        return whole

    def _counted_together(self, cells: Sequence[Cell]) -> set[Cell]:
        """Cells whose facts may be in a row of `(other)`: their minute has one, and none of theirs.

        A value may have been admitted since, after others had expired; a row of its own beside it would count twice.
        """
        minute, asked = self._levels["minute"], {"windows": array_text({window for window, _ in cells})}
        windows = {window for (window,) in self.connection.execute(self._sql.with_other(minute), asked)}
        if not windows:
            return set()
        found = self.connection.execute(self._sql.cells_of(minute), {"windows": array_text(windows)})
        rows = {(window, tuple(values)) for window, *values in found}
        return {cell for cell in cells if cell[0] in windows and cell not in rows}

    def _write_touched(self, cells: Sequence[Cell]) -> None:
        if not cells:
            return
        levels, reason = self.definition.levels, why(self.plan.request, "changed")
        partitions.ensure(self.connection, self.definition, levels, {window for window, _ in cells})
        for level in levels:
            done = self._restatements.replace_touched(level, cells, reason)
            if done.losing:
                raise LosingError(done.losing)
            self.tally.rows += done.rows
            self.tally.restated += done.differ if level is levels[0] else 0

    # --- from the level below -------------------------------------------------------------------------------------

    def roll_up(self, span: Span, grain: Grain, reason: Reason) -> None:
        """Make `span` (whole windows of `grain`, hour or day) and what is above anew from the level below."""
        level = self._levels[grain]
        self.connection.execute(_FOR_SPANS)
        spans = widened(span, self.definition.time_zone)
        levels = [level, *self._following(level)]
        partitions.ensure(self.connection, self.definition, levels, self._with_rows(level, spans[grain]))
        self._restatements.begin(spans)
        self.tally.rows += self._merge_upwards(levels, spans, "minute")
        self._restatements.write(why(self.plan.request, reason))
        self.ledger.settle()
        self.tally.windows += 1

    def _with_rows(self, level: Level, span: Span) -> set[datetime]:
        """Windows of the level below that have rows in the span."""
        below = self._levels[level.below or level.grain]
        found = self.connection.execute(
            sql.SQL("SELECT DISTINCT window_start FROM {} WHERE window_start >= %s AND window_start < %s").format(
                self._sql.table(below)
            ),
            list(span),
        )
        return {row[0] for row in found}

    def _following(self, lowest: Level) -> list[Level]:
        """What is made anew when all of `lowest` is: the coarser levels, and the subsets of its own grain."""
        first = GRAINS.index(lowest.grain)
        return [
            level
            for level in self.definition.levels
            if GRAINS.index(level.grain) > first or (level.grain == lowest.grain and not level.whole)
        ]

    def _merge_upwards(self, levels: Sequence[Level], spans: Mapping[Grain, Span], kept: Grain) -> int:
        """Each of the levels from the one below it; `kept` is the finest grain that has rows there."""
        written = 0
        for level in levels:
            span = spans[level.grain]
            below = self._levels[level.below or level.grain]
            if GRAINS.index(below.grain) < GRAINS.index(kept):
                below = self._levels[level.grain]  # its hours have expired: a subset comes from the whole days
            values = {"begin": span[0], "end": span[1]}
            self._restatements.keep(level, span)
            self.connection.execute(self._sql.clear_span(level), values)
            written += self.connection.execute(self._sql.merge_span(level, below), values).rowcount
            if level.whole:
                self.ledger.done_above(level.grain, span)
        return written

    def note_untold(self, stage: Advance) -> None:
        """Write down the facts whose time is absurd or too far ahead, and those without a time of change.

        Nothing else would tell of them.
        """
        self._noted = self.ledger.noted()
        if stage.out_of_range is not None:
            self._leave_out([], stage.out_of_range)
        if stage.unfollowed is not None and (stage.unfollowed.count or self._noted.unfollowed):
            self.ledger.unfollowed(stage.unfollowed)

    def _left_out(self, facts: Facts, spans: Sequence[Span]) -> list[LeftOut]:
        """Of spans whose rows were just read: asked where some of them are left out, or were when last looked at."""
        return [] if facts.all_counted and not self._noted.left_out else facts.left_out(spans)

    def _leave_out(self, spans: Sequence[Span], found: Sequence[LeftOut]) -> None:
        if found or self._noted.left_out:
            self.ledger.left_out(spans, found)
        for one in found:
            if one.count:
                said = f"{one.count} row(s) left out, {one.reason}: {', '.join(one.keys)}"
                self.tally.warnings.append(said)
                log.warning(said, metric=self.definition.metric)

    # --- parts ----------------------------------------------------------------------------------------------------

    def _note(self) -> None:
        """Before `_read`."""
        self._noted = self.ledger.noted()
        self.clocks.note(METRICS, self._noted.now)

    def _read(self, ask: Callable[[Facts], _T]) -> _T:
        """The answer of a new look, which must not be older than any that rows were computed under."""
        newest = max(filter(None, (self._noted.heartbeat_at, self.plan.heartbeat_at)), default=None)
        with self.source.look(self.definition) as facts:
            if facts.source_watermark is None:
                raise Conflict(f"source {self.source.name} lost its heartbeat row; let production write it again")
            seen = facts.source_watermark.heartbeat_at
            refused = unbelievable(self.clocks, self.source.name, facts.source_watermark, self.options)
            if refused is not None:
                raise Transient(refused)
            older = behind(self.source.name, seen, newest)
            if older is not None:
                raise Behind(older)
            answer = ask(facts)
        self.ledger.saw(seen)
        return answer

    def _stage(self, rows: list[Row], admission: Admission) -> bool:
        """Source rows into `staged`; true if some fell together in `(other)`."""
        n = len(self.definition.dimensions)
        self.connection.execute(self._sql.create_staged())
        with self.connection.cursor().copy(self._sql.copy_staged()) as copy:
            for row in rows:
                copy.write_row((row[0], *admission.resolve(row[1 : n + 1]), *row[n + 1 :]))
        leave_out_erased(self.connection, self.definition)
        self.ledger.admit(admission.new)
        return admission.overflowed

    def _broken(self) -> list[BlockedCell]:
        """Cells of `staged` that break a `fail` check, with the check; a broken `warn` check is only told."""
        warned = self._breaking(fail=False)
        if warned:
            said = f"check {warned[0].check!r} is broken in {len(warned)} cell(s), first {warned[0]}"
            self.tally.warnings.append(said)
            log.warning(said, metric=self.definition.metric)
        return self._breaking(fail=True)

    def _breaking(self, *, fail: bool) -> list[BlockedCell]:
        query = self._sql.broken(fail=fail)
        if query is None:
            return []
        names = self.definition.dimensions
        rows = self.connection.execute(query).fetchall()
        return [BlockedCell(at, tuple(zip(names, values, strict=True)), check) for check, at, *values in rows]

    def _block(self, computed: Callable[[Cell], bool], broken: Sequence[BlockedCell]) -> bool:
        if not (broken or self._noted.blocked):
            return False
        return self.ledger.update_blocked(computed, broken, self.plan.source_watermark)

    def _withhold(self, broken: Sequence[BlockedCell], grain: Grain) -> None:
        """Let these cells keep the rows that they have: at `grain`, the finest whose rows are kept."""
        if not broken:
            return
        cells = {(window_start(b.window_start, grain, self.definition.time_zone), *b.cell[1]) for b in broken}
        self.connection.execute(self._sql.create_withheld())
        with self.connection.cursor().copy(self._sql.copy_withheld()) as copy:
            for cell in sorted(cells):
                copy.write_row(cell)
        self.connection.execute(self._sql.withhold_staged(grain))

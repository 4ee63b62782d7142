"""Executes a plan, stage by stage, each in transactions of its own: the only writer of tables and ledger.

Under the metric's lock it looks again at what another worker may have changed since the plan was made, and skips what
has become unnecessary. It never asks the planner: a touched cell that turns out not to fit is computed as its whole
window within its stage.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from fleetgauge.observability.tracing import in_span
from fleetgauge.progress.clock_samples import Clocks
from fleetgauge.progress.pace import Pace
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.execute.ledger import LedgerWriter
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.execute.rows import EmptiedError, LosingError, Rows
from fleetgauge.rollup.execute.run_counts import Progress, RunCounts, StageDone, Watch
from fleetgauge.rollup.execute.session import Session
from fleetgauge.rollup.plan.emptied import Weighed
from fleetgauge.rollup.plan.planner import Plan
from fleetgauge.rollup.plan.stages import (
    FORCED,
    Advance,
    Begin,
    ComputeCells,
    ComputeSpan,
    Forgo,
    KeepFrozen,
    NotePlaces,
    Publish,
    RollUp,
    Stage,
    TakeBack,
)
from fleetgauge.rollup.sources.port import Conflict, Source
from fleetgauge.rollup.spans import MINUTE, Span, inside, join, subtract
from fleetgauge.rollup.store import emptied_hours, placements
from fleetgauge.rollup.store.publish import publication_in_time
from fleetgauge.rollup.values import Cell
from fleetgauge.rollup.windows import widen

log = structlog.get_logger(__name__)

_ROLLED_UP_AT_ONCE = timedelta(days=31)


class Executor:
    """Executes one plan, once. Not thread-safe; several workers may each have their own on the same metric."""

    def __init__(
        self,
        definition: Definition,
        source: Source,
        session: Session,
        options: RunOptions,
        plan: Plan,
        clocks: Clocks,
        watch: Watch | None = None,
        run_id: int | None = None,
        tally: RunCounts | None = None,
    ) -> None:
        self.tally = RunCounts() if tally is None else tally
        self._definition = definition
        self._source = source
        self._session = session
        self._options = options
        self._plan = plan
        self._clocks = clocks
        self._watch = watch
        self._run_id = run_id
        self._spans_pace = self._pace(options.windows)
        self._cells_pace = self._pace(options.cells)
        self._overtaken = False  # another worker has begun the metric since: what it did may be older than our look
        self._computed = timedelta()
        self._to_compute = sum((s.span[1] - s.span[0] for s in plan.stages if isinstance(s, ComputeSpan)), timedelta())

    def execute(self) -> None:
        """All stages in order; blocks. What is done before an error stays, and `tally` tells it.

        Raises `Behind` when the source shows less than it did, `Conflict` when it breaks off too often in a row, and
        what reading and writing else raise.
        """
        for stage in self._plan.stages:
            before = replace(self.tally)
            with in_span(type(stage).__name__, metric=self._definition.metric, reason=stage.reason):
                done = self._execute(stage)
            self.tally.stages.append(
                StageDone(
                    stage,
                    self.tally.windows - before.windows,
                    self.tally.cells - before.cells,
                    self.tally.rows - before.rows,
                    skipped=not done,
                )
            )

    def _execute(self, stage: Stage) -> bool:
        """False if all of it had become unnecessary."""
        match stage:
            case Begin():
                return self._begin(stage)
            case Forgo(spans=spans):
                with self._transaction() as written:
                    written.ledger.forgo(spans)
            case TakeBack(since=since, cursor=cursor, heartbeat_at=heartbeat_at):
                with self._transaction() as written:
                    written.ledger.take_back(since, cursor, heartbeat_at)
            case NotePlaces(rows=rows):
                with self._transaction() as written:
                    placements.note(written.connection, self._definition, rows)
            case ComputeSpan():
                return self._compute_span(stage)
            case ComputeCells():
                self._compute_cells(stage)
            case RollUp():
                self._roll_up(stage)
            case KeepFrozen(late=late):
                self._keep_frozen(late)
            case Advance():
                self._advance(stage)
            case Publish():
                self._publish()
        return True

    # --- the stages -----------------------------------------------------------------------------------------------

    def _begin(self, stage: Begin) -> bool:
        with self._transaction() as written:
            began = written.ledger.begin(stage.at, stage.unavailable, stage.cursor, stage.heartbeat_at)
            for grain, kept_from in stage.kept_from.items():
                if kept_from is not None:
                    written.ledger.keep_from(grain, kept_from)
        self._overtaken = not began
        return began

    def _compute_span(self, stage: ComputeSpan, cells: Sequence[Cell] = (), *, whole: bool = False) -> bool:
        """False if all of it had become unnecessary. `cells`: the touched ones that it is computed for; `whole`: in one
        piece, however many rows that has."""
        at, end = stage.span
        any_computed = False
        while at < end:
            upto = end if whole else min(end, at + self._spans_pace.size * MINUTE)
            if stage.grain != "minute":
                upto = widen((at, upto), stage.grain, self._definition.time_zone)[1]
            try:
                read = self._replace(stage, (at, upto))
            except Conflict as error:
                self._broke_off(self._spans_pace, error)
                continue
            except EmptiedError as error:
                any_computed |= self._keep_emptied(stage, (at, upto), error.hours, cells)
                at = upto
                continue
            except LosingError as error:
                any_computed |= self._compute_hours(stage, error.hours)
                rest = subtract([(at, upto)], error.hours)
                for part in rest:
                    any_computed |= self._compute_span(replace(stage, span=part))
                at = upto
                continue
            if read is not None:
                any_computed = True
                self.tally.wrote([(at, upto)])
            self._spans_pace.succeeded(read or 0)
            self._tell(upto, upto - at)
            at = upto
        return any_computed

    def _compute_hours(self, stage: ComputeSpan, hours: Sequence[Span], cells: Sequence[Cell] = ()) -> bool:
        """Each as a whole, whatever the source bears else: what it has lost is seen only by that. `cells`: touched."""
        computed = [self._compute_span(replace(stage, span=one), cells, whole=True) for one in sorted(set(hours))]
        return any(computed)

    def _keep_emptied(
        self, stage: ComputeSpan, span: Span, hours: Sequence[Weighed], cells: Sequence[Cell] = ()
    ) -> bool:
        """The hours keep what they have, and are noted; the rest of the span is computed. `cells`: touched ones."""
        spans = [(one.window_start, one.window_end) for one in hours]
        with self._transaction() as written:
            emptied_hours.note(written.connection, self._definition, hours)
            if stage.reason == "changed":
                touched = [cell for cell in cells if inside(cell[0], spans)]
                late = len(touched) or sum(int((end - begin) / MINUTE) for begin, end in spans)
                written.ledger.late(late)
                self.tally.late_unapplied += late
        said = f"the source has lost facts of {len(hours)} final hour(s), first {hours[0].window_start:%Y-%m-%dT%H:%MZ}"
        self.tally.warnings.append(f"{said}: they keep their numbers")
        log.warning(said, metric=self._definition.metric)
        for begin, end in spans:
            self._tell(end, end - begin)
        rest = subtract([span], spans)
        computed = [self._compute_span(replace(stage, span=part)) for part in rest]
        return any(computed)

    def _replace(self, stage: ComputeSpan, span: Span) -> int | None:
        """One piece; None if another worker has done it meanwhile."""
        with self._transaction() as written:
            if stage.reason not in FORCED and not self._overtaken and written.ledger.covers(span):
                return None
            return written.replace_span(stage, span)

    def _compute_cells(self, stage: ComputeCells) -> None:
        pace, at, whole = self._cells_pace, 0, set[datetime]()
        cells, losing = stage.cells, list[Span]()
        while at < len(cells):
            batch = cells[at : at + pace.size]
            try:
                with self._transaction() as written:
                    whole |= written.replace_cells(batch)
            except Conflict as error:
                self._broke_off(pace, error)
            except LosingError as error:
                losing += error.hours
                cells = (*cells[:at], *(cell for cell in cells[at:] if not inside(cell[0], error.hours)))
            else:
                at += len(batch)
                self.tally.wrote(join(sorted({window for window, _ in batch})))
                pace.succeeded(len(batch))
        if losing:
            self._to_compute += sum((end - begin for begin, end in losing), timedelta())
            span = (losing[0][0], losing[-1][1])
            self._compute_hours(ComputeSpan(span, "minute", "changed", restates=True), losing, stage.cells)
        for span in join(sorted(whole)):
            self._to_compute += span[1] - span[0]
            self._compute_span(ComputeSpan(span, "minute", "overflow"))

    def _roll_up(self, stage: RollUp) -> None:
        at, end = stage.span
        while at < end:
            zone = self._definition.time_zone
            upto = widen((at, min(end, at + _ROLLED_UP_AT_ONCE)), stage.grain, zone)[1]
            with self._transaction() as written:
                written.roll_up((at, upto), stage.grain, stage.reason)
            self.tally.wrote([(at, upto)])
            at = upto

    def _keep_frozen(self, late: int) -> None:
        if late:
            with self._transaction() as written:
                written.ledger.late(late)
            self.tally.late_unapplied += late

    def _advance(self, stage: Advance) -> None:
        with self._transaction() as written:
            written.ledger.advance(stage.cursor, stage.heartbeat_at, stage.closed_until)
            placements.settle(written.connection, self._definition, stage.moved)
            written.note_untold(stage)

    def _publish(self) -> None:
        with self._transaction() as written:
            found = publication_in_time(written.connection, self._definition, lambda: self._run_id)
        if found.why is not None:
            said = f"version {self._definition.version} is filled, but not shown: {found.why}"
            self.tally.warnings.append(said)
            log.warning(said, metric=self._definition.metric)

    # --- transactions and patience --------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Rows]:
        """Lock order: the metric's lock, then the source's look, then tables from fine to coarse, then the ledger."""
        with self._session.locked() as connection:
            ledger = LedgerWriter(connection, self._definition)
            yield Rows(
                self._definition,
                self._source,
                connection,
                ledger,
                self._plan,
                self._options,
                self._clocks,
                self.tally,
                self._run_id,
            )

    def _broke_off(self, pace: Pace, error: Conflict) -> None:
        """Count it, and wait; raises `error` when it was one too many."""
        self.tally.conflicts += 1
        pace.failed(error)

    def _pace(self, size: int) -> Pace:
        return Pace(size, self._options.rows_aimed, self._options.tries, self._options.pause_s)

    def _tell(self, at: datetime, computed: timedelta) -> None:
        self._computed += computed
        if self._watch is not None:
            self._watch(Progress(self._definition.metric, at, self._computed, self._to_compute, self.tally.rows))

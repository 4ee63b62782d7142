"""One pass over one metric: what is missing, what changed, what was asked for. The steps that it takes are `steps`."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from fleetgauge.progress.heartbeat import Horizon
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.options import Connect, Options
from fleetgauge.rollup.passes.pace import Pace
from fleetgauge.rollup.passes.report import Blocked, PassReport
from fleetgauge.rollup.passes.steps import Steps, Tally
from fleetgauge.rollup.sources.port import Behind, Cell, Conflict, Cursor, Source, Touched
from fleetgauge.rollup.spans import HOUR, MINUTE, Span, clip, inside, join, subtract, union
from fleetgauge.rollup.store import placements
from fleetgauge.rollup.store.ages import Ages
from fleetgauge.rollup.store.ledger import State
from fleetgauge.rollup.store.publish import publication
from fleetgauge.rollup.store.retention import let_go

log = structlog.get_logger(__name__)

_SPAN_ABOVE = timedelta(days=31)


@dataclass(frozen=True)
class _Look:
    """What a pass learns first."""

    horizon: Horizon
    begin: datetime | None
    touched: Touched
    cursor: Cursor
    """Where the next pass goes on, once this one is through."""
    complete: bool
    """Whether a pass has ever come to its end."""


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
        self._options = options or Options()
        self._watermark = watermark
        self._steps = Steps(definition, source, connect, self._options)
        self._report = PassReport(definition.metric, definition.version, "")

    def run(self, grain: Grain, interval: Span | None) -> PassReport:
        """Do what the ledger says is missing, and recompute `interval` besides. Blocks; raises `FleetgaugeError`."""
        self._report = PassReport(self._definition.metric, self._definition.version, grain)
        self._steps.tally = Tally()
        began, on_source = time.perf_counter(), self._source.seconds
        try:
            self._work(grain, interval)
            with self._steps.step() as (_, ledger):
                self._report = replace(
                    self._report,
                    closed_until=ledger.closed_until(),
                    blocked=tuple(Blocked(*b) for b in ledger.blocked()),
                )
        finally:
            tally = self._steps.tally
            self._report = replace(
                self._report,
                windows=tally.windows,
                cells=tally.cells,
                rows=tally.rows,
                restated=tally.restated,
                late_unapplied=tally.late_unapplied,
                conflicts=tally.conflicts,
                warnings=tuple(tally.warnings),
                seconds=round(time.perf_counter() - began, 3),
                source_seconds=round(self._source.seconds - on_source, 3),
            )
            self._steps.close()
        return self._report

    def _work(self, grain: Grain, interval: Span | None) -> None:
        try:
            if grain == "minute":
                self._minute(interval)
            else:
                self._upper(grain, interval)
        except Behind as error:
            self._defer(str(error))  # what was done until then stays

    @property
    def report(self) -> PassReport:
        """What is done so far; whole only when `run` has returned."""
        return self._report

    @property
    def steps(self) -> Steps:
        """The steps that it takes; for work that reads the source under the metric's lock."""
        return self._steps

    def restate(self, hours: Sequence[Span]) -> None:
        """Compute these hours anew from the source, closed or not."""
        look = self._begin()
        if look is not None:
            with self._steps.step() as (_, ledger):
                ages = ledger.state().ages
            frontier = self._steps.frontier(look.horizon)
            spans = [part for hour in hours for part in clip(hour, frontier)]
            self._spans(union(spans), look.horizon, ages, forced=True, restates=True)

    # --- minute ---------------------------------------------------------------------------------------------------

    def _minute(self, interval: Span | None) -> None:
        look = self._begin()
        if look is None:
            return
        frontier = self._steps.frontier(look.horizon)
        with self._steps.step() as (connection, ledger):
            ages = ledger.state().ages
            wanted = ledger.missing(frontier)
            placements.note(connection, self._definition, look.touched.rows)
            touched = {*look.touched.cells, *placements.known(connection, self._definition, look.touched.rows)}
        asked = [] if interval is None else clip(interval, frontier)
        changed = [part for span in look.touched.spans for part in clip(span, frontier)]
        cells, dense = self._sort_out(touched, [*wanted, *asked, *changed], frontier)
        changed = subtract(union([*changed, *dense]), [*wanted, *asked])
        self._spans(wanted, look.horizon, ages)
        self._spans(subtract(asked, wanted), look.horizon, ages, forced=True)
        self._spans(changed, look.horizon, ages, forced=True, restates=True)
        self._cells(cells, look.horizon, ages)
        self._finish(look)

    def _begin(self) -> _Look | None:
        """The first look, and with a metric's first pass what its history is. None: the source cannot say yet."""
        with self._steps.step() as (_, ledger):
            state = ledger.state()
        look = self._first_look(state)
        if look is None:
            self._defer(f"source {self._source.name} has shown no heartbeat yet")
        elif not state.begun:
            frontier = self._steps.frontier(look.horizon)
            with self._steps.step() as (connection, ledger):
                ledger.begin(min(look.begin or frontier, frontier), look.cursor, look.horizon.beat_at)
                let_go(connection, ledger, self._definition, look.horizon.at)
        return look

    def _defer(self, why: str) -> None:
        self._report = replace(self._report, deferred=why)
        log.warning("pass deferred", metric=self._definition.metric, reason=why)

    def _sort_out(
        self, cells: Collection[Cell], computed: Sequence[Span], frontier: datetime
    ) -> tuple[list[Cell], list[Span]]:
        """The cells that are not computed anyway; and as spans, hours with so many that they are read whole."""
        left = [cell for cell in cells if not inside(cell[0], computed)]
        hours = Counter(cell[0].replace(minute=0) for cell in left)
        dense = {hour for hour, n in hours.items() if n > self._options.dense and hour + HOUR <= frontier}
        spans = union((hour, hour + HOUR) for hour in dense)
        return [cell for cell in left if cell[0].replace(minute=0) not in dense], spans

    def _first_look(self, state: State) -> _Look | None:
        pace = self._pace(1)
        while True:
            try:
                return self._look(state)
            except Conflict as error:
                self._broke_off(pace, error)

    def _broke_off(self, pace: Pace, error: Conflict) -> None:
        """Count it, and wait; raises `error` when it was one too many."""
        self._steps.tally.conflicts += 1
        pace.failed(error)

    def _look(self, state: State) -> _Look | None:
        with self._source.look(self._definition) as facts:
            horizon = facts.horizon
            if horizon is None:
                return None
            self._steps.not_older(horizon, state.beat_at)
            begin = None if state.begun else facts.first_event()
            cursor = Cursor(horizon.at - self._options.overlap, facts.token)
            # Until a first pass is through, facts beyond the frontier may be older than any cursor.
            frontier = self._steps.frontier(horizon)
            touched = facts.touched(state.cursor or cursor, frontier, first=not state.complete)
        return _Look(horizon, begin, touched, cursor, complete=state.complete)

    def _spans(
        self, spans: Sequence[Span], horizon: Horizon, ages: Ages, *, forced: bool = False, restates: bool = False
    ) -> None:
        """Compute them at the finest grain that is kept; leaves alone what is frozen, unless it was never computed."""
        pace = self._pace(self._options.windows)
        for begin, end in ages.split(spans):
            grain = ages.grain(begin)
            if grain is None or (forced and ages.frozen(begin)):
                self._late(int((end - begin) / MINUTE) if restates else 0)
                continue
            if grain != "minute":
                with self._steps.step() as (_, ledger):
                    begin, end = ledger.widen((begin, end), grain)
            at = begin
            while at < end:
                upto = min(end, at + pace.size * MINUTE)
                if grain != "minute":
                    with self._steps.step() as (_, ledger):
                        upto = ledger.widen((at, upto), grain)[1]
                try:
                    read = self._steps.replace_span((at, upto), grain, horizon, forced=forced, restates=restates)
                except Conflict as error:
                    self._broke_off(pace, error)
                else:
                    pace.succeeded(read)
                    at = upto

    def _cells(self, cells: Sequence[Cell], horizon: Horizon, ages: Ages) -> None:
        pace = self._pace(self._options.cells)
        self._late(sum(ages.frozen(window) for window, _ in cells))
        kept = [cell for cell in cells if not ages.frozen(cell[0])]
        whole = {window for window, _ in kept if ages.grain(window) != "minute"}
        left = sorted(cell for cell in kept if cell[0] not in whole)  # neighbours share pages
        at = 0
        while at < len(left):
            batch = left[at : at + pace.size]
            try:
                whole |= self._steps.replace_cells(batch, horizon)
            except Conflict as error:
                self._broke_off(pace, error)
            else:
                at += len(batch)
                pace.succeeded(len(batch))
        self._spans(join(sorted(whole)), horizon, ages, forced=True)

    def _late(self, cells: int) -> None:
        if cells:
            with self._steps.step() as (_, ledger):
                ledger.late(cells)
            self._steps.tally.late_unapplied += cells

    def _finish(self, look: _Look) -> None:
        horizon = look.horizon
        watermark = horizon.at if self._watermark is None else min(horizon.at, self._watermark)
        with self._steps.step() as (connection, ledger):
            ledger.advance(look.cursor, horizon.beat_at, watermark - self._definition.grace)
            placements.settle(connection, self._definition, look.touched.rows)
            shown = publication(connection, self._definition)
            if shown.why is not None:
                said = f"version {self._definition.version} is filled, but not shown: {shown.why}"
                self._steps.tally.warnings.append(said)
                log.warning(said, metric=self._definition.metric)
        lag = (datetime.now(UTC) - horizon.at).total_seconds()
        self._report = replace(self._report, watermark=watermark, source_lag_s=round(lag, 3))

    # --- hour and day ---------------------------------------------------------------------------------------------

    def _upper(self, grain: Grain, interval: Span | None) -> None:
        with self._steps.step() as (_, ledger):
            ages = ledger.state().ages
            spans = ledger.missing_above(grain)
            if interval is not None:
                spans.append(ledger.widen(interval, grain))
        for begin, end in ages.split(spans):
            finest = ages.grain(begin)
            if finest is None or GRAINS.index(finest) >= GRAINS.index(grain):
                continue  # what it would be made from is let go; a minute pass reads such windows from the source
            at = begin
            while at < end:
                at = self._steps.rebuild((at, min(end, at + _SPAN_ABOVE)), grain)[1]

    def _pace(self, size: int) -> Pace:
        return Pace(size, self._options.rows_aimed, self._options.tries, self._options.pause_s)

"""One metric's work: look at ledger and source, plan, execute. Each once, and the parts do not call back."""

import time
from collections.abc import Callable
from datetime import datetime

import structlog

from fleetgauge.errors import Transient
from fleetgauge.progress.clock_samples import METRICS, Clocks
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.execute.delay import Delay, delay_of
from fleetgauge.rollup.execute.executor import Executor
from fleetgauge.rollup.execute.observe import Observer
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.execute.report import RunReport
from fleetgauge.rollup.execute.run_counts import RunCounts, Watch
from fleetgauge.rollup.execute.session import Connect, Reconnecting, Session
from fleetgauge.rollup.plan.clock_bounds import TOLERANCE, agreed
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import Plan, above, at_rest, plan
from fleetgauge.rollup.plan.request import BackfillRequest, Request, RunRequest
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.sources.port import Behind, Source
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.state_reader import read_outcome

log = structlog.get_logger(__name__)


class Engine:
    """Of one metric. Not thread-safe; two workers may each have their own on the same metric."""

    def __init__(
        self,
        definition: Definition,
        source: Source,
        connect: Connect,
        options: RunOptions | None = None,
        watch: Watch | None = None,
        session: Session | None = None,
    ) -> None:
        """`session`: the caller's, which stays open between its runs."""
        self.definition = definition
        self.source = source
        self.options = options or RunOptions()
        self.session = session or Session(definition, Reconnecting(connect), self.options)
        self._shared = session is not None
        self._watch = watch
        self._observer = Observer(definition, source, self.session, self.options)
        self.report = RunReport(definition.metric, definition.version, "")
        """What the last run has done so far; whole only when `run` has returned."""
        self.run_id: int | None = None
        """Its number in the run log, once it has one."""
        self._known: datetime | None = None
        """The source watermark of the run before; None before the first."""

    def close(self) -> None:
        """Give the writing connection back."""
        self.session.close()

    def run(
        self,
        grain: Grain,
        interval: Span | None = None,
        watermark: datetime | None = None,
        announce: Callable[[Plan], None] = lambda _: None,
    ) -> RunReport:
        """Do what the ledger says is missing, and recompute `interval` besides. Blocks; raises `FleetgaugeError`.

        `announce` is told the plan before it is executed.
        """
        report = self.report = RunReport(self.definition.metric, self.definition.version, grain)
        began, on_source = time.perf_counter(), self.source.seconds
        try:
            planned = self.plan(RunRequest(grain, interval, watermark))
            announce(planned)
            report.clock_skew_s = self._observer.skew_s
            if planned.refused:
                raise Transient(planned.deferred or "")
            report.deferred, report.watermark = planned.deferred, planned.closing_watermark
            report.source_lag_s = self._lag(planned.source_watermark)
            try:
                self.executor(planned, report).execute()
            except Behind as error:  # what was done until then stays
                report.deferred = str(error)
            else:
                report.delay = self._delay(planned)
            if report.deferred is not None:
                log.warning("run deferred", metric=self.definition.metric, reason=report.deferred)
            with self.session.reading() as connection:
                report.closed_until, report.blocked = read_outcome(connection, self.definition)
        finally:
            report.run = self.run_id
            report.conflicts += self._observer.conflicts
            report.seconds = round(time.perf_counter() - began, 3)
            report.source_seconds = round(self.source.seconds - on_source, 3)
            if not self._shared:
                self.close()
        return report

    def plan(self, request: Request) -> Plan:
        """What `request` comes to now. Blocks for one look at each side; raises `FleetgaugeError`."""
        if isinstance(request, RunRequest) and self.definition.finest != "minute":
            resting = at_rest(self.definition, self._observer.state(), request, self.clocks.now().get(METRICS))
            if resting is not None:
                return resting
        state, look = self.observe(request)
        self._known = None if state.cursor is None else state.cursor.at + self.options.overlap
        tolerance = self.options.tolerance or TOLERANCE
        return plan(self.definition, state, look, request, dense=self.options.dense, tolerance=tolerance)

    @property
    def clocks(self) -> Clocks:
        """What clocks have said so far."""
        return self._observer.clocks

    def observe(self, request: Request) -> tuple[State, Look | None]:
        """State and look from which `request` is planned; no look where only tables are read."""
        state = self._observer.state()
        if isinstance(request, RunRequest) and request.grain != "minute":
            return state, None
        if isinstance(request, BackfillRequest) and above(self.definition, request.grain):
            return state, None
        return state, self._observer.look(state, changes=isinstance(request, RunRequest))

    def executor(self, planned: Plan, tally: RunCounts | None = None) -> Executor:
        """Who executes it, and counts in `tally` what is done."""
        return Executor(
            self.definition,
            self.source,
            self.session,
            self.options,
            planned,
            self.clocks,
            self._watch,
            self.run_id,
            tally,
        )

    def _delay(self, planned: Plan) -> Delay | None:
        watermark, known, now = planned.source_watermark, planned.closing_watermark, agreed(self.clocks.now())
        if watermark is None or known is None or now is None:
            return None
        # Command attempts are as new as the events they are made of, not as the table that holds them.
        return delay_of(self._known, watermark, now + (watermark - known))

    def _lag(self, watermark: datetime | None) -> float | None:
        """Never negative: within the tolerance a source may be ahead."""
        now = agreed(self.clocks.now())
        if watermark is None or now is None:
            return None
        return max(0.0, round((now - watermark).total_seconds(), 3))

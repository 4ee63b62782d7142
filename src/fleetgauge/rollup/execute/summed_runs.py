"""The run log and the counts of runs in a loop: a row for each metric and hour in which it changed something.

A run every few seconds would fill the run log with rows that say nothing. So a row of the command `run --follow` is
begun by the first run that changes a table, tells the sum of all that follow, and is ended after an hour, by a failure,
or by the end of the loop. A run that changes nothing leaves none. Of failures in a row that say the same, one an hour
is written down.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.delay import Delay
from fleetgauge.rollup.execute.report import RunReport
from fleetgauge.rollup.execute.session import Reconnecting
from fleetgauge.rollup.plan.planner import Plan
from fleetgauge.rollup.plan.stages import Advance
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

SUMMED_S = 3600.0
"""How long one row goes on."""
TOLD_S = 10.0
"""How often counts, and what a row has come to, are written down."""
_SPANS = 1000
"""Stretches that are told one by one until they are merged."""


@dataclass
class _Metric:
    """What is not written down yet of one metric."""

    run: activity.Run | None = None
    begun: float = 0.0
    counts: dict[str, float] = field(default_factory=dict)
    states: dict[str, str | float | None] = field(default_factory=dict)
    told: dict[str, str | float | None] = field(default_factory=dict)
    """The states that are written down."""
    delays: list[Delay] = field(default_factory=list)
    failure: tuple[str, float] | None = None
    """The failure that was written down last, and when."""


class SummedRuns:
    """Of one process; over one connection, which is opened when first needed. Never raises; not thread-safe."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now = now
        self._metrics: dict[str, _Metric] = {}
        self._connection = Reconnecting(lambda: postgres.metrics(settings.metrics).connect("activity", session={}))
        self._told = now()

    def announce(self, plan: Plan) -> int | None:
        """A run is about to execute this; returns the number of its row, None if it changes nothing."""
        if all(isinstance(stage, Advance) for stage in plan.stages):
            return None
        one = self._of(plan.metric)
        if one.run is not None and one.run.version != plan.version:
            self._end(one)
        if one.run is None:
            one.run = activity.Run(
                self._settings, "run --follow", plan.metric, plan.version, "minute", shared=self._connection.connect
            )
            one.begun = self._now()
        return one.run.begin([plan])

    def take(self, report: RunReport, error: BaseException | None = None) -> None:
        """A run has ended so; `error` is what it has failed with."""
        one = self._of(report.metric)
        for name, n in activity.counts_of(report).items():
            one.counts[name] = one.counts.get(name, 0) + n
        one.states = activity.states_of(report)
        if report.delay is not None:
            one.delays.append(report.delay)
        if one.run is not None:
            one.run.add(report)
            if len(one.run.done.written) > _SPANS:
                one.run.done.written = activity.merged_spans(one.run.done.written)
            activity.take_outcome(one.run, report)
        if error is not None:
            self._failed(one, report, error)
        elif one.run is not None and self._now() - one.begun >= SUMMED_S:
            self._end(one)
        if report.error is None:
            one.failure = None

    def tell(self, *, at_once: bool = False) -> None:
        """Write down what has come together, if it is time or a metric's state has changed."""
        changed = [m for m in self._metrics.values() if _state(m.states) != _state(m.told)]
        if not (at_once or changed or self._now() - self._told >= TOLD_S):
            return
        self._told = self._now()
        try:
            with (
                postgres.metrics(self._settings.metrics).translated(),
                self._connection.connect().transaction() as transaction,
            ):
                for metric, one in self._metrics.items():
                    if one.counts or one.states != one.told:
                        activity.count(transaction.connection, metric, one.counts, one.states)
                    if one.delays:
                        activity.add_delays(transaction.connection, metric, one.delays)
        except FleetgaugeError as error:  # it is tried again, with what comes until then
            log.warning("what runs did was not counted", error=str(error))
            return
        for one in self._metrics.values():
            one.counts, one.told = {}, one.states
            one.delays.clear()
            if one.run is not None:
                one.run.tell()

    def interrupted(self, metric: str) -> None:
        """The run at work is broken off between two transactions."""
        one = self._of(metric)
        if one.run is not None:
            one.run.outcome = "interrupted"
            self._end(one)

    def close(self) -> None:
        """End all rows and close the connection."""
        self.tell(at_once=True)
        for one in self._metrics.values():
            self._end(one)
        self._connection.close()

    def _failed(self, one: _Metric, report: RunReport, error: BaseException) -> None:
        said = str(report.error)
        if one.run is None:
            known, at = one.failure or ("", 0.0)
            if known == said and self._now() - at < SUMMED_S:
                return
            one.run = activity.Run(
                self._settings, "run --follow", report.metric, report.version, "minute", shared=self._connection.connect
            )
        one.run.failed(error)
        one.failure = said, self._now()
        self._end(one)

    def _end(self, one: _Metric) -> None:
        if one.run is not None:
            one.run.end()
            one.run = None

    def _of(self, metric: str) -> _Metric:
        return self._metrics.setdefault(metric, _Metric())


def _state(states: dict[str, str | float | None]) -> tuple[str | float | None, ...]:
    """What is told at once when it changes."""
    return states.get("error"), states.get("deferred")

"""Compute a stretch of the past anew, whatever the ledger says: a local day at a time, on record, to be taken up again.

The record is `backfill_record`. What is frozen stays as it is.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from fleetgauge.errors import FleetgaugeError, Stop, Terminal, Transient
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.metrics_run import open_sources
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.execute.report import Severity, blocked_message, raise_worst, retried, severity
from fleetgauge.rollup.execute.run_counts import RunCounts
from fleetgauge.rollup.operating.backfill_record import BackfillOrder, BackfillRecord, Outline, recording
from fleetgauge.rollup.operating.estimate import facts_in
from fleetgauge.rollup.plan.describe import summary
from fleetgauge.rollup.plan.planner import Plan, above, plan
from fleetgauge.rollup.plan.request import BackfillRequest
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

_POLL_S = 1.0


@dataclass(frozen=True)
class Done:
    """One piece is computed."""

    metric: str
    piece: Span
    windows: int
    rows: int
    restated: int
    seconds: float
    left: timedelta
    """The time that is still to be computed, of this metric."""


@dataclass(frozen=True)
class ReplicaBehind:
    """A replica is behind; nothing is read until it has caught up."""

    metric: str
    lag: timedelta


def outline_backfill(
    settings: Settings,
    definitions: Iterable[Definition],
    order: BackfillOrder,
    streams: Mapping[str, EventStream] | None = None,
    options: RunOptions | None = None,
) -> list[Outline]:
    """What `backfill_metrics` would do, with the very plans. Changes nothing; asks each side some questions."""
    options = options or RunOptions.of(settings)
    found = []
    with open_sources(settings, streams, options.clock) as opened:
        for definition in definitions:
            source = opened(definition.source)
            engine = _engine(settings, definition, source, options)
            try:
                with recording(settings, definition, options) as record:
                    outline = _outline(engine, record, order)
            finally:
                engine.close()
            if not above(definition, order.grain):
                outline = replace(outline, facts=facts_in(source, definition, outline.pieces))
            found.append(outline)
    return found


def backfill_metrics(
    settings: Settings,
    definitions: Iterable[Definition],
    order: BackfillOrder,
    streams: Mapping[str, EventStream] | None = None,
    options: RunOptions | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Done | ReplicaBehind]:
    """Compute the order's span anew, one metric after the other; what is yielded tells how far it is.

    Whoever stops asking, dies or is interrupted leaves a record that the same order takes up. One metric's failure
    does not stop the others; in the end one error is raised that names all. Raises `Terminal` without a reason.
    """
    if not order.reason.strip():
        raise Terminal("a backfill needs a reason, which is kept with it; give --reason")
    options = options or RunOptions.of(settings)
    failures: list[tuple[Severity, str]] = []
    with open_sources(settings, streams, options.clock) as opened:
        for definition in definitions:
            try:
                engine = _engine(settings, definition, opened(definition.source), options)
                with (
                    activity.logged(settings, "backfill", definition.metric, definition.version, order.grain) as run,
                    recording(settings, definition, options) as record,
                ):
                    yield from _Work(settings, record, engine, order, sleep, run).through()
            except FleetgaugeError as error:
                failures.append((severity(error), f"metric {definition.metric}: {error}"))
    raise_worst(failures)


def _engine(settings: Settings, definition: Definition, source: Source, options: RunOptions) -> Engine:
    return Engine(definition, source, lambda: connect_metrics(settings.metrics, options), options)


def _outline(engine: Engine, record: BackfillRecord, order: BackfillOrder) -> Outline:
    """One look at both sides, and from it a plan for each piece."""
    state, look = engine.observe(BackfillRequest(order.span(engine.definition), order.grain))
    found = record.outline(order, state)
    pieces = reversed(found.pieces) if order.backwards else found.pieces
    plans = (plan(engine.definition, state, look, BackfillRequest(piece, order.grain)) for piece in pieces)
    return replace(found, plans=tuple(plans))


@dataclass(frozen=True)
class _Work:
    """One metric's backfill while it runs."""

    settings: Settings
    record: BackfillRecord
    engine: Engine
    order: BackfillOrder
    sleep: Callable[[float], None]
    run: activity.Run

    def through(self) -> Iterator[Done | ReplicaBehind]:
        """Do it."""
        self.record.begin(self.order)
        try:
            yield from self._pieces()
        except FleetgaugeError as error:
            self.record.failed(error)
            raise
        finally:
            self.engine.close()
        self.record.finished()
        if blocked := retried(self.record.blocked(self.order.span(self.record.definition))):
            self.run.outcome = "blocked"
            raise Terminal(blocked_message(blocked))

    def _pieces(self) -> Iterator[Done | ReplicaBehind]:
        yield from self._wait()
        outline = _outline(self.engine, self.record, self.order)
        self.engine.run_id = self.run.begin(outline.plans)
        source = self.engine.source
        left = sum((end - begin for begin, end in outline.pieces), timedelta())
        for planned in outline.plans:
            yield from self._wait()
            began, on_source = time.perf_counter(), source.seconds
            tally = self._execute(planned)
            piece = _piece(planned)
            self.record.done(piece)
            left -= piece[1] - piece[0]
            seconds = round(time.perf_counter() - began, 3)
            activity.record_backfill(
                self.settings, outline.metric, tally.windows, tally.conflicts, source.seconds - on_source
            )
            yield Done(outline.metric, piece, tally.windows, tally.rows, tally.restated, seconds, left)

    def _execute(self, planned: Plan) -> RunCounts:
        if planned.deferred is not None:
            cure = "" if planned.refused else "; let production write it (sql/source)"
            raise Transient(f"{planned.deferred}{cure}")
        log.info("plan", metric=planned.metric, **summary(planned))
        executor = self.engine.executor(planned)
        try:
            executor.execute()
        finally:
            self.run.add(executor.tally)
        return executor.tally

    def _wait(self) -> Iterator[ReplicaBehind]:
        limit = self.order.max_lag
        while limit is not None and not above(self.record.definition, self.order.grain):
            with self.engine.source.look(self.record.definition) as facts:
                source_watermark = facts.source_watermark
            lag = timedelta() if source_watermark is None else datetime.now(UTC) - source_watermark.heartbeat_at
            if lag <= limit:
                return
            yield ReplicaBehind(self.record.definition.metric, lag)
            self.sleep(_POLL_S)


def _piece(planned: Plan) -> Span:
    if not isinstance(planned.request, BackfillRequest):
        raise Stop("the plan of a backfill was asked for something else; this is a defect, report it")
    return planned.request.piece

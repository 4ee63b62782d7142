"""Runs of many metrics: what the pipeline, the DAGs and the CLI call."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import structlog

from fleetgauge.clock import Clock
from fleetgauge.errors import FleetgaugeError
from fleetgauge.observability.tracing import in_span
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.execute.report import RunReport, severity
from fleetgauge.rollup.execute.run_counts import Watch
from fleetgauge.rollup.execute.session import Reconnecting, Session
from fleetgauge.rollup.plan.describe import summary
from fleetgauge.rollup.plan.planner import Plan
from fleetgauge.rollup.sources.opened import open_source
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)


def run_metrics(
    settings: Settings,
    definitions: Iterable[Definition],
    grain: Grain,
    interval: Span | None = None,
    watermark: datetime | None = None,
    options: RunOptions | None = None,
    streams: Mapping[str, EventStream] | None = None,
    watch: Watch | None = None,
) -> list[RunReport]:
    """One run of each metric, one after the other; blocks until all are through.

    `minute` reads the sources, does all work that the ledger lists up to the source watermark, recomputes `interval`
    ([begin, end), aware) besides, and brings hours and days along. `hour` and `day` recompute their own interval from
    the grain below. `watermark` (UTC): windows close by it where it is earlier than the source watermark.
    `streams`: the sources that are documents in Elasticsearch. `watch` is told of progress. A metric that fails does
    not stop the others: look at `RunReport.error` or call `report.raise_failures`.
    """
    options = options or RunOptions.of(settings)
    reports: list[RunReport] = []
    with (
        open_sources(settings, streams, options.clock) as opened,
        closing(Reconnecting(lambda: connect_metrics(settings.metrics, options))) as metrics,
    ):
        for definition in definitions:
            metrics.clear()
            with (
                in_span("run", metric=definition.metric, version=definition.version, grain=grain) as traced,
                activity.logged(
                    settings, "run", definition.metric, definition.version, grain, shared=metrics.connect
                ) as run,
            ):
                report = _one(definition, grain, interval, watermark, options, opened, metrics, watch, run)
                activity.take_report(run, report)
                trace_report(traced, report)
            structlog.contextvars.unbind_contextvars("run")
            reports.append(report)
    return reports


def trace_report(traced: "Any | None", report: RunReport) -> None:
    """What a run did, on its span; nothing without one."""
    if traced is not None:
        for name in ("run", "windows", "cells", "rows", "restated", "deferred", "error"):
            if (value := getattr(report, name)) is not None:
                traced.set_attribute(f"fleetgauge.{name}", value)


@contextmanager
def open_sources(
    settings: Settings, streams: Mapping[str, EventStream] | None, clock: Clock | None = None
) -> Iterator[Callable[[str], Source]]:
    """Opens each source once, when it is first asked for. Garbage is collected seldom meanwhile."""
    sources: dict[str, Source] = {}

    def opened(name: str) -> Source:
        if name not in sources:
            sources[name] = open_source(settings, name, streams, clock)
        return sources[name]

    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 50)  # rows have no cycles, and walking a day's again and again takes a quarter longer
    try:
        yield opened
    finally:
        gc.set_threshold(*thresholds)
        for source in sources.values():
            source.close()


def _one(
    definition: Definition,
    grain: Grain,
    interval: Span | None,
    watermark: datetime | None,
    options: RunOptions,
    opened: Callable[[str], Source],
    metrics: Reconnecting,
    watch: Watch | None,
    run: activity.Run,
) -> RunReport:
    engine: Engine | None = None

    def announce(planned: Plan) -> None:
        if engine is not None:
            engine.run_id = run.begin([planned])
            structlog.contextvars.bind_contextvars(run=engine.run_id)
        log.info("plan", metric=planned.metric, **summary(planned))

    try:
        source = opened(definition.source)
        if grain == "minute" and definition.finest == "minute":  # others may not need it
            source.connect_ahead(definition)
        session = Session(definition, metrics, options)
        engine = Engine(definition, source, metrics.connect, options, watch, session)
        return engine.run(grain, interval, watermark, announce)
    except FleetgaugeError as error:
        run.failed(error)
        said, kind = str(error), severity(error)
        log.error("run failed", metric=definition.metric, grain=grain, error=said)
    except Exception as error:  # a fault of ours must not stop the other metrics either
        run.failed(error)
        said, kind = f"{type(error).__name__}: {error}", "stop"
        log.exception("run failed", metric=definition.metric, grain=grain)
    finally:
        if engine is not None:
            run.done = engine.report
    report = engine.report if engine else RunReport(definition.metric, definition.version, grain)
    report.error, report.severity = said, kind
    return report

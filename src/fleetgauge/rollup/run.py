"""Passes over many metrics: what the pipeline, the DAGs and the CLI call."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from fleetgauge.errors import FleetgaugeError
from fleetgauge.rollup.definition import Definition
from fleetgauge.rollup.engine import Pass
from fleetgauge.rollup.levels import Grain
from fleetgauge.rollup.options import Options, connect_metrics
from fleetgauge.rollup.report import PassReport, severity
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
    options: Options | None = None,
    streams: Mapping[str, EventStream] | None = None,
) -> list[PassReport]:
    """One pass over each metric, one after the other; blocks until all are through.

    `minute` reads the sources, does all work that the ledger lists up to the source's horizon, recomputes `interval`
    ([begin, end), aware) besides, and brings hours and days along. `hour` and `day` recompute their own interval from
    the grain below. `watermark` (UTC): windows close by it where it is earlier than the source's own horizon.
    `streams`: the sources that are documents in Elasticsearch. A metric that fails does not stop the others: look at
    `PassReport.error` or call `report.raise_failures`.
    """
    options = options or Options()
    sources: dict[str, Source] = {}
    reports: list[PassReport] = []
    try:
        for definition in definitions:
            reports.append(_one(settings, definition, grain, interval, watermark, options, sources, streams))
    finally:
        for source in sources.values():
            source.close()
    return reports


def _one(
    settings: Settings,
    definition: Definition,
    grain: Grain,
    interval: Span | None,
    watermark: datetime | None,
    options: Options,
    sources: dict[str, Source],
    streams: Mapping[str, EventStream] | None,
) -> PassReport:
    report = PassReport(definition.metric, definition.version, grain)
    one: Pass | None = None
    try:
        if definition.source not in sources:
            sources[definition.source] = open_source(settings, definition.source, streams)
        url = settings.metrics.url.get_secret_value()
        one = Pass(definition, sources[definition.source], lambda: connect_metrics(url, options), options, watermark)
        return one.run(grain, interval)
    except FleetgaugeError as error:
        said, kind = str(error), severity(error)
        log.error("pass failed", metric=definition.metric, grain=grain, error=said)
    except Exception as error:  # a fault of ours must not stop the other metrics either
        said, kind = f"{type(error).__name__}: {error}", "stop"
        log.exception("pass failed", metric=definition.metric, grain=grain)
    return replace(one.report if one else report, error=said, severity=kind)

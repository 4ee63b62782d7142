"""What the rollup exports to Prometheus, read anew from the metrics database at each scrape: runs are short-lived."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from typing import Any

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres import Connection, dict_row
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.loader import folders
from fleetgauge.rollup.execute.delay import BOUNDS
from fleetgauge.rollup.operating.attention import MetricStatus, forgotten, status_of
from fleetgauge.rollup.operating.conditions import CONDITIONS, HeldCondition, conditions
from fleetgauge.rollup.operating.exported_series import (
    AHEAD,
    BLOCKED,
    BLOCKED_CELLS,
    CLOCK_SKEW,
    CONDITION,
    COUNTED,
    DEFERRED,
    DELAY,
    FAILING,
    FROZEN,
    INVALID,
    LAG,
    LATE,
    LEFT_OUT,
    LIMIT,
    OVERDUE,
    PENDING,
    PRIMARY,
    RECONCILED,
    RESTATED,
    SOURCE_LAG,
    UNDEFINED,
    UP,
    VALUES,
    WAITING,
    Export,
)
from fleetgauge.rollup.operating.freshness import metric_freshness
from fleetgauge.rollup.operating.restatements import recent
from fleetgauge.rollup.store.unused import leftovers
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)


_MINUTES = """
SELECT late_unapplied,
    CASE WHEN NOT isempty(done) THEN (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r)) / 60), 0)::float8
     FROM unnest(tstzmultirange(tstzrange(lower(done), date_trunc('minute', clock_timestamp())))
         - done - unavailable) AS r)
    END AS pending,
    extract(epoch FROM greatest(
        (SELECT CASE WHEN count(k.kept_from) = count(*) THEN min(k.kept_from) END FROM fleetgauge.ledger AS k
         WHERE k.metric = l.metric AND k.version = l.version),
        fleetgauge.day_end(beat_at - %(source_kept)s::interval, %(zone)s)))::float8 AS frozen
FROM fleetgauge.ledger AS l WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'
"""


_DELAYS = "SELECT metric, at_most_s, seconds, sum_s FROM fleetgauge.delay ORDER BY metric, at_most_s"


@dataclass
class _Samples:
    """The families of one scrape."""

    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = field(default_factory=dict)
    histograms: list[HistogramMetricFamily] = field(default_factory=list)

    def add(self, export: Export, value: float | None, *labels: str) -> None:
        """One sample; none for what is not known."""
        if value is None:
            return
        if export.name not in self.families:
            kind = CounterMetricFamily if export.kind == "counter" else GaugeMetricFamily
            self.families[export.name] = kind(export.name, export.meaning, labels=export.labels)
        self.families[export.name].add_metric(labels, value)

    def delays(self, found: Mapping[str, Sequence[tuple[float, float, float]]]) -> None:
        """The histogram of delays: by metric, upper bound, seconds in that bucket alone, and sum."""
        family = HistogramMetricFamily(DELAY.name, DELAY.meaning, labels=DELAY.labels)
        for metric, rows in found.items():
            alone = {bound: n for bound, n, _ in rows}
            summed = list(accumulate(alone.get(bound, 0.0) for bound in BOUNDS))
            buckets = [(str(bound).replace("inf", "+Inf"), n) for bound, n in zip(BOUNDS, summed, strict=True)]
            family.add_metric([metric], buckets, sum(part for _, _, part in rows))
        if found:
            self.histograms.append(family)


class RollupCollector(Collector):
    """Reads ledger and activity at each scrape, by a connection of its own; scrapes may overlap."""

    def __init__(self, settings: Settings, definitions: Mapping[str, Definition], unread: Collection[str] = ()) -> None:
        """`unread`: metrics whose definition cannot be read."""
        self._settings = settings
        self._unread = tuple(sorted(unread))
        self._definitions = tuple(definitions.values())

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks no database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What is known now. Never raises: without the database the scrape says so, and what settings know."""
        samples = _Samples()
        for name, source in sorted(self._settings.sources.items()):
            samples.add(PRIMARY, float(source.allow_primary), name)
        for definition in self._definitions:
            samples.add(INVALID, 0.0, definition.metric)
        for metric in self._unread:
            samples.add(INVALID, 1.0, metric)
        try:
            found = _Samples()
            self._read(found)
        except FleetgaugeError as error:
            log.warning("the metrics database did not answer a scrape", error=str(error))
            samples.add(UP, 0.0)
        else:
            samples.add(UP, 1.0)
            samples.families |= found.families
            samples.histograms += found.histograms
        yield from (*samples.families.values(), *samples.histograms)

    def _read(self, samples: _Samples) -> None:
        with postgres.metrics(self._settings.metrics).session("exporter", statement_timeout="10s") as connection:
            tolerance = timedelta(seconds=self._settings.clocks.tolerance_s)
            for definition in self._definitions:
                _ledger(connection, definition, samples, tolerance)
            known = {definition.metric: definition for definition in self._definitions}
            for one in leftovers(connection, known, folders(self._settings.content)):
                samples.add(UNDEFINED, 1.0, one.name)
            for _, status in forgotten(connection, known, folders(self._settings.content)):
                _conditions(status.metric, conditions(status), samples)
            for metric in self._unread:
                _conditions(metric, conditions(MetricStatus(metric, unread="see fleetgauge lint")), samples)
            restated = recent(connection, self._definitions)
            for metric in known:
                samples.add(RESTATED, restated.get(metric, 0), metric)
            with connection.cursor(row_factory=dict_row) as cursor:
                for row in cursor.execute("SELECT * FROM fleetgauge.activity ORDER BY metric"):
                    if row["metric"] in known:
                        _activity(row, samples)
            delays: dict[str, list[tuple[float, float, float]]] = {}
            for metric, *of_bucket in connection.execute(_DELAYS):
                if metric in known:
                    delays.setdefault(metric, []).append((of_bucket[0], of_bucket[1], of_bucket[2]))
            samples.delays(delays)


def _ledger(connection: Connection[Any], definition: Definition, samples: _Samples, tolerance: timedelta) -> None:
    status = status_of(connection, definition)
    held = conditions(status)
    for grain in definition.grains:
        found = metric_freshness(connection, definition, grain, held, tolerance=tolerance)
        if found.behind is not None and found.overdue is not None:
            samples.add(AHEAD, found.ahead.total_seconds() if found.ahead else 0.0, definition.metric, grain)
            samples.add(LAG, found.behind.total_seconds(), definition.metric, grain)
            samples.add(OVERDUE, found.overdue.total_seconds(), definition.metric, grain)
    samples.add(BLOCKED, len({one.window_start for one in status.blocked}), definition.metric)
    samples.add(BLOCKED_CELLS, len(status.blocked), definition.metric)
    _conditions(definition.metric, held, samples)
    samples.add(UNDEFINED, 0.0, definition.metric)
    samples.add(WAITING, float(status.waiting is not None), definition.metric)
    for omission in status.omissions:
        samples.add(LEFT_OUT, omission.count, definition.metric, omission.reason)
    for filling in status.fillings:
        samples.add(VALUES, filling.values, definition.metric, filling.dimension)
        samples.add(LIMIT, filling.limit, definition.metric, filling.dimension)
    row = connection.execute(
        _MINUTES,
        {
            "metric": definition.metric,
            "version": definition.version,
            "zone": definition.time_zone,
            "source_kept": definition.source_kept,
        },
    ).fetchone()
    if row is not None:
        late, pending, frozen = row
        samples.add(LATE, late, definition.metric)
        samples.add(PENDING, pending, definition.metric)
        samples.add(FROZEN, frozen, definition.metric)


def _conditions(metric: str, held: Iterable[HeldCondition], samples: _Samples) -> None:
    counts = {one.condition.name: one.count for one in held}
    for condition in CONDITIONS:
        samples.add(CONDITION, counts.get(condition.name, 0), metric, condition.name)


def _activity(row: Mapping[str, Any], samples: _Samples) -> None:
    metric = row["metric"]
    for export in (SOURCE_LAG, CLOCK_SKEW, *COUNTED):
        samples.add(export, row[export.column or ""], metric)
    if row["reconciled_at"] is not None:
        samples.add(RECONCILED, row["reconciled_at"].timestamp(), metric)
    samples.add(FAILING, float(row["error"] is not None), metric)
    samples.add(DEFERRED, float(row["deferred"] is not None), metric)

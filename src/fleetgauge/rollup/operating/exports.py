"""What the rollup exports to Prometheus, read anew from the metrics database at each scrape: runs are short-lived.

`CATALOGUE` is the one list; the documentation is made from it: `python -m fleetgauge.rollup.operating.exports
docs/operating-rollups.md` renews it.
"""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

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
from fleetgauge.rollup.operating.freshness import metric_freshness
from fleetgauge.rollup.operating.restatements import recent
from fleetgauge.rollup.store.unused import leftovers
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Export:
    """One metric: what it means and what to do about it."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    meaning: str
    labels: tuple[str, ...] = ("metric",)
    column: str | None = None
    """Of `fleetgauge.activity`, where it comes from there."""

    @property
    def samples(self) -> dict[str, frozenset[str]]:
        """The samples that a scrape has of it → their labels."""
        labels = frozenset(self.labels)
        if self.kind != "histogram":
            return {self.name: labels}
        parts = {f"{self.name}_{part}": labels for part in ("count", "sum")}
        return parts | {f"{self.name}_bucket": labels | {"le"}}


UP = Export("gauge", "fleetgauge_exporter_up", "1 when the metrics database answered this scrape, else 0.", ())
LAG = Export(
    "gauge",
    "fleetgauge_rollup_lag_seconds",
    "Now minus the end of what is final. Of hours and days it grows as long as their window lasts.",
    ("metric", "grain"),
)
OVERDUE = Export(
    "gauge",
    "fleetgauge_rollup_overdue_seconds",
    "How long the next window could have been final: alert on this one, at any grain.",
    ("metric", "grain"),
)
PENDING = Export(
    "gauge",
    "fleetgauge_rollup_pending_minutes",
    "Minutes up to now that are not computed. Growing: no run, or runs that do not keep up.",
)
LEFT_OUT = Export(
    "gauge",
    "fleetgauge_rollup_left_out_rows",
    "Rows of the source that are in no number: a value is not finite, too large, or no time of a fleet. Should be 0.",
    ("metric", "reason"),
)
VALUES = Export(
    "gauge",
    "fleetgauge_dimension_values",
    "Distinct values of a dimension, each with rows of its own.",
    ("metric", "dimension"),
)
LIMIT = Export(
    "gauge",
    "fleetgauge_dimension_limit",
    "How many values may be: alert from 80 % of it on, for further ones are counted together.",
    ("metric", "dimension"),
)
BLOCKED = Export(
    "gauge",
    "fleetgauge_rollup_blocked_windows",
    "Minutes that keep old rows, since the new ones broke a check. Any: correct source or check.",
)
BLOCKED_CELLS = Export(
    "gauge", "fleetgauge_rollup_blocked_cells", "Cells (window and dimension values) that keep old rows so."
)
CONDITION = Export(
    "gauge",
    "fleetgauge_rollup_condition",
    "How often what `freshness` tells beside lateness holds: see the conditions below. Should be 0.",
    ("metric", "condition"),
)
LATE = Export(
    "counter",
    "fleetgauge_rollup_late_unapplied_total",
    "Touched cells that could not be computed anew, since their source or their rows have expired.",
)
FROZEN = Export(
    "gauge",
    "fleetgauge_rollup_frozen_before_timestamp_seconds",
    "What is older stays as it is, since its source or its rows have expired. Absent: nothing is.",
)
INVALID = Export(
    "gauge",
    "fleetgauge_definition_invalid",
    "1 for a metric whose definition could not be read when the exporter began: it is not computed. Should be 0.",
)
PRIMARY = Export(
    "gauge",
    "fleetgauge_source_primary",
    "1 where the settings let a run read a server that is not a standby (allow_primary). Should be 0.",
    ("source",),
)
SOURCE_LAG = Export(
    "gauge",
    "fleetgauge_source_lag_seconds",
    "How far the source watermark was behind at the last run.",
    column="source_lag_s",
)
CLOCK_SKEW = Export(
    "gauge",
    "fleetgauge_clock_skew_seconds",
    "How far the clocks of worker, metrics database and replica were apart at the last run. Over 10: see NTP.",
    column="clock_skew_s",
)
AHEAD = Export(
    "gauge",
    "fleetgauge_rollup_ahead_seconds",
    "How far the future is called computed or final, since a clock was wrong. Should be 0; a run heals it.",
    ("metric", "grain"),
)
FAILING = Export("gauge", "fleetgauge_rollup_failing", "1 when the last run failed; its task's log says why.")
DEFERRED = Export("gauge", "fleetgauge_rollup_deferred", "1 when the last run was put off: its source is behind.")
WAITING = Export(
    "gauge",
    "fleetgauge_rollup_waiting",
    "1 while the views do not show the version that runs compute; freshness and doctor say why. For longer than a fill "
    "takes: look.",
)
UNDEFINED = Export(
    "gauge",
    "fleetgauge_rollup_undefined",
    "1 for each metric, and each view, that no definition makes any more: it shows the same for ever; 0 for others. "
    "fleetgauge metrics drop drops it.",
)
RESTATED = Export(
    "gauge",
    "fleetgauge_rollup_restatements_last_day",
    "Values at any grain that changed in the last day though their window was final; fleetgauge restatements lists "
    "them.",
)
DELAY = Export(
    "histogram",
    "fleetgauge_rollup_delay_seconds",
    "From the commit on the primary, or the append in Kafka, until the number can be read: an upper bound, measured by "
    "heartbeat. One observation for each second of the source's time, whether or not something changed in it.",
)
COUNTED = (
    Export("counter", "fleetgauge_rollup_runs_total", "Runs.", column="runs"),
    Export("counter", "fleetgauge_rollup_failures_total", "Runs that failed.", column="failures"),
    Export("counter", "fleetgauge_rollup_deferrals_total", "Runs that were put off.", column="deferrals"),
    Export(
        "counter",
        "fleetgauge_rollup_windows_total",
        "Windows computed as a whole, by runs and backfills.",
        column="windows",
    ),
    Export("counter", "fleetgauge_rollup_cells_total", "Touched cells computed anew.", column="cells"),
    Export(
        "counter",
        "fleetgauge_rollup_restated_total",
        "Cells that changed though their window was final. Many: lengthen grace.",
        column="restated",
    ),
    Export(
        "counter",
        "fleetgauge_rollup_conflicts_total",
        "Times that the source broke off: conflicts with recovery, time-outs, lost connections.",
        column="conflicts",
    ),
    Export(
        "counter",
        "fleetgauge_source_query_seconds_total",
        "Time in transactions on the source.",
        column="source_seconds",
    ),
    Export("counter", "fleetgauge_reconcile_hours_total", "Hours compared with their source.", column="reconciled"),
    Export(
        "counter",
        "fleetgauge_reconcile_differed_total",
        "Hours that differed and were computed anew. Any: rows are deleted, or change without their change column.",
        column="differed",
    ),
)
_GAUGES = (
    UP,
    INVALID,
    LAG,
    OVERDUE,
    PENDING,
    LEFT_OUT,
    VALUES,
    LIMIT,
    BLOCKED,
    BLOCKED_CELLS,
    CONDITION,
    LATE,
    FROZEN,
    PRIMARY,
    SOURCE_LAG,
    CLOCK_SKEW,
    AHEAD,
    FAILING,
    DEFERRED,
    WAITING,
    UNDEFINED,
    RESTATED,
    DELAY,
)
CATALOGUE = (*_GAUGES, *COUNTED)

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
    samples.add(FAILING, float(row["error"] is not None), metric)
    samples.add(DEFERRED, float(row["deferred"] is not None), metric)


def catalogue() -> str:
    """The table of metrics."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for export in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in export.labels)
        rows.append(f"| `{export.name}` | {export.kind} | {labels} | {export.meaning} |")
    rows += ["", "| condition | `freshness` | meaning | what to do |", "| --- | --- | --- | --- |"]
    rows += [f"| `{one.name}` | {one.verdict} | {one.meaning} | {one.remedy} |" for one in CONDITIONS]
    return "\n".join(rows)


def renewed(page: str) -> str:
    """The page with the table as it is now."""
    return re.sub(
        r"(<!-- metrics -->\n).*?(<!-- /metrics -->)",
        lambda match: f"{match[1]}{catalogue()}\n{match[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text("utf-8")), "utf-8")

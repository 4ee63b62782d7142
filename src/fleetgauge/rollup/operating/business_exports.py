"""Business numbers for Prometheus: what the definitions' `export:` says, over final windows, read from the views.

A scrape asks the database at most once a minute; between, it tells what was read last, and until when that is true.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.gauge_exports import QUANTILES, GaugeExport, level_of
from fleetgauge.rollup.definitions.measures import Extreme, Measure, Percentile, Ratio
from fleetgauge.rollup.labels import OTHER
from fleetgauge.rollup.operating.freshness import metric_freshness
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

PREFIX = "fleetgauge_business_"
UNTIL = "fleetgauge_business_until_timestamp_seconds"
OVERFLOW = "fleetgauge_business_overflow"
MEANINGS = {
    UNTIL: "End of the newest final window that the numbers of this metric over this span hold.",
    OVERFLOW: "Combinations of values beyond the limit of series, counted together as other. Should be 0.",
}
CACHED_S = 60.0
_Families = dict[str, GaugeMetricFamily]
_Spans = dict[str, tuple[datetime, int]]
"""`over` → where it ends, and how many combinations are counted together at most, of a metric's exports over it."""


def series_names(definition: Definition) -> dict[str, frozenset[str]]:
    """The gauges that a definition exports → their labels."""
    found: dict[str, frozenset[str]] = {}
    for one in definition.export:
        for name in one.measures:
            own = {"quantile"} if isinstance(definition.measures[name], Percentile) else set()
            found[f"{PREFIX}{definition.metric}_{name}"] = frozenset({*one.by, "over"} | own)
    return found


class BusinessCollector(Collector):
    """Reads by a connection of its own. Thread-safe; while one scrape reads, others wait for it."""

    def __init__(
        self,
        settings: Settings,
        definitions: Mapping[str, Definition],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._definitions = tuple(one for one in definitions.values() if one.export)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._families: list[GaugeMetricFamily] = []

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks no database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What was read within the last minute. Never raises; what cannot be read is left out, never an old number."""
        if not self._definitions:
            return
        with self._lock:
            now = self._monotonic()
            if self._read_at is None or now - self._read_at >= CACHED_S:
                self._families = self._read()
                self._read_at = now
            families = self._families
        yield from families

    def _read(self) -> list[GaugeMetricFamily]:
        found: _Families = {}
        for definition in self._definitions:
            try:
                with postgres.metrics(self._settings.metrics).session(
                    "exporter", statement_timeout="10s"
                ) as connection:
                    spans: _Spans = {}
                    for one in definition.export:
                        _add(connection, definition, one, found, spans)
                    for over, (until, beyond) in spans.items():
                        labels = {"metric": definition.metric, "over": over}
                        _sample(found, UNTIL, labels, until.timestamp())
                        _sample(found, OVERFLOW, labels, beyond)
            except FleetgaugeError as error:
                log.warning("business numbers cannot be read", metric=definition.metric, error=str(error))
        return list(found.values())


def _add(
    connection: Connection[Any], definition: Definition, export: GaugeExport, found: _Families, spans: _Spans
) -> None:
    level = level_of(export, definition.levels)
    if level is None:
        return
    until = metric_freshness(connection, definition, level.grain, ()).closed_until
    view = sql.Identifier("metrics", definition.view(level))
    if until is None or connection.execute("SELECT to_regclass(%s)", [view.as_string()]).fetchone() == (None,):
        return  # nothing is final yet
    rows = connection.execute(
        statement(definition, export, view), {"since": until - export.over, "until": until, "other": OTHER}
    ).fetchall()
    over = export.said_over
    beyond = max(0, max((row[0] for row in rows), default=0) - export.limit)
    known_until, known_beyond = spans.get(over, (until, 0))
    spans[over] = min(until, known_until), max(beyond, known_beyond)
    for _, *row in rows:
        labels = dict(zip(export.by, row[: len(export.by)], strict=True)) | {"over": over}
        values = iter(row[len(export.by) :])
        for name in export.measures:
            gauge = f"{PREFIX}{definition.metric}_{name}"
            if isinstance(definition.measures[name], Percentile):
                for quantile in QUANTILES:
                    _sample(found, gauge, labels | {"quantile": str(quantile)}, next(values))
            else:
                _sample(found, gauge, labels, next(values))


def _sample(found: dict[str, GaugeMetricFamily], name: str, labels: Mapping[str, str], value: Any) -> None:
    if value is None:  # kept back, or unknown: no number is better than a part of it
        return
    if name not in found:
        meaning = MEANINGS.get(name, "See export: of its metric.yaml.")
        found[name] = GaugeMetricFamily(name, meaning, labels=tuple(labels))
    found[name].add_metric(tuple(labels.values()), float(value))


def statement(definition: Definition, export: GaugeExport, view: sql.Identifier) -> sql.Composed:
    """Rank of a group by the first measure, its dimensions, its measures; groups beyond the limit are one."""
    columns = sql.SQL(", ").join(c for name in export.measures for c in _over_rows(name, definition.measures[name]))
    if not export.by:
        return sql.SQL(
            "SELECT 1, {columns} FROM {view} WHERE window_start >= %(since)s AND window_start < %(until)s"
        ).format(columns=columns, view=view)
    by = [sql.Identifier(name) for name in export.by]
    return sql.SQL(
        "WITH cells AS (SELECT * FROM {view} WHERE window_start >= %(since)s AND window_start < %(until)s),"
        " ranked AS (SELECT {by}, row_number() OVER (ORDER BY {first} DESC NULLS LAST, {by}) AS _rank"
        " FROM cells GROUP BY {by})"
        " SELECT max(_rank), {shown}, {columns} FROM cells JOIN ranked USING ({by}) GROUP BY {groups}"
    ).format(
        view=view,
        by=sql.SQL(", ").join(by),
        first=next(iter(_over_rows(export.measures[0], definition.measures[export.measures[0]]))),
        shown=sql.SQL(", ").join(
            sql.SQL("CASE WHEN _rank <= {limit} THEN {name} ELSE %(other)s END").format(
                limit=sql.Literal(export.limit), name=name
            )
            for name in by
        ),
        columns=columns,
        groups=sql.SQL(", ").join(sql.SQL(str(number)) for number in range(2, len(by) + 2)),
    )


def _over_rows(name: str, measure: Measure) -> Iterator[sql.Composable]:
    """SQL over cells. NULL where a cell does not say its number (kept back, or of a version without it): a part is
    never shown as the whole. No cell at all is 0 of what is counted."""
    match measure:
        case Percentile():
            for quantile in QUANTILES:
                yield sql.SQL("fleetgauge.quantile(fleetgauge.sketch_merge({}), {})").format(
                    sql.Identifier(name), sql.Literal(quantile)
                )
        case Extreme(agg=agg):
            yield sql.SQL("{}({})").format(sql.SQL(agg), sql.Identifier(name))
        case Ratio(numerator=numerator, denominator=denominator):
            yield sql.SQL("({})::float8 / nullif({}, 0)").format(_sum(numerator), _sum(denominator))
        case _:
            yield _sum(name)


def _sum(name: str) -> sql.Composed:
    return sql.SQL("CASE WHEN count({0}) = count(*) THEN coalesce(sum({0}), 0) END").format(sql.Identifier(name))

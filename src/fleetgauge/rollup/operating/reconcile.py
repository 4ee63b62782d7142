"""Counts, sums and durations of whole hours, source against tables: finds what no change column tells of.

A hard delete, a row that was changed without its change column, a fault of ours: an hour that differs is computed anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from psycopg import sql

from fleetgauge.errors import FleetgaugeError
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Additive
from fleetgauge.rollup.options import Options, connect_metrics
from fleetgauge.rollup.passes import activity
from fleetgauge.rollup.passes.engine import Pass
from fleetgauge.rollup.passes.report import Severity, plain, severity
from fleetgauge.rollup.passes.run import open_sources
from fleetgauge.rollup.passes.steps import Steps
from fleetgauge.rollup.sources.port import Source, Touched
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span, inside
from fleetgauge.rollup.store.dimensions import Admission
from fleetgauge.rollup.store.tables import table
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

Key = tuple[datetime, tuple[str, ...]]
"""An hour's start (UTC) and the values of the dimensions as they are stored."""

_PIECE = timedelta(days=1)
_SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One hour and one combination of dimension values whose numbers do not agree."""

    window_start: datetime
    dimensions: Mapping[str, str]
    measure: str
    stored: Decimal
    source: Decimal


@dataclass(frozen=True)
class Reconciliation:
    """What comparing a metric found."""

    metric: str
    hours: int = 0
    """Hours compared: those that are computed, and whose source and rows are still kept."""
    different: int = 0
    """Hours of them that differed."""
    restated: bool = False
    """Whether they were computed anew."""
    differences: tuple[Difference, ...] = ()
    """The first of them."""
    error: str | None = None
    severity: Severity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def reconcile_metrics(
    settings: Settings,
    definitions: Iterable[Definition],
    span: Span,
    *,
    dry_run: bool = False,
    options: Options | None = None,
    streams: Mapping[str, EventStream] | None = None,
) -> list[Reconciliation]:
    """Compare every metric's hours in `span` (aware) with its source, one metric after the other; blocks.

    Hours that differ are computed anew unless it is a dry run. One metric's failure does not stop the others.
    """
    options = options or Options()
    url = settings.metrics.url.get_secret_value()
    found: list[Reconciliation] = []
    with open_sources(settings, streams) as opened:
        for definition in definitions:
            try:
                source = opened(definition.source)
                one = Pass(definition, source, lambda: connect_metrics(url, options), options)
                report = reconcile(one, definition, source, span, dry_run=dry_run)
            except FleetgaugeError as error:
                report = Reconciliation(definition.metric, error=str(error), severity=severity(error))
            if not dry_run:
                activity.record_reconciliation(settings, report.metric, report.hours, report.different)
            found.append(report)
    return found


def reconcile(one: Pass, definition: Definition, source: Source, span: Span, *, dry_run: bool) -> Reconciliation:
    """Compare the hours of `span` (aware instants), day by day; restate those that differ unless it is a dry run.

    What has changed since the last pass is left to the next one. Blocks. What fails is told in the report.
    """
    found = Reconciliation(definition.metric, restated=not dry_run)
    try:
        for piece in _pieces(span):
            hours, differences = _compare(one.steps, definition, source, piece)
            wrong = sorted({difference.window_start for difference in differences})
            found = replace(
                found,
                hours=found.hours + len(hours),
                different=found.different + len(wrong),
                differences=(*found.differences, *differences)[:_SHOWN],
            )
            if wrong and not dry_run:
                log.warning("hours differ from their source", metric=definition.metric, hours=len(wrong))
                one.restate([hour for hour in hours if hour[0] in wrong])
    except FleetgaugeError as error:
        found = replace(found, error=str(error), severity=severity(error))
    finally:
        one.steps.close()
    return found


def _pieces(span: Span) -> Iterator[Span]:
    at = span[0]
    while at < span[1]:
        yield at, min(span[1], at + _PIECE)
        at += _PIECE


def _compare(steps: Steps, definition: Definition, source: Source, span: Span) -> tuple[list[Span], list[Difference]]:
    """The hours that can be compared, and what differs in them."""
    with steps.step() as (connection, ledger):
        state = ledger.state()
        hours = ledger.hours(span)
        done = {begin for begin, _ in ledger.hours(span, done=True) if not state.ages.frozen(begin)}
        if not done or state.cursor is None:
            return [], []
        edges = [hours[0][0], *(end for _, end in hours)]
        with source.look(definition) as facts:
            if facts.horizon is None:
                return [], []
            steps.not_older(facts.horizon, state.beat_at)
            pending = facts.touched(state.cursor, steps.frontier(facts.horizon), first=False)
            totals = facts.totals(edges)
        fit = [h for h in hours if h[0] in done and not _concerns(pending, h)]
        stored = connection.execute(_stored(definition), {"begin": edges[0], "end": edges[-1]}).fetchall()
        admission = Admission(definition, ledger.admitted())
    n = len(definition.dimensions)
    at_source = _added(((edges[row[0]], admission.place(row[1 : n + 1])), row[n + 1 :]) for row in totals)
    in_tables = _added(((row[0], row[1 : n + 1]), row[n + 1 :]) for row in stored)
    compared = {begin for begin, _ in fit}
    return fit, [d for d in _differences(definition, in_tables, at_source) if d.window_start in compared]


def _concerns(pending: Touched, hour: Span) -> bool:
    """Whether the next pass will change something of the hour anyway."""
    return any(begin < hour[1] and hour[0] < end for begin, end in pending.spans) or any(
        inside(cell[0], [hour]) for cell in pending.cells
    )


def _stored(definition: Definition) -> sql.Composed:
    columns = ["window_start", *definition.dimensions, *_names(definition)]
    return sql.SQL("SELECT {} FROM {} WHERE window_start >= %(begin)s AND window_start < %(end)s").format(
        sql.SQL(", ").join(sql.Identifier(name) for name in columns), table(definition, definition.levels[1])
    )


def _names(definition: Definition) -> list[str]:
    return [c.name for c in definition.columns if isinstance(c.measure, Additive)]


def _added(rows: Iterable[tuple[Key, Sequence[Any]]]) -> dict[Key, list[Decimal]]:
    """Values by key; several rows of one key, such as those within `other`, are one."""
    found: dict[Key, list[Decimal]] = {}
    for key, values in rows:
        before = found.get(key)
        found[key] = [Decimal(v) + b for v, b in zip(values, before or [Decimal(0)] * len(values), strict=True)]
    return found


def _differences(
    definition: Definition, stored: Mapping[Key, list[Decimal]], at_source: Mapping[Key, list[Decimal]]
) -> Iterator[Difference]:
    """A key that one side lacks counts as zeros."""
    names = _names(definition)
    nothing = [Decimal(0)] * len(names)
    for key in sorted({*stored, *at_source}):
        for name, ours, theirs in zip(names, stored.get(key, nothing), at_source.get(key, nothing), strict=True):
            if ours != theirs:
                yield Difference(key[0], dict(zip(definition.dimensions, key[1], strict=True)), name, ours, theirs)

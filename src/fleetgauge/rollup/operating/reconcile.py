"""Counts, sums and durations of whole hours, source against tables: finds what no change column tells of.

A hard delete, a row that was changed without its change column, a fault of ours: an hour that differs is computed anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from fleetgauge.errors import FleetgaugeError, Transient
from fleetgauge.postgres import sql
from fleetgauge.progress.clocks import METRICS
from fleetgauge.rollup.definitions.admission import Admission
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Additive
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.evidence import now, unbelievable
from fleetgauge.rollup.execute.metrics_run import open_sources
from fleetgauge.rollup.execute.options import Options, connect_metrics
from fleetgauge.rollup.execute.report import Severity, plain, severity
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import Plan, behind, computing_watermark, plan
from fleetgauge.rollup.plan.request import ReconcileRequest
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.plan.told import to_dict
from fleetgauge.rollup.sources.port import Behind
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span, covers, inside
from fleetgauge.rollup.store.state_reader import read_state
from fleetgauge.rollup.store.tables import table
from fleetgauge.rollup.values import Touched
from fleetgauge.rollup.windows import hours as hours_of
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
    plans: tuple[Plan, ...] = ()
    """What was executed for them; with a dry run, what would be."""
    error: str | None = None
    severity: Severity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found: dict[str, Any] = plain(asdict(replace(self, plans=())))
        return found | {"plans": [to_dict(one) for one in self.plans]}


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
    options = options or Options.of(settings)
    url = settings.metrics.url.get_secret_value()
    found: list[Reconciliation] = []
    with open_sources(settings, streams, options.clock) as opened:
        for definition in definitions:
            try:
                engine = Engine(definition, opened(definition.source), lambda: connect_metrics(url, options), options)
                report = reconcile(engine, span, dry_run=dry_run)
            except FleetgaugeError as error:
                report = Reconciliation(definition.metric, error=str(error), severity=severity(error))
            if not dry_run:
                activity.record_reconciliation(settings, report.metric, report.hours, report.different)
            found.append(report)
    return found


def reconcile(engine: Engine, span: Span, *, dry_run: bool) -> Reconciliation:
    """Compare the hours of `span` (aware instants), day by day; restate those that differ unless it is a dry run.

    What has changed since the last run is left to the next one. Blocks. What fails is told in the report.
    """
    definition = engine.definition
    found = Reconciliation(definition.metric, restated=not dry_run)
    try:
        for piece in _pieces(span):
            compared = _compare(engine, piece)
            wrong = {difference.window_start for difference in compared.differences}
            found = replace(
                found,
                hours=found.hours + len(compared.hours),
                different=found.different + len(wrong),
                differences=(*found.differences, *compared.differences)[:_SHOWN],
            )
            if not wrong or compared.look is None:
                continue
            request = ReconcileRequest(tuple(hour for hour in compared.hours if hour[0] in wrong))
            planned = plan(definition, compared.state, compared.look, request)
            found = replace(found, plans=(*found.plans, planned))
            if not dry_run:
                log.warning("hours differ from their source", metric=definition.metric, hours=len(wrong))
                engine.executor(planned).execute()
    except FleetgaugeError as error:
        found = replace(found, error=str(error), severity=severity(error))
    finally:
        engine.close()
    return found


def _pieces(span: Span) -> Iterator[Span]:
    at = span[0]
    while at < span[1]:
        yield at, min(span[1], at + _PIECE)
        at += _PIECE


@dataclass(frozen=True)
class _Compared:
    """What comparing one piece found, and what it was seen with."""

    state: State
    look: Look | None = None
    hours: Sequence[Span] = ()
    """Those that can be compared."""
    differences: Sequence[Difference] = ()


def _compare(engine: Engine, span: Span) -> _Compared:
    definition, source = engine.definition, engine.source
    with engine.session.locked() as connection:
        state = read_state(connection, definition)
        hours = hours_of(span, definition.time_zone)
        computed = covers(state.done["hour"])
        done = {begin for begin, _ in hours if computed(begin) and not state.ages.frozen(begin)}
        if not done or state.cursor is None:
            return _Compared(state)
        edges = [hours[0][0], *(end for _, end in hours)]
        with source.look(definition) as facts:
            if facts.horizon is None:
                return _Compared(state)
            engine.clocks.note(METRICS, now(connection))
            refused = unbelievable(engine.clocks, source.name, facts.horizon, engine.options)
            if refused is not None:
                raise Transient(refused)
            look = Look(source.name, facts.horizon.at, facts.horizon.beat_at)
            older = behind(source.name, facts.horizon.beat_at, state.heartbeat_at)
            if older is not None:
                raise Behind(older)
            pending = facts.touched(state.cursor, computing_watermark(definition, facts.horizon.at), first=False)
            totals = facts.totals(edges)
        fit = [h for h in hours if h[0] in done and not _concerns(pending, h)]
        stored = connection.execute(_stored(definition), {"begin": edges[0], "end": edges[-1]}).fetchall()
        admission = Admission(definition, state.admitted)
    n = len(definition.dimensions)
    at_source = _added(((edges[row[0]], admission.place(row[1 : n + 1])), row[n + 1 :]) for row in totals)
    in_tables = _added(((row[0], row[1 : n + 1]), row[n + 1 :]) for row in stored)
    compared = {begin for begin, _ in fit}
    found = [d for d in _differences(definition, in_tables, at_source) if d.window_start in compared]
    return _Compared(state, look, fit, found)


def _concerns(pending: Touched, hour: Span) -> bool:
    """Whether the next run will change something of the hour anyway."""
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

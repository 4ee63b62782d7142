"""What `fleetgauge migrate` and the next run would do: tables and views, versions, the plan, its cost, who looks at it.

The plan is the one that a run would execute now. What no index serves is not asked, and told as unknown.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres import Connection
from fleetgauge.progress.clock_samples import METRICS, Clocks
from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.execute.evidence import now
from fleetgauge.rollup.execute.metrics_run import open_sources
from fleetgauge.rollup.execute.observe import as_seen_before, look
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.execute.report import Severity, plain, severity
from fleetgauge.rollup.operating.estimate import facts_in
from fleetgauge.rollup.operating.metric_views import MetricViews, look_at
from fleetgauge.rollup.plan.clock_bounds import TOLERANCE
from fleetgauge.rollup.plan.describe import to_dict
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import Plan, at_rest, plan
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.plan.stages import Begin, ComputeSpan
from fleetgauge.rollup.plan.state import ByGrain, State
from fleetgauge.rollup.sources.port import Conflict, Facts, Source
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span, floor
from fleetgauge.rollup.store import emptied_hours, placements
from fleetgauge.rollup.store.catalogue import owned_views
from fleetgauge.rollup.store.state_reader import exists, read_state_if_any, shown_before
from fleetgauge.rollup.store.unused import Leftover
from fleetgauge.rollup.store.versions import Stretch
from fleetgauge.rollup.windows import BEGINNING, FOREVER, count, widen
from fleetgauge.settings import Settings

VersionState = Literal["new", "current", "waiting"]

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_BEGUN: ByGrain = dict.fromkeys(GRAINS, ((BEGINNING, FOREVER),))
_SHOWN = """
SELECT version FROM fleetgauge.metric_version WHERE metric = %s AND published_at IS NOT NULL
ORDER BY published_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class MetricPreview:
    """One metric."""

    metric: str
    version: str
    state: VersionState = "new"
    """`waiting`: the views show another version until a run has filled this one."""
    shown: str | None = None
    """The version that the views show now."""
    added: tuple[str, ...] = ()
    """Dimensions and measures that the version shown has not."""
    removed: tuple[str, ...] = ()
    plan: Plan | None = None
    """What a run would execute now; None where the source cannot be read."""
    minutes: int = 0
    """Minute windows that it computes as a whole, and the hours and days that they lie in."""
    hours: int = 0
    days: int = 0
    since: datetime | None = None
    """Where that work begins (UTC)."""
    facts: int | None = None
    """About how many facts of the source that reads; None if that is not known."""
    warnings: tuple[str, ...] = ()
    views: MetricViews | None = None
    """What becomes of its views; None before the first migration."""
    dashboards: tuple[str, ...] = ()
    """Dashboards that read the metric's views."""
    error: str | None = None
    """Why the source cannot be read as the definition wants it."""
    severity: Severity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found: dict[str, Any] = plain(asdict(replace(self, plan=None)))
        return found | {"plan": None if self.plan is None else to_dict(self.plan)}


def preview_metrics(
    settings: Settings,
    definitions: Iterable[Definition],
    request: RunRequest,
    streams: Mapping[str, EventStream] | None = None,
    options: RunOptions | None = None,
) -> list[MetricPreview]:
    """For each metric what a run of this request would do. Changes nothing, and waits for no other worker.

    Blocks for some questions to each source; one metric's failure does not stop the others.
    """
    found = []
    with (
        postgres.metrics(settings.metrics).session("plan") as connection,
        open_sources(settings, streams) as opened,
    ):
        connection.isolation_level = postgres.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        for definition in definitions:
            one = _versions(connection, definition)
            one = replace(one, dashboards=dashboards(settings.content, definition))
            try:
                source = opened(definition.source) if request.grain == "minute" else None
                one = _work(connection, definition, source, one, request, options or RunOptions.of(settings))
            except FleetgaugeError as error:
                one = replace(one, error=str(error), severity=severity(error))
            found.append(one)
    return found


def dashboards(content: Path, definition: Definition) -> tuple[str, ...]:
    """The generated dashboards whose SQL names one of the metric's views, its derived ones included."""
    names = {definition.view(level) for level in definition.levels}
    names |= set(re.findall(r"VIEW\s+metrics\.(\w+)", definition.views_sql or "", re.IGNORECASE))
    stems = {name.removesuffix(f"_{end}") for name in names for end in ("minute", "hour", "day") if name.endswith(end)}
    views = "|".join(sorted(names))
    pattern = re.compile(rf"metrics\.(?:(?:{views})\b|(?:{'|'.join(sorted(stems))})_(?:\$|range\b))")
    folder = content / "dashboards" / "generated"
    return tuple(path.stem for path in sorted(folder.glob("*.json")) if pattern.search(path.read_text("utf-8")))


def _versions(connection: Connection[Any], definition: Definition) -> MetricPreview:
    one = MetricPreview(definition.metric, definition.version)
    if not exists(connection, "fleetgauge.metric_version"):
        return one
    row = connection.execute(_SHOWN, [definition.metric]).fetchone()
    if row is None:
        return one
    shown = row[0]
    if shown == definition.version:
        return replace(one, state="current", shown=shown)
    table = f"store.{definition.metric}_day__{shown}"
    before = {name for name, _ in connection.execute(_COLUMNS, [table])} - {"window_start", "date"}
    now = {*definition.dimensions, *(column.name for column in definition.columns)}
    return replace(
        one, state="waiting", shown=shown, added=tuple(sorted(now - before)), removed=tuple(sorted(before - now))
    )


def _looked(
    source: Source, definition: Definition, state: State, options: RunOptions, clocks: Clocks
) -> tuple[Look, list[str]]:
    with source.look(definition) as facts:
        warnings = facts.dear(floor(datetime.now(UTC)))
        return _look(facts, source.name, definition, state, options, clocks, warnings), warnings


def _work(
    connection: Connection[Any],
    definition: Definition,
    source: Source | None,
    one: MetricPreview,
    request: RunRequest,
    options: RunOptions,
) -> MetricPreview:
    with connection.transaction():
        state = read_state_if_any(connection, definition)
        clocks = Clocks(options.clock)
        clocks.note(METRICS, now(connection))
    if source is None:
        return replace(one, plan=plan(definition, state, None, request))
    resting = at_rest(definition, state, request, clocks.now().get(METRICS))
    if resting is not None:
        return replace(one, plan=resting, views=_views(connection, definition, None))
    try:
        found, warnings = _looked(source, definition, state, options, clocks)
    except Conflict:  # it may be for what the next look knows to leave out
        found, warnings = _looked(source, definition, state, options, clocks)
    if state.older is not None and found.first_event_known:
        before, counted = shown_before(connection, definition), partial(emptied_hours.counted, connection)
        found = as_seen_before(found, source, definition, before, counted)
    if found.touched.rows and state.begun:
        with connection.transaction():
            places = placements.known(connection, definition, found.touched.rows)
        found = replace(found, places=tuple(sorted(places)))
    tolerance = options.tolerance or TOLERANCE
    planned = plan(definition, state, found, request, dense=options.dense, tolerance=tolerance)
    spans = [stage.span for stage in planned.stages if isinstance(stage, ComputeSpan)]
    begins = [stage for stage in planned.stages if isinstance(stage, Begin)]
    return replace(
        one,
        plan=planned,
        views=_views(connection, definition, begins[0].unavailable if begins else None),
        minutes=count(spans, "minute", definition.time_zone),
        hours=count(spans, "hour", definition.time_zone),
        days=count(spans, "day", definition.time_zone),
        since=spans[0][0] if spans else None,
        facts=facts_in(source, definition, spans),
        warnings=tuple(warnings),
    )


def _views(
    connection: Connection[Any], definition: Definition, unavailable: Iterable[Span] | None
) -> MetricViews | None:
    """`unavailable`: the minutes that the version will not be able to compute; None if the ledger knows it."""
    if not exists(connection, "fleetgauge.metric_version"):
        return None
    lost: dict[Grain, list[Stretch]] | None = None
    if unavailable is not None:
        spans = list(unavailable)
        lost = {g: [_stretch(widen(span, g, definition.time_zone)) for span in spans] for g in GRAINS}
    return look_at(connection, definition, owned_views(connection), lost)


def _stretch(span: Span) -> Stretch:
    return None if span[0] == BEGINNING else span[0], span[1]


def _look(
    facts: Facts,
    source: str,
    definition: Definition,
    state: State,
    options: RunOptions,
    clocks: Clocks,
    warnings: list[str],
) -> Look:
    """The look of a run, save for questions that would read a large table from end to end."""
    unknown = []
    if definition.source == COMMANDS:
        unknown.append("command events that are not materialised yet; a run does that first")
    if not warnings:
        found = look(facts, source, definition, state, options, clocks, changes=True)
        return replace(found, unknown=tuple(unknown))
    unknown.append("what has changed at the source, since no index serves the question")
    if not state.begun:
        unknown.append("how much history there is, since no index serves the question")
    known = replace(state, done=state.done if state.begun else _BEGUN)  # so that no first event is asked for
    found = look(facts, source, definition, known, options, clocks, changes=False)
    return replace(found, first_event_known=state.begun, unknown=tuple(unknown))


@dataclass(frozen=True)
class Preview:
    """All of it."""

    revisions: tuple[str, ...] | None = ()
    """Migrations to apply; None: not looked up, since there is no login that may."""
    tables: tuple[str, ...] = ()
    """New tables of metrics."""
    metrics: tuple[MetricPreview, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    """Metrics and views that no definition makes any more."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        return {
            "revisions": self.revisions,
            "tables": self.tables,
            "metrics": [one.to_dict() for one in self.metrics],
            "leftovers": [asdict(one) for one in self.leftovers],
        }

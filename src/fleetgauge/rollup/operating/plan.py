"""What `fleetgauge migrate` and the next pass would do: tables and views, versions, work, its cost, who looks at it.

The source's planner is asked, and nothing there is run but one look-up of the earliest fact of a new version.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import psycopg

from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres.postgres_errors import translate
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.operating.estimate import facts_in, scanned
from fleetgauge.rollup.passes.report import Severity, severity
from fleetgauge.rollup.passes.run import open_sources
from fleetgauge.rollup.sources import postgres_held, postgres_sql
from fleetgauge.rollup.sources.indexes import time_columns, unserved
from fleetgauge.rollup.sources.port import Facts, Source
from fleetgauge.rollup.sources.postgres import PostgresFacts
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import HOUR, MINUTE, Span, floor
from fleetgauge.rollup.store.ledger import Ledger
from fleetgauge.settings import Settings

State = Literal["new", "current", "waiting"]

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_SHOWN = """
SELECT version FROM fleetgauge.metric_version WHERE metric = %s AND published_at IS NOT NULL
ORDER BY published_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class MetricPlan:
    """One metric."""

    metric: str
    version: str
    state: State = "new"
    """`waiting`: the views show another version until a pass has filled this one."""
    shown: str | None = None
    """The version that the views show now."""
    added: tuple[str, ...] = ()
    """Dimensions and measures that the version shown has not."""
    removed: tuple[str, ...] = ()
    minutes: int = 0
    """Minute windows that were never computed, and the hours and days that they lie in."""
    hours: int = 0
    days: int = 0
    since: datetime | None = None
    """Where that work begins (UTC)."""
    facts: int | None = None
    """About how many facts of the source it reads; None if that is not known."""
    warnings: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    """Boards that read the metric's views."""
    error: str | None = None
    """Why the source cannot be read as the definition wants it."""
    severity: Severity | None = None


def plan_metrics(
    settings: Settings, definitions: Iterable[Definition], streams: Mapping[str, EventStream] | None = None
) -> list[MetricPlan]:
    """Every metric's plan. Blocks for some questions to each source; one metric's failure does not stop the others."""
    found = []
    try:
        url = settings.metrics.url.get_secret_value()
        with (
            closing(psycopg.connect(url, autocommit=True, connect_timeout=10)) as connection,
            open_sources(settings, streams) as opened,
        ):
            connection.execute("SELECT set_config('TimeZone', 'UTC', false)")
            for definition in definitions:
                plan = _versions(connection, definition)
                plan = replace(plan, boards=boards(settings.content, definition))
                try:
                    plan = _work(connection, definition, opened(definition.source), plan)
                except FleetgaugeError as error:
                    plan = replace(plan, error=str(error), severity=severity(error))
                found.append(plan)
    except psycopg.Error as error:
        raise translate(error, "the metrics database", "metrics.url", "run fleetgauge migrate") from error
    return found


def boards(content: Path, definition: Definition) -> tuple[str, ...]:
    """The generated boards whose SQL names one of the metric's views, its derived ones included."""
    names = {definition.view(level) for level in definition.levels}
    names |= set(re.findall(r"VIEW\s+metrics\.(\w+)", definition.views_sql or "", re.IGNORECASE))
    stems = {name.removesuffix(f"_{end}") for name in names for end in ("minute", "hour", "day") if name.endswith(end)}
    views = "|".join(sorted(names))
    pattern = re.compile(rf"metrics\.(?:(?:{views})\b|(?:{'|'.join(sorted(stems))})_\$)")
    folder = content / "dashboards" / "generated"
    return tuple(path.stem for path in sorted(folder.glob("*.json")) if pattern.search(path.read_text("utf-8")))


def _versions(connection: psycopg.Connection[Any], definition: Definition) -> MetricPlan:
    plan = MetricPlan(definition.metric, definition.version)
    if not _exists(connection, "fleetgauge.metric_version"):
        return plan
    row = connection.execute(_SHOWN, [definition.metric]).fetchone()
    if row is None:
        return plan
    shown = row[0]
    if shown == definition.version:
        return replace(plan, state="current", shown=shown)
    table = f"store.{definition.metric}_minute__{shown}"
    before = {name for name, _ in connection.execute(_COLUMNS, [table])} - {"window_start"}
    now = {*definition.dimensions, *(column.name for column in definition.columns)}
    return replace(
        plan, state="waiting", shown=shown, added=tuple(sorted(now - before)), removed=tuple(sorted(before - now))
    )


def _work(connection: psycopg.Connection[Any], definition: Definition, source: Source, plan: MetricPlan) -> MetricPlan:
    now = floor(datetime.now(UTC))
    spans: list[Span] | None = None
    if _exists(connection, "fleetgauge.ledger"):
        with connection.transaction():
            ledger = Ledger(connection, definition)
            known = connection.execute(
                "SELECT 1 FROM fleetgauge.ledger WHERE metric = %s AND version = %s AND NOT isempty(done)",
                [definition.metric, definition.version],
            ).fetchone()
            spans = ledger.missing(now) if known else None
    with source.look(definition) as facts:
        warnings = _warnings(facts, definition, now)
        if spans is None:
            begin = None if warnings else facts.first_event()
            spans = [] if begin is None or begin >= now else [(floor(begin), now)]
            if warnings:
                warnings.append("how much history there is was not looked up, since no index serves the question")
    return replace(
        plan,
        minutes=sum(int((end - begin) / MINUTE) for begin, end in spans),
        hours=_count(spans, HOUR),
        days=_count(spans, timedelta(days=1)),
        since=spans[0][0] if spans else None,
        facts=facts_in(source, definition, spans),
        warnings=tuple(warnings),
    )


def _warnings(facts: Facts, definition: Definition, now: datetime) -> list[str]:
    if not isinstance(facts, PostgresFacts):
        return []
    asked = {
        f"the rows of one minute, by {definition.event_time},": postgres_sql.windows(definition, (now - MINUTE, now))
    }
    if definition.change_time is not None:
        what = f"what has changed within a minute, by {definition.change_time},"
        if definition.interval is not None:
            asked[what] = postgres_held.held_since(definition, now - MINUTE, now)
        else:
            asked[what] = postgres_sql.touched(definition, now - MINUTE, None)
    lacking = unserved(facts.connection, time_columns(definition))
    found = []
    for what, query in asked.items():
        for table, rows in scanned(facts, facts.explain(query)).items():
            remedies = " ".join(one.remedy for one in lacking if one.table.rpartition(".")[2] == table)
            found.append(
                f"{what} would read all of {table} (about {rows} rows); production needs "
                + (remedies or "an index that the condition on this time can use: see source.sql")
            )
    return found


def _count(spans: Iterable[Span], length: timedelta) -> int:
    """How many windows of a grain the spans touch, as if each were as long as most are."""
    origin = datetime(1970, 1, 1, tzinfo=UTC)
    touched: set[int] = set()
    for begin, end in spans:
        touched.update(range((begin - origin) // length, -((origin - end) // length)))
    return len(touched)


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True)
class Plan:
    """All of it."""

    revisions: tuple[str, ...] | None = ()
    """Migrations to apply; None: not looked up, since there is no login that may."""
    tables: tuple[str, ...] = ()
    """New tables of metrics."""
    metrics: tuple[MetricPlan, ...] = field(default=())

"""How a number came about: its value, the source rows behind it, what it was before, and whether it is final."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from fleetgauge import postgres
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Jsonb
from fleetgauge.rollup import labels
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.execute.metrics_run import open_sources
from fleetgauge.rollup.execute.report import plain
from fleetgauge.rollup.operating.restatements import Restated, restated
from fleetgauge.rollup.operating.runs import LoggedRun, writers
from fleetgauge.rollup.operating.window_history import (
    LeftOutRows,
    Verdict,
    VersionShown,
    history,
    left_out,
    verdicts,
)
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import Span, covers
from fleetgauge.rollup.store.restatement_sql import RestatementStatements
from fleetgauge.rollup.store.state_reader import read_state
from fleetgauge.rollup.values import SourceRows
from fleetgauge.rollup.windows import window_end, window_start
from fleetgauge.settings import Settings

_MOST = 1000


@dataclass(frozen=True)
class Value:
    """One measure of one cell, as it is stored; a sketch is shown by its count or estimates."""

    dimensions: Mapping[str, str]
    measure: str
    value: str | None


@dataclass(frozen=True)
class Explanation:
    """One window of one metric; instants are aware."""

    metric: str
    version: str
    """That the values are of: the one by which the views show the window, where its definition is still known."""
    computed: str
    """The version that runs compute."""
    shown: str | None
    """The version that the views show; None: none yet."""
    grain: Grain
    begin: datetime
    end: datetime
    where: Mapping[str, str]
    final: bool
    waits_for: str | None
    """Why it is not final."""
    values: tuple[Value, ...]
    """At most 1,000, by dimensions and measure."""
    source: str
    source_rows: SourceRows
    restatements: tuple[Restated, ...]
    runs: tuple[LoggedRun, ...] = ()
    """The last that wrote it, the latest first, of those that are still in the log."""
    left_out: tuple[LeftOutRows, ...] = ()
    """Rows that are in no number of the window, of all its cells."""
    checks: tuple[Verdict, ...] = ()
    versions: tuple[VersionShown, ...] = ()
    source_watermark: datetime | None = None
    """Up to where the source shows every change; None: it cannot say."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        return dict(plain(asdict(self)))


def explain(
    settings: Settings,
    definition: Definition,
    at: datetime,
    grain: Grain,
    where: Mapping[str, str],
    streams: Mapping[str, EventStream] | None = None,
) -> Explanation:
    """The window of `grain` that holds `at` (aware), of the cells with these dimension values. Reads only; blocks.

    Raises `Terminal` for a dimension that the metric has not.
    """
    unknown = sorted(set(where) - set(definition.dimensions))
    if unknown:
        known = ", ".join(definition.dimensions) or "none"
        raise Terminal(f"metric {definition.metric} has no dimension {unknown[0]!r}; it has {known}")
    if grain not in definition.grains:
        raise Terminal(
            f"metric {definition.metric} has no {grain}s; give --grain {definition.finest}, or a coarser one"
        )
    zone = definition.time_zone
    begin = window_start(at, grain, zone)
    window = (begin, window_end(begin, grain, zone))
    with postgres.metrics(settings.metrics).session("explain") as connection:
        state = read_state(connection, definition)
        all_versions, teller, label_format = history(connection, definition, grain, window)
        if not where.keys() <= teller.dimensions.keys() or teller.time_zone != zone:
            teller, label_format = definition, labels.FORMAT  # it cannot tell these cells apart, or has no such window
        stored = {name: labels.before_relabelling(value, label_format) for name, value in where.items()}
        level = next(one for one in teller.levels if one.name == grain)
        wrote = writers(connection, definition.metric, teller.version, grain, window)
        lost = left_out(connection, teller, window)
        judged = verdicts(connection, teller, state, window, stored)
        values = connection.execute(
            RestatementStatements(teller).values(level),
            {"window": begin, "where": Jsonb(stored), "limit": _MOST},
        ).fetchall()
    named = {name: label for name, label in where.items() if label != labels.OTHER}  # it has no one value
    with open_sources(settings, streams) as opened, opened(definition.source).look(definition) as facts:
        rows = facts.source_rows(window, named)
        watermark = None if facts.source_watermark is None else facts.source_watermark.at
    waits_for = not_final(definition, state, grain, window, watermark)
    changes = (one for one in restated(settings, definition, window) if one.level == grain)
    return Explanation(
        definition.metric,
        teller.version,
        definition.version,
        state.shown,
        grain,
        *window,
        where,
        waits_for is None,
        waits_for,
        tuple(_value(label_format, *row) for row in values),
        definition.source,
        rows,
        tuple(one for one in changes if one.dimensions is None or where.items() <= one.dimensions.items()),
        wrote,
        lost,
        judged,
        all_versions,
        watermark,
    )


def _value(label_format: int, dimensions: Mapping[str, str], measure: str, value: str | None) -> Value:
    shown = {name: labels.relabelled(label, label_format) for name, label in dimensions.items()}
    return Value(shown, measure, value)


def not_final(
    definition: Definition, state: State, grain: Grain, window: Span, watermark: datetime | None = None
) -> str | None:
    """Why the window is not final; None if it is. `watermark`: the source's, where it is known."""
    begin, end = window
    if covers(state.closed[grain])(begin):
        return None
    if covers(state.unavailable[grain])(begin):
        return "nothing: this version cannot compute it, since its source was not whole there"
    broken = [cell for cell in state.blocked if begin <= cell.window_start < end]
    if broken:
        return (
            f"check {broken[0].check!r}, which withholds {len(broken)} cell(s) of it until source or check is corrected"
        )
    if not covers(state.done[grain])(begin):
        late = f"; source {definition.source} has shown no heartbeat" if watermark is None else ""
        return f"a run that computes it{late}"
    until = (end + definition.grace).astimezone(begin.tzinfo)
    told = f"the watermark of source {definition.source} to reach {until.isoformat()}, its end and the grace"
    if watermark is None:
        return f"{told}; the source has shown no heartbeat"
    now = watermark.astimezone(begin.tzinfo).isoformat(timespec="seconds")
    return f"{told}; it is at {now}" if watermark < until else f"the next run; {told}, which it has"

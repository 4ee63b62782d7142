"""Distinct values of dimensions: which they are, since when unused, and how to make room for others.

A value that expires gets no new rows of its own; those that it has stay. What was counted together in `(other)` for
want of room is computed anew where its source is still whole, the newest day first.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fleetgauge import postgres
from fleetgauge.errors import Terminal, Transient
from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.engine import Engine
from fleetgauge.rollup.execute.metrics_run import open_sources
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.execute.report import plain
from fleetgauge.rollup.labels import OTHER
from fleetgauge.rollup.plan import describe
from fleetgauge.rollup.plan.clock_bounds import TOLERANCE
from fleetgauge.rollup.plan.look import Look
from fleetgauge.rollup.plan.planner import Plan, plan
from fleetgauge.rollup.plan.request import OverflowRequest
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.rollup.spans import MINUTE, Span, union
from fleetgauge.rollup.store.state_reader import exists, read_state
from fleetgauge.rollup.store.tables import table
from fleetgauge.rollup.windows import widen, window_start
from fleetgauge.settings import Settings

_ADMITTED = """
SELECT value, admitted_at FROM fleetgauge.dimension_value
WHERE metric = %s AND version = %s AND dimension = %s ORDER BY value
"""
_EXPIRE = """
DELETE FROM fleetgauge.dimension_value
WHERE metric = %s AND version = %s AND dimension = %s AND value = ANY(%s)
"""


@dataclass(frozen=True)
class Used:
    """A value that has rows of its own; instants are UTC."""

    value: str
    admitted_at: datetime
    last_seen: datetime | None
    """The latest window that has a row of it, of the finest grain whose rows are kept there; None: no row has it."""


@dataclass(frozen=True)
class DimensionValues:
    """One dimension of one metric."""

    metric: str
    dimension: str
    limit: int
    values: tuple[Used, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found: dict[str, Any] = plain(
            {
                "metric": self.metric,
                "dimension": self.dimension,
                "limit": self.limit,
                "values": [vars(one) for one in self.values],
            }
        )
        return found


@dataclass(frozen=True)
class Expiry:
    """What `expire_values` did, or would do; spans are UTC."""

    metric: str
    dimension: str
    limit: int
    values: int
    """How many there were before."""
    expired: tuple[str, ...] = ()
    plans: tuple[Plan, ...] = ()
    """One for each local day with overflow that can be computed anew, the newest first."""
    frozen: tuple[Span, ...] = ()
    """Overflow that stays, since its source is not whole any more."""
    kept: tuple[Span, ...] = ()
    """Overflow that stays, since its windows show expired values too, which would take up room again."""
    windows: int = 0
    """Minutes that were computed anew."""
    restated: int = 0
    """How many cells of closed ones changed."""
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found: dict[str, Any] = plain(vars(replace(self, plans=())))
        return found | {"plans": [describe.to_dict(one) for one in self.plans]}


def list_values(settings: Settings, definitions: Collection[Definition]) -> list[DimensionValues]:
    """Each dimension's values. Blocks while their tables are read; a metric without tables has none yet."""
    found = []
    with postgres.metrics(settings.metrics).session("dimensions") as connection:
        for one in definitions:
            made = exists(connection, f"store.{one.table(one.levels[0])}")
            for name, dimension in one.dimensions.items():
                values = _used(connection, one, name) if made else ()
                found.append(DimensionValues(one.metric, name, dimension.limit, values))
    return found


def expire_values(
    settings: Settings,
    definition: Definition,
    dimension: str,
    values: Collection[str],
    unused_for: timedelta | None,
    streams: dict[str, EventStream] | None = None,
    options: RunOptions | None = None,
    *,
    dry_run: bool = False,
) -> Expiry:
    """Let values go, and compute anew the windows of the overflow for which there is room then. Blocks.

    `values`: only these; `unused_for`: only those that no row has had so long, counted back from the newest heartbeat
    that was computed under. Interrupted, the same call goes on: what is left of the overflow is computed then.
    Raises `Terminal` for a dimension or a value that is not there, `Transient` while the source says nothing.
    """
    if dimension not in definition.dimensions:
        known = ", ".join(definition.dimensions) or "none"
        raise Terminal(f"metric {definition.metric} has no dimension {dimension}; it has {known}")
    if not values and unused_for is None:
        raise Terminal("say which values may go: name them, or give --unused-for 30d")
    options = options or RunOptions.of(settings)
    with open_sources(settings, streams) as opened, _engine(settings, definition, opened, options) as engine:
        state, look = engine.observe(OverflowRequest(()))
        tolerance = options.tolerance or TOLERANCE
        first = plan(definition, state, look, OverflowRequest(()), tolerance=tolerance)
        if first.deferred is not None:
            raise Transient(f"nothing was expired: {first.deferred}")
        with engine.session.locked() as connection:
            state = read_state(connection, definition)
            found = _expiry(connection, definition, dimension, set(values), unused_for, state)
            if not dry_run and found.expired:
                key = [definition.metric, definition.version, dimension]
                connection.execute(_EXPIRE, [*key, list(found.expired)])
            found, days = _overflow(connection, definition, found, state)
        found = replace(found, plans=_plans(definition, state, look, days, tolerance), dry_run=dry_run)
        if dry_run:
            return found
        with activity.logged(settings, "dimensions expire", definition.metric, definition.version, "minute") as run:
            run.stages = [{"stage": "ExpireValues", "reason": "asked for", "values": len(found.expired)}]
            engine.run_id = run.begin(found.plans)
            for planned in found.plans:
                executor = engine.executor(planned)
                try:
                    executor.execute()
                finally:
                    run.add(executor.tally)
            found = replace(found, windows=run.done.windows, restated=run.done.restated)
    return found


@contextmanager
def _engine(settings: Settings, definition: Definition, opened: Any, options: RunOptions) -> Iterator[Engine]:
    engine = Engine(definition, opened(definition.source), lambda: connect_metrics(settings.metrics, options), options)
    try:
        yield engine
    finally:
        engine.close()


def _used(connection: Connection[Any], definition: Definition, dimension: str) -> tuple[Used, ...]:
    """A day's row may still be there when the minutes that it was made of are not, so each grain is asked."""
    seen: dict[str, datetime] = {}
    for level in definition.levels:
        if not level.whole:
            continue
        query = sql.SQL("SELECT {0}, max(window_start) FROM {1} GROUP BY 1").format(
            sql.Identifier(dimension), table(definition, level)
        )
        for value, at in connection.execute(query).fetchall():
            seen[value] = max(seen.get(value, at), at)
    key = [definition.metric, definition.version, dimension]
    return tuple(Used(value, at, seen.get(value)) for value, at in connection.execute(_ADMITTED, key).fetchall())


def _expiry(
    connection: Connection[Any],
    definition: Definition,
    dimension: str,
    values: Collection[str],
    unused_for: timedelta | None,
    state: State,
) -> Expiry:
    used = _used(connection, definition, dimension)
    missing = sorted(set(values) - {one.value for one in used})
    if missing:
        raise Terminal(
            f"{', '.join(map(repr, missing))} of dimension {dimension} has no rows of its own in metric "
            f"{definition.metric}; fleetgauge dimensions ls {definition.metric} shows those that have"
        )
    chosen = [one for one in used if not values or one.value in values]
    if unused_for is not None:
        now = state.heartbeat_at  # not a clock's: a metric that stood still for a month has not lost its values
        chosen = [
            one for one in chosen if now is not None and (one.last_seen is None or one.last_seen < now - unused_for)
        ]
    limit = definition.dimensions[dimension].limit
    return Expiry(definition.metric, dimension, limit, len(used), tuple(one.value for one in chosen))


def _overflow(
    connection: Connection[Any], definition: Definition, found: Expiry, state: State
) -> tuple[Expiry, dict[datetime, list[Span]]]:
    """What of the overflow stays, and by local day the windows that can be computed anew."""
    admitted = {value for name, value in state.admitted if name == found.dimension} - set(found.expired)
    days: dict[datetime, list[Span]] = defaultdict(list)
    frozen: list[Span] = []
    kept: list[Span] = []
    if len(admitted) >= found.limit:
        return found, days
    for level in definition.levels:
        if not level.whole:
            continue
        query = sql.SQL(
            "SELECT window_start, bool_or({0} <> ALL(%(admitted)s::text[])) FROM {1} GROUP BY 1"
            " HAVING bool_or({0} = %(other)s) ORDER BY 1"
        ).format(sql.Identifier(found.dimension), table(definition, level))
        rows = connection.execute(query, {"admitted": [*admitted, OTHER], "other": OTHER}).fetchall()
        for at, shows_expired in rows:
            if state.ages.grain(at) != level.grain:
                continue  # told at the finest grain that is kept
            span = widen((at, at + MINUTE), level.grain, definition.time_zone)
            if state.ages.frozen(at):
                frozen.append(span)
            elif shows_expired:
                kept.append(span)
            else:
                days[window_start(at, GRAINS[-1], definition.time_zone)].append(span)
    return replace(found, frozen=tuple(union(frozen)), kept=tuple(union(kept))), days


def _plans(
    definition: Definition,
    state: State,
    look: Look | None,
    days: dict[datetime, list[Span]],
    tolerance: timedelta,
) -> tuple[Plan, ...]:
    """The newest day first, so that values in use take the room before those that are no more."""
    requests = (OverflowRequest(tuple(days[day])) for day in sorted(days, reverse=True))
    return tuple(plan(definition, state, look, request, tolerance=tolerance) for request in requests)

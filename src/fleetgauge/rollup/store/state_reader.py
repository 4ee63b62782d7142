"""Reads the ledger of a metric's version. Writing is the executor's alone (`execute.ledger`)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, TimestamptzMultirange
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS
from fleetgauge.rollup.plan.ages import ages
from fleetgauge.rollup.plan.state import Spans, State, ViewsState
from fleetgauge.rollup.store.publish import judged
from fleetgauge.rollup.store.versions import versions
from fleetgauge.rollup.values import Cursor
from fleetgauge.rollup.windows import BEGINNING, FOREVER

_LEDGER = """
SELECT grain, done, closed, kept_from, cursor_at, cursor_token, beat_at FROM fleetgauge.ledger
WHERE metric = %s AND version = %s
"""
_CLOSED_UNTIL = """
SELECT grain, (SELECT upper(r) FROM unnest(closed) AS r ORDER BY r LIMIT 1) FROM fleetgauge.ledger
WHERE metric = %s AND version = %s
"""
_BLOCKED = """
SELECT window_start, reason FROM fleetgauge.blocked WHERE metric = %s AND version = %s ORDER BY window_start
"""
_ADMITTED = "SELECT dimension, value FROM fleetgauge.dimension_value WHERE metric = %s AND version = %s"
_VIEWS: Mapping[str, ViewsState] = {"current": "current", "published": "due", "waiting": "waiting"}


def read_state(connection: Connection[Any], definition: Definition) -> State:
    """The state as the caller's transaction sees it; under the metric's lock nobody changes it meanwhile.

    Raises `Terminal` when `fleetgauge migrate` has not made this version's tables.
    """
    key = [definition.metric, definition.version]
    rows = {row[0]: row[1:] for row in connection.execute(_LEDGER, key).fetchall()}
    if not rows:
        raise Terminal(f"metric {definition.metric} version {definition.version} has no tables; run fleetgauge migrate")
    shown, views = _views(connection, definition)
    _, _, _, at, token, heartbeat_at = rows["minute"]
    kept = {grain: rows[grain][2] for grain in GRAINS}
    return State(
        done={grain: _spans(rows[grain][0]) for grain in GRAINS},
        closed={grain: _spans(rows[grain][1]) for grain in GRAINS},
        blocked=dict(blocked(connection, definition)),
        cursor=None if at is None else Cursor(at, token),
        heartbeat_at=heartbeat_at,
        ages=ages(definition, kept, heartbeat_at),
        admitted=frozenset(connection.execute(_ADMITTED, key).fetchall()),
        shown=shown,
        views=views,
        zone=definition.time_zone,
    )


def read_state_if_any(connection: Connection[Any], definition: Definition) -> State:
    """The same, and of what `fleetgauge migrate` has not made yet the state that it will make."""
    if not exists(connection, "fleetgauge.ledger"):
        return State(zone=definition.time_zone)
    known = connection.execute(
        "SELECT 1 FROM fleetgauge.ledger WHERE metric = %s AND version = %s", [definition.metric, definition.version]
    ).fetchone()
    if known is None:
        return State(shown=_views(connection, definition)[0], zone=definition.time_zone)
    return read_state(connection, definition)


def exists(connection: Connection[Any], table: str) -> bool:
    """Whether the metrics database has a table of this qualified name."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
    return bool(row and row[0])


def closed_until(connection: Connection[Any], definition: Definition) -> dict[str, datetime | None]:
    """By grain, the end of what is closed without a break; None before the first run."""
    return dict(connection.execute(_CLOSED_UNTIL, [definition.metric, definition.version]).fetchall())


def blocked(connection: Connection[Any], definition: Definition) -> list[tuple[datetime, str]]:
    """Blocked minutes with the check that each broke, oldest first."""
    return connection.execute(_BLOCKED, [definition.metric, definition.version]).fetchall()


def _views(connection: Connection[Any], definition: Definition) -> tuple[str | None, ViewsState]:
    """The version that the views show, and how they stand to the definition's own."""
    known = versions(connection, definition.metric)
    shown = known[0].version if known and known[0].published_at is not None else None
    return shown, _VIEWS[judged(definition, known).state]


def _spans(ranges: TimestamptzMultirange | Iterable[Any]) -> Spans:
    return tuple((r.lower or BEGINNING, r.upper or FOREVER) for r in ranges)

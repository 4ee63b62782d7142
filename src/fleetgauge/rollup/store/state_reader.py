"""Reads the ledger of a metric's version. Writing is the executor's alone (`execute.ledger`)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, TimestamptzMultirange
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.plan.ages import ages
from fleetgauge.rollup.plan.state import Spans, State, ViewsState
from fleetgauge.rollup.spans import union
from fleetgauge.rollup.store import emptied_hours
from fleetgauge.rollup.store.emptied_partitions import emptied_partitions
from fleetgauge.rollup.store.publish import current_publication, oldest_window
from fleetgauge.rollup.store.versions import Version, versions
from fleetgauge.rollup.values import BlockedCell, Cursor
from fleetgauge.rollup.windows import BEGINNING, FOREVER

_LEDGER = """
SELECT grain, done, closed, kept_from, cursor_at, cursor_token, beat_at, unavailable,
    EXISTS (SELECT FROM fleetgauge.blocked AS b WHERE b.metric = l.metric AND b.version = l.version)
FROM fleetgauge.ledger AS l WHERE metric = %s AND version = %s
"""
_INHERITED = """
SELECT l.cursor_at, jsonb_set(l.cursor_token, '{"",inherit}', 'true') FROM fleetgauge.ledger AS l
JOIN fleetgauge.metric_version AS v USING (metric, version)
WHERE l.metric = %s AND l.version <> %s AND l.grain = 'minute' AND l.cursor_token ? ''
AND v.definition ->> 'source' = %s ORDER BY l.cursor_at DESC LIMIT 1
"""
_BLOCKED = """
SELECT window_start, dimensions, reason, tries, retry_at FROM fleetgauge.blocked WHERE metric = %s AND version = %s
ORDER BY window_start, dimensions
"""
_ADMITTED = "SELECT dimension, value FROM fleetgauge.dimension_value WHERE metric = %s AND version = %s"
_VIEWS: Mapping[str, ViewsState] = {"current": "current", "published": "due", "waiting": "waiting"}


def read_state(connection: Connection[Any], definition: Definition) -> State:
    """The state as the caller's transaction sees it; under the metric's lock nobody changes it meanwhile.

    Raises `Terminal` when `fleetgauge migrate` has not made this version's tables.
    """
    rows = _rows(connection, definition)
    if not rows:
        lacking = f"metric {definition.metric} version {definition.version} has no tables; run fleetgauge migrate"
        raise Terminal(definition.lacks_key or lacking)
    known = versions(connection, definition.metric)
    _, _, _, at, token, heartbeat_at, _, any_blocked = rows["minute"]
    unavailable = {grain: _spans(rows[grain][6]) for grain in GRAINS}
    begun = bool(rows["minute"][0]) or at is not None
    kept = {grain: rows[grain][2] for grain in GRAINS}
    return State(
        done={grain: _spans(rows[grain][0]) for grain in GRAINS},
        closed={grain: _spans(rows[grain][1]) for grain in GRAINS},
        blocked=_blocked(connection, definition, rows) if any_blocked else (),
        emptied=tuple(emptied_hours.known(connection, definition.metric)),
        gone=_gone(connection, definition),
        cursor=None if at is None else Cursor(at, token),
        heartbeat_at=heartbeat_at,
        ages=ages(definition, kept, heartbeat_at, unavailable["minute"]),
        unavailable=unavailable,
        older=None if begun else oldest_window(connection, definition, known),
        inherited=None if begun else inherited(connection, definition),
        admitted=frozenset(connection.execute(_ADMITTED, [definition.metric, definition.version]).fetchall()),
        shown=_shown(known),
        views=_VIEWS[current_publication(definition, known).state],
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
        found = versions(connection, definition.metric)
        older = oldest_window(connection, definition, found)
        knows = inherited(connection, definition)
        return State(shown=_shown(found), older=older, inherited=knows, zone=definition.time_zone)
    return read_state(connection, definition)


def inherited(connection: Connection[Any], definition: Definition) -> Cursor | None:
    """Where the latest other version over the same documents stands; None if there is none."""
    row = connection.execute(_INHERITED, [definition.metric, definition.version, definition.source]).fetchone()
    return None if row is None else Cursor(*row)


def exists(connection: Connection[Any], table: str) -> bool:
    """Whether the metrics database has a table of this qualified name."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone()
    return bool(row and row[0])


def read_outcome(
    connection: Connection[Any], definition: Definition
) -> tuple[dict[str, datetime | None], tuple[BlockedCell, ...]]:
    """By grain, the end of what is closed without a break (None: nothing is); and blocked cells, oldest first."""
    rows = _rows(connection, definition)
    ends: dict[str, datetime | None] = {
        grain: next((end for _, end in _spans(row[1])), None) for grain, row in rows.items()
    }
    return ends, _blocked(connection, definition, rows) if any(row[7] for row in rows.values()) else ()


def blocked(connection: Connection[Any], definition: Definition) -> tuple[BlockedCell, ...]:
    """Those of `read_outcome`."""
    return read_outcome(connection, definition)[1]


def _rows(connection: Connection[Any], definition: Definition) -> dict[Grain, tuple[Any, ...]]:
    key = [definition.metric, definition.version]
    return {row[0]: row[1:] for row in connection.execute(_LEDGER, key).fetchall()}


def _blocked(
    connection: Connection[Any], definition: Definition, rows: Mapping[Grain, tuple[Any, ...]]
) -> tuple[BlockedCell, ...]:
    kept = {grain: rows[grain][2] for grain in GRAINS}
    known = ages(definition, kept, rows["minute"][5], _spans(rows["minute"][6]))
    names = definition.dimensions
    return tuple(
        BlockedCell(window, tuple(zip(names, values, strict=False)), check, tries, retry_at, known.frozen(window))
        for window, values, check, tries, retry_at in connection.execute(
            _BLOCKED, [definition.metric, definition.version]
        )
    )


def shown_before(connection: Connection[Any], definition: Definition) -> Definition | None:
    """The definition of the latest other version that views have shown; None if it is not kept, or there is none."""
    known = [one for one in versions(connection, definition.metric) if one.published_at is not None]
    return next((one.definition for one in known if one.version != definition.version), None)


def _gone(connection: Connection[Any], definition: Definition) -> dict[Grain, Spans]:
    found = emptied_partitions(connection, definition)
    return {grain: tuple(union(one.span for one in found if one.grain == grain)) for grain in GRAINS}


def _shown(known: Sequence[Version]) -> str | None:
    return known[0].version if known and known[0].published_at is not None else None


def _spans(ranges: TimestamptzMultirange | Iterable[Any]) -> Spans:
    return tuple((r.lower or BEGINNING, r.upper or FOREVER) for r in ranges)

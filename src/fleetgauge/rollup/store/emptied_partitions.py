"""Partitions of a metric's own tables that hold no row any more, though others show that they did: somebody's TRUNCATE.

What is merged from such a table would be a part of what it was, so runs compute it again first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain, Level
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.tables import STORE, table


@dataclass(frozen=True)
class EmptiedPartition:
    """One of them, with the time that it is for and whose rows are kept."""

    name: str
    """Qualified."""
    grain: Grain
    begin: datetime
    end: datetime

    @property
    def span(self) -> Span:
        """That time."""
        return self.begin, self.end


# Statistics come late and are forgotten after a crash, so they only say where to look; nearly always nowhere.
_ANY = """
SELECT EXISTS (SELECT FROM pg_inherits WHERE pg_stat_get_live_tuples(inhrelid) = 0
AND inhparent = ANY (ARRAY(SELECT to_regclass(format('%%I.%%I', %(schema)s::text, name))
    FROM unnest(%(tables)s::text[]) AS name)))
"""
_SUSPECTS = r"""
SELECT t.level, c.relname, greatest(b.edges[1]::timestamptz, l.kept_from), b.edges[2]::timestamptz
FROM unnest(%(levels)s::text[], %(grains)s::text[], %(tables)s::text[]) AS t(level, grain, name)
JOIN fleetgauge.ledger AS l ON l.metric = %(metric)s AND l.version = %(version)s AND l.grain = t.grain
JOIN pg_inherits AS i ON i.inhparent = to_regclass(format('%%I.%%I', %(schema)s::text, t.name))
JOIN pg_class AS c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid),
    'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)')) AS b(edges)
WHERE pg_stat_get_live_tuples(c.oid) = 0
AND (l.kept_from IS NULL OR b.edges[2]::timestamptz > l.kept_from)
AND l.closed && tstzrange(b.edges[1]::timestamptz, b.edges[2]::timestamptz)
ORDER BY 2
"""


def emptied_partitions(connection: Connection[Any], definition: Definition) -> list[EmptiedPartition]:
    """Those in whose time another of the version's tables has rows of final windows. Cheap where all is well."""
    levels = {level.name: level for level in definition.levels}
    asked = {
        "schema": STORE,
        "metric": definition.metric,
        "version": definition.version,
        "levels": list(levels),
        "grains": [level.grain for level in levels.values()],
        "tables": [definition.table(level) for level in levels.values()],
    }
    if connection.execute(_ANY, asked).fetchone() != (True,):
        return []
    rows = connection.execute(_SUSPECTS, asked).fetchall()
    return [
        EmptiedPartition(f"{STORE}.{name}", levels[level].grain, begin, end)
        for level, name, begin, end in rows
        if _is_emptied(connection, definition, levels[level], name, (begin, end))
    ]


def _is_emptied(connection: Connection[Any], definition: Definition, level: Level, name: str, span: Span) -> bool:
    query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {own}) AND ({others})").format(
        own=sql.Identifier(STORE, name),
        others=sql.SQL(" OR ").join(_has_rows(definition, other) for other in _others(definition, level)),
    )
    values = {"begin": span[0], "end": span[1], "metric": definition.metric, "version": definition.version}
    return connection.execute(query, values).fetchone() == (True,)


def _others(definition: Definition, level: Level) -> Sequence[Level]:
    """The tables with all dimensions, save itself: whatever one has a row for, each of them has one."""
    return [other for other in definition.levels if other.whole and other is not level]


def _has_rows(definition: Definition, level: Level) -> sql.Composed:
    return sql.SQL(
        "EXISTS (SELECT FROM {table} AS a WHERE a.window_start >= %(begin)s AND a.window_start < %(end)s"
        " AND a.window_start <@ (SELECT closed FROM fleetgauge.ledger WHERE metric = %(metric)s"
        " AND version = %(version)s AND grain = {grain}))"
    ).format(table=table(definition, level), grain=sql.Literal(level.grain))

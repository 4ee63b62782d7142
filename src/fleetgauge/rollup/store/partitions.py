"""Partitions of the metric tables: made when they are first written to, dropped as a whole.

They begin at local midnights of the metric's time zone, so that no hour or day lies in two of them.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, array_text, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import PARTITIONS, Level
from fleetgauge.rollup.store.tables import STORE, WRITER, table

PERIOD_END = """(CASE length({0}) WHEN 4 THEN make_date({0}::integer + 1, 1, 1)
    WHEN 6 THEN (to_date({0}, 'YYYYMM') + interval '1 month')::date ELSE to_date({0}, 'YYYYMMDD') + 1 END)"""
"""The local date on which the period of a partition ends, by the digits that its name ends with."""

CURE = (
    "is no partition any more, since somebody detached it: its rows are in no number; attach it again (ALTER TABLE … "
    "ATTACH PARTITION, with the bounds of its name in the metric's time zone), or give it another name"
)

_FILLED = 90
"""Per cent of a page that first rows may take: the rest is for what they become, which then needs no index entry."""

_FORMATS = {"month": "YYYYMM", "year": "YYYY"}

_MISSING = """
SELECT t.level, to_char(d, t.format), fleetgauge.date_start(d::date, %(zone)s),
    fleetgauge.date_start((d + t.length::interval)::date, %(zone)s), c.oid IS NOT NULL
FROM unnest(%(levels)s::text[], %(tables)s::text[], %(units)s::text[], %(lengths)s::text[], %(formats)s::text[])
    AS t(level, name, unit, length, format)
CROSS JOIN LATERAL (SELECT DISTINCT date_trunc(t.unit, w AT TIME ZONE %(zone)s)
    FROM unnest(%(windows)s::timestamptz[]) AS w) AS p(d)
LEFT JOIN pg_class AS c
    ON c.oid = to_regclass(format('%%I.%%I', %(schema)s::text, t.name || '_' || to_char(d, t.format)))
WHERE c.relispartition IS NOT TRUE
"""

_DETACHED = r"""
SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
JOIN fleetgauge.ledger AS l ON c.relname LIKE %(metric)s || '\_%%'
    AND c.relname ~ ('_' || l.grain || '__' || l.version || '_[0-9]{4,8}$')
CROSS JOIN LATERAL (SELECT substring(c.relname FROM '[0-9]+$')) AS s(digits)
WHERE l.metric = %(metric)s AND c.relkind = 'r' AND NOT c.relispartition
AND (l.kept_from IS NULL OR fleetgauge.date_start(period_end, %(zone)s) > l.kept_from)
ORDER BY 1
""".replace("period_end", PERIOD_END.format("s.digits"))


def ensure(
    connection: Connection[Any], definition: Definition, levels: Collection[Level], windows: Collection[datetime]
) -> None:
    """Make what `levels` lack for rows of these windows, of any grain. Inside the caller's transaction, under the
    metric's lock.

    A table is made first and attached then, which lets readers of the others go on. Raises `Terminal` where somebody
    has detached one.
    """
    if not windows:
        return
    units = [PARTITIONS[level.grain] for level in levels]
    missing = connection.execute(
        _MISSING,
        {
            "zone": definition.time_zone,
            "schema": STORE,
            "levels": [level.name for level in levels],
            "tables": [definition.table(level) for level in levels],
            "units": units,
            "lengths": [f"1 {unit}" for unit in units],
            "formats": [_FORMATS[unit] for unit in units],
            "windows": array_text(windows),
        },
    ).fetchall()
    if not missing:
        return
    named = {level.name: level for level in levels}
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
    for level, suffix, begin, end, is_there in missing:
        parent = table(definition, named[level])
        own = f"{definition.table(named[level])}_{suffix}"
        if is_there:
            raise Terminal(f"{STORE}.{own} {CURE}")
        name = sql.Identifier(STORE, own)
        text = "CREATE TABLE {} (LIKE {} INCLUDING ALL) WITH (fillfactor = {})"
        connection.execute(sql.SQL(text).format(name, parent, sql.Literal(_FILLED)))
        connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                parent, name, sql.Literal(begin), sql.Literal(end)
            )
        )
    connection.execute("RESET ROLE")


def detached(connection: Connection[Any], definition: Definition) -> list[str]:
    """Partitions of the metric's tables, of all its versions, that are kept and that somebody has detached."""
    values = {"schema": STORE, "metric": definition.metric, "zone": definition.time_zone}
    return [name for (name,) in connection.execute(_DETACHED, values).fetchall()]

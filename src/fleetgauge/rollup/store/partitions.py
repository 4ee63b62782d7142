"""Partitions of the metric tables: made when they are first written to, dropped as a whole.

They begin at local midnights of the metric's time zone, so that no hour or day lies in two of them.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import PARTITIONS, Level
from fleetgauge.rollup.store.tables import STORE, WRITER, table

_FORMATS = {"month": "YYYYMM", "year": "YYYY"}

_MISSING = """
SELECT t.level, to_char(d, t.format), fleetgauge.date_start(d::date, %(zone)s),
    fleetgauge.date_start((d + t.length::interval)::date, %(zone)s)
FROM unnest(%(levels)s::text[], %(tables)s::text[], %(units)s::text[], %(lengths)s::text[], %(formats)s::text[])
    AS t(level, name, unit, length, format)
CROSS JOIN LATERAL (SELECT DISTINCT date_trunc(t.unit, w AT TIME ZONE %(zone)s)
    FROM unnest(%(windows)s::timestamptz[]) AS w) AS p(d)
WHERE to_regclass(format('%%I.%%I', %(schema)s::text, t.name || '_' || to_char(d, t.format))) IS NULL
"""


def ensure(
    connection: Connection[Any], definition: Definition, levels: Collection[Level], windows: Collection[datetime]
) -> None:
    """Make what `levels` lack for rows of these windows, of any grain. Inside the caller's transaction, under the
    metric's lock.

    A table is made first and attached then, which lets readers of the others go on.
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
            "windows": list(windows),
        },
    ).fetchall()
    if not missing:
        return
    named = {level.name: level for level in levels}
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
    for level, suffix, begin, end in missing:
        parent = table(definition, named[level])
        name = sql.Identifier(STORE, f"{definition.table(named[level])}_{suffix}")
        connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(name, parent))
        connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                parent, name, sql.Literal(begin), sql.Literal(end)
            )
        )
    connection.execute("RESET ROLE")

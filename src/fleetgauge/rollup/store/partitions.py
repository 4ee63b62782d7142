"""Partitions of the metric tables: made when they are first written to, let go as a whole.

They begin at local midnights of the metric's time zone, so that no hour or day lies in two of them.
"""

from collections.abc import Collection, Mapping
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import PARTITIONS, Grain, Level
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.tables import STORE, WRITER, table

_FORMATS = {"month": "YYYYMM", "year": "YYYY"}

_MISSING = """
SELECT t.level, to_char(d, t.format), fleetgauge.date_start(d::date, %(zone)s),
    fleetgauge.date_start((d + t.length::interval)::date, %(zone)s)
FROM unnest(%(levels)s::text[], %(tables)s::text[], %(units)s::text[], %(lengths)s::text[], %(formats)s::text[],
    %(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS t(level, name, unit, length, format, starts, ends)
CROSS JOIN LATERAL generate_series(date_trunc(t.unit, t.starts AT TIME ZONE %(zone)s),
    (t.ends - interval '1 microsecond') AT TIME ZONE %(zone)s, t.length::interval) AS d
WHERE to_regclass(format('%%I.%%I', %(schema)s::text, t.name || '_' || to_char(d, t.format))) IS NULL
"""


def ensure(
    connection: Connection[Any], definition: Definition, levels: Collection[Level], spans: Mapping[Grain, Span]
) -> None:
    """Make what is not there of `levels` in the span of their grain (not empty). Inside the caller's transaction,
    under the metric's lock.

    A table is made first and attached then, which lets readers of the others go on.
    """
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
            "begins": [spans[level.grain][0] for level in levels],
            "ends": [spans[level.grain][1] for level in levels],
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

"""Partitions of the metric tables: made when they are first written to, let go as a whole.

They begin at local midnights of the metric's time zone, so that no hour or day lies in two of them.
"""

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from fleetgauge.rollup.definition import Definition
from fleetgauge.rollup.levels import PARTITIONS, Grain, Level
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.tables import STORE, WRITER, table

_FORMATS = {"month": "YYYYMM", "year": "YYYY"}

_MISSING = """
SELECT to_char(d, %(format)s), fleetgauge.date_start(d::date, %(zone)s),
    fleetgauge.date_start((d + %(length)s::interval)::date, %(zone)s)
FROM generate_series(date_trunc(%(unit)s, %(begin)s AT TIME ZONE %(zone)s),
    (%(end)s::timestamptz - interval '1 microsecond') AT TIME ZONE %(zone)s, %(length)s::interval) AS d
WHERE to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s || '_' || to_char(d, %(format)s))) IS NULL
"""


def ensure(connection: psycopg.Connection[Any], definition: Definition, level: Level, span: Span) -> None:
    """Make what `span` (not empty) needs and is not there. Inside the caller's transaction, under the metric's lock.

    A table is made first and attached then, which lets readers of the others go on.
    """
    unit = PARTITIONS[level.grain]
    parent = definition.table(level)
    values: dict[str, object] = {
        "format": _FORMATS[unit],
        "zone": definition.time_zone,
        "length": f"1 {unit}",
        "unit": unit,
    }
    values |= {"begin": span[0], "end": span[1], "schema": STORE, "table": parent}
    missing = connection.execute(_MISSING, values).fetchall()
    if not missing:
        return
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
    for suffix, begin, end in missing:
        name = sql.Identifier(STORE, f"{parent}_{suffix}")
        connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(name, table(definition, level)))
        connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                table(definition, level), name, sql.Literal(begin), sql.Literal(end)
            )
        )
    connection.execute("RESET ROLE")


def boundary(connection: psycopg.Connection[Any], grain: Grain, zone: str, instant: datetime) -> datetime:
    """Where the grain's partition that holds `instant` begins (UTC)."""
    row = connection.execute(
        "SELECT fleetgauge.date_start(date_trunc(%(unit)s, %(at)s AT TIME ZONE %(zone)s)::date, %(zone)s)",
        {"unit": PARTITIONS[grain], "zone": zone, "at": instant},
    ).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found

"""Two days of a company, repeated over half a year: in the tables, past the engine."""

from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from fleetgauge import pipeline
from fleetgauge.rollup import Definition, load_definitions
from fleetgauge.rollup.definitions.levels import Grain, Level
from fleetgauge.rollup.store import partitions
from fleetgauge.settings import Settings
from fleetlab.stack import PostgresState

DAYS: dict[Grain, int] = {"minute": 4, "hour": 40, "day": 184}
"""How far back each grain reaches."""


def repeat(postgres: PostgresState, known: Settings) -> None:
    """Fill every table of every metric backwards, in the partitions that runs would make. Blocks for a minute."""
    with psycopg.connect(postgres.url("metrics", "postgres", "metrics"), autocommit=True) as admin:
        for one in load_definitions(known.content, pipeline.key_id(known)).values():
            for level in one.levels:
                with admin.transaction():
                    _repeat(admin, one, level)
        admin.execute(
            "UPDATE fleetgauge.ledger SET done = '{(,infinity)}', kept_from = NULL, unavailable = '{}',"
            " closed = tstzmultirange(tstzrange('-infinity', date_trunc('hour', now())))"
        )
        admin.execute("VACUUM (ANALYZE)")


def _repeat(admin: psycopg.Connection, one: Definition, level: Level) -> None:
    now, days = datetime.now(UTC), DAYS[level.grain]
    partitions.ensure(admin, one, [level], [now - timedelta(days=n) for n in range(days + 3)])
    name = one.table(level)
    columns = [
        column
        for (column,) in admin.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(format('store.%%I', %s::text))"
            " AND attnum > 0 AND NOT attisdropped",
            [name],
        )
    ]
    earlier = {"window_start": "window_start - n * interval '2 days'", "date": "date - n * 2"}
    admin.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {values} FROM {table} CROSS JOIN generate_series(1, {times}) AS n"
            " WHERE window_start > now() - interval '50 hours' AND window_start <= now() ON CONFLICT DO NOTHING"
        ).format(
            table=sql.Identifier("store", name),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            values=sql.SQL(", ").join(
                sql.SQL(earlier[column]) if column in earlier else sql.Identifier(column) for column in columns
            ),
            times=sql.Literal(days // 2),
        )
    )

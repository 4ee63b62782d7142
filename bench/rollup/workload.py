"""The work: rentals uniform over 180 days, a change to 100 of them, and what is right afterwards."""

import random
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter

from bench.rollup.lab import Databases, scalar
from fleetgauge.rollup import GRAINS, Definition

DAYS = 180
CHANGED = 100
ZONE = "Asia/Seoul"

SCHEMA = """
CREATE TABLE rentals (
    id bigint PRIMARY KEY, zone text NOT NULL, model text NOT NULL, started_at timestamptz NOT NULL,
    ended_at timestamptz, fare numeric, status text NOT NULL, updated_at timestamptz NOT NULL
);
"""

_FILL = """
INSERT INTO rentals
SELECT n, 'zone-' || to_char(1 + floor(random() * 16), 'FM00'), 'model-' || 1 + floor(random() * 4)::int,
    started_at, started_at + interval '12 minutes', (1000 + floor(random() * 900000) / 100)::numeric(12, 2),
    'completed', started_at + interval '12 minutes'
FROM (SELECT n, %(end)s::timestamptz - random() * %(days)s * interval '1 day' AS started_at
      FROM generate_series(1, %(rows)s) AS n {order} OFFSET 0) AS rental
"""

DEFINITION: Definition = TypeAdapter(Definition).validate_python(
    {
        "metric": "ride",
        "source": "operations",
        "event_time": "started_at",
        "change_time": "updated_at",
        "time_zone": ZONE,
        "dimensions": {"zone": {"column": "zone", "limit": 16}, "model": {"column": "model", "limit": 4}},
        "measures": {"rentals": {"agg": "count"}, "fare": {"agg": "sum", "of": "fare", "type": "numeric"}},
        "source_sql": "SELECT zone, model, started_at, fare, updated_at FROM rentals",
    }
)

KEY = "window_start, zone, model"
_TRUTH = """
DROP TABLE IF EXISTS truth_{grain};
CREATE UNLOGGED TABLE truth_{grain} AS
SELECT date_trunc('{grain}', started_at, '{zone}') AS window_start, zone, model, count(*) AS rentals, sum(fare) AS fare
FROM rentals GROUP BY 1, 2, 3;
ANALYZE truth_{grain};
"""
_WRONG = """
SELECT count(DISTINCT window_start) FROM truth_{grain} AS t FULL JOIN {table} AS o USING (window_start, zone, model)
WHERE (t.rentals, t.fare) IS DISTINCT FROM (o.rentals, o.fare)
"""


def fill(databases: Databases, rows: int, seed: int, *, scattered: bool = False) -> None:
    """Insert the rentals, up to an hour before now; blocks for a while.

    They lie in the table as an app writes them, by their start; `scattered` in no order, a page for almost each row.
    """
    primary = databases.primary
    end = datetime.now(UTC) - timedelta(hours=1)
    with primary.transaction():
        primary.execute("SELECT setseed(%s)", [seed % 1000 / 1000])
        primary.execute(
            _FILL.format(order="" if scattered else "ORDER BY started_at"), {"end": end, "days": DAYS, "rows": rows}
        )
    primary.execute("CREATE INDEX ON rentals (started_at); CREATE INDEX ON rentals (updated_at)")
    primary.execute("GRANT SELECT ON rentals TO fleetgauge_reader")
    primary.execute("VACUUM (ANALYZE) rentals")
    databases.beat()


def change(databases: Databases, rows: int, seed: int) -> list[datetime]:
    """Update a row in each of 100 random minutes, each committed alone; the minutes (UTC)."""
    pick = random.Random(seed)
    minutes: dict[datetime, int] = {}
    while len(minutes) < CHANGED:
        number = pick.randint(1, rows)
        minutes.setdefault(
            scalar(databases.primary, "SELECT date_trunc('minute', started_at) FROM rentals WHERE id = %s", number),
            number,
        )
    for number in minutes.values():
        databases.primary.execute(
            "UPDATE rentals SET fare = fare + 1.25, status = 'refunded', updated_at = now() WHERE id = %s", [number]
        )
    return list(minutes)


def truth(databases: Databases) -> None:
    """Recompute everything by SQL from the rentals, on the primary: what all contenders are compared with."""
    for grain in GRAINS:
        databases.primary.execute(_TRUTH.format(grain=grain, zone=ZONE))


def wrong(databases: Databases, tables: str) -> dict[str, int]:
    """By grain, the windows with a cell that differs, is missing or is too many; `tables` as in `full_{grain}`."""
    return {
        grain: int(scalar(databases.primary, _WRONG.format(grain=grain, table=tables.format(grain=grain))))
        for grain in GRAINS
    }


def fetch_stored(databases: Databases) -> str:
    """Copy fleetgauge's tables as they are beside the truth; the name of the copies, for `wrong`."""
    for grain in GRAINS:
        databases.primary.execute(
            f"DROP TABLE IF EXISTS stored_{grain};"
            f" CREATE UNLOGGED TABLE stored_{grain} (window_start timestamptz, zone text, model text,"
            " rentals bigint, fare numeric)"
        )
        columns = f"{KEY}, rentals, fare"
        out = f"COPY (SELECT {columns} FROM metrics.{DEFINITION.metric}_{grain}) TO STDOUT"
        with (
            databases.metrics.cursor().copy(out) as source,
            databases.primary.cursor().copy(f"COPY stored_{grain} FROM STDIN") as target,
        ):
            for block in source:
                target.write(block)
        databases.primary.execute(f"ANALYZE stored_{grain}")
    return "stored_{grain}"

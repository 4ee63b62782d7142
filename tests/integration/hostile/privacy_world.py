"""Rides of riders whose ids nobody may find out."""

from datetime import UTC, datetime, timedelta

from rollup_world import World, definition

from fleetgauge.rollup import Definition

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR_AGO = NOW.replace(minute=10) - timedelta(hours=1)
RIDERS = (777, 12345)
"""Whom an attacker looks for: the only riders of zone `lonely`."""


def riders(**changes: object) -> Definition:
    """Riders by zone; `length` of the facts is the rider's id."""
    return definition(
        "ride",
        measures={"n": {"agg": "count"}, "riders": {"agg": "distinct", "of": "length"}},
        dimensions={"zone": {"column": "zone", "limit": 16}},
        rollups={"total": []},
        **changes,
    )


def ride(world: World) -> None:
    """Two riders in zone `lonely`, one each in two minutes; many elsewhere."""
    for minute, rider in enumerate(RIDERS):
        world.insert(HOUR_AGO + timedelta(minutes=minute), zone="lonely", state="done", length=rider)
    world.app.execute(
        "INSERT INTO facts (happened_at, zone, kind, state, length) SELECT %s, 'crowded', 'x', 'done', n * 7 + 1"
        " FROM generate_series(1, 500) AS n",
        [HOUR_AGO],
    )
    world.beat()
    world.catch_up()


def rides(world: World) -> Definition:
    """The metric, filled."""
    found = riders()
    world.migrate(found)
    world.forget(found)
    ride(world)
    return found


def stored_prints(world: World, table: str) -> set[int]:
    """Fingerprints of all small sketches of a table."""
    rows = world.metrics.execute(f"SELECT riders::text FROM store.{table} WHERE length(riders) <= 4096").fetchall()
    return {int(bits[i : i + 32], 2) for (bits,) in rows for i in range(0, len(bits), 32)}

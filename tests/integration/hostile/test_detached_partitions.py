"""Somebody detaches a partition of the metrics database, as an archive or to save a disk: told, and never dropped."""

from datetime import UTC, datetime, timedelta

from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest
from rollup_world import World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.expire import drop_expired
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
PARTITIONS = """
SELECT c.relname, p.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid JOIN pg_class AS p ON p.oid = i.inhparent
WHERE p.relname LIKE %s ORDER BY 1
"""


def run(world: World, one: Definition) -> str | None:
    world.beat()
    world.catch_up()
    error: str | None = world.run(one).error
    return error


def shown(world: World, one: Definition) -> list[int | None]:
    query = "SELECT sum(n)::integer FROM metrics.{}_{}"
    return [world.metrics.execute(query.format(one.metric, g)).fetchone()[0] for g in ("minute", "hour", "day")]


@fault(
    "A partition of a metric's own table is detached, of a time that is kept",
    number="without what it holds, as a whole partition, until it is attached again; retention does not drop it",
    freshness="error: the table, and the two ways out",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="detached_partition"}` as many as there are',
    exit_code="78 of freshness, and of a run that would write into it",
)
def test_a_detached_partition_is_told_and_never_dropped(world: World) -> None:
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    one = definition("archived", rollups={}, retention={"minute": "200d", "hour": "400d"})
    world.migrate(one)
    world.insert(SAME)
    world.insert(SAME - timedelta(days=45))
    assert run(world, one) is None and shown(world, one) == [2, 2, 2]
    found = world.metrics.execute(PARTITIONS, ["archived\\_%"]).fetchall()
    minutes = next(row for row in found if "_minute__" in row[0])
    hours = next(row for row in found if "_hour__" in row[0])
    for name, parent, _ in (minutes, hours):
        world.metrics.execute(f"ALTER TABLE store.{parent} DETACH PARTITION store.{name}")
    assert shown(world, one)[2] == 2 and shown(world, one)[0] == 1
    (dropped,) = drop_expired(world.settings, [one])
    assert (dropped.partitions, dropped.error) == ((), None)
    assert {row.verdict for row in freshness(world.settings, [one])} == {"error"}
    said = "\n".join(f.said for f in examine(world.settings, {one.metric: one}, {}) if f.status == "fail")
    assert f"store.{minutes[0]}" in said and f"store.{hours[0]}" in said
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, {one.metric: one}))
    sample = 'fleetgauge_rollup_condition{condition="detached_partition",metric="archived"} 2.0'
    assert sample in generate_latest(registry).decode()
    world.insert(SAME - timedelta(days=45))
    assert minutes[0] in (run(world, one) or "") or hours[0] in (run(world, one) or "")
    for name, parent, bounds in (minutes, hours):
        world.metrics.execute(f"ALTER TABLE store.{parent} ATTACH PARTITION store.{name} {bounds}")
    assert run(world, one) is None and shown(world, one) == [3, 3, 3]
    assert {row.verdict for row in freshness(world.settings, [one])} == {"ok"}
    expired = definition("archived", rollups={}, retention={"minute": "1d", "hour": "400d"})
    world.metrics.execute(f"ALTER TABLE store.{minutes[1]} DETACH PARTITION store.{minutes[0]}")
    drop_expired(world.settings, [expired])  # as after a retention that was killed between the two
    assert world.metrics.execute("SELECT to_regclass(%s)", [f"store.{minutes[0]}"]).fetchone() == (None,)
    assert {row.verdict for row in freshness(world.settings, [expired])} == {"ok"}

"""A `key` that identifies no row, such as an order's where each row is an item of it."""

from datetime import UTC, datetime, timedelta

from clock_world import doctor_says, gauge
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup import Definition, RunReport
from fleetgauge.rollup.operating.freshness import freshness

AT = (datetime.now(UTC) - timedelta(days=1)).replace(hour=4, minute=5, second=0, microsecond=0)
ITEMS = """
CREATE TABLE items (
    item bigserial PRIMARY KEY, purchase integer NOT NULL, kind text, at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON items (at); CREATE INDEX ON items (changed_at);
GRANT SELECT ON items TO fleetgauge_reader;
"""


@fault(
    "The `key` of a metric identifies no row, such as the id of an order whose items are the rows",
    number="none, or as before: the run ends before it computes, for an item that moves later would stay counted where "
    "it was",
    freshness="error: its last run failed, with metric.yaml's line, the column and some of its values",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="78 of run",
)
def test_a_key_of_several_rows_is_refused(world: World) -> None:
    world.app.execute("DROP TABLE IF EXISTS items")
    world.app.execute(ITEMS)
    world.catch_up()
    shared = metric("purchase")
    world.migrate(shared)
    buy(world, "helmet", "lock")
    said = run(world, shared).error
    assert said is not None
    assert "sql/metrics/bought/metric.yaml:1: key: purchase identifies no row: 1 of its values have several" in said
    assert doctor_says(world, shared, "fail").count("purchase identifies no row") == 1
    assert gauge(world, shared, "fleetgauge_rollup_condition", condition="failing") == 1
    held = [one.said for one in freshness(world.settings, [shared])[0].conditions]
    assert len(held) == 1
    assert "purchase identifies no row" in held[0]
    assert world.metrics.execute("SELECT count(*) FROM metrics.bought_day").fetchone() == (0,)

    own = metric("item")
    world.migrate(own)
    for before, after in (("helmet", "helmet"), ("lock", "glove")):
        assert run(world, own).error is None
        query = "UPDATE items SET kind = %s, changed_at = clock_timestamp() WHERE kind = %s"
        world.app.execute(query, [after, before])
    assert run(world, own).error is None
    for grain in ("minute", "hour", "day"):
        found = world.metrics.execute(f"SELECT kind, n FROM metrics.bought_{grain} ORDER BY 1").fetchall()
        assert found == [("glove", 1), ("helmet", 1)]


def test_so_is_one_that_comes_to_be_shared(world: World) -> None:
    world.app.execute("DROP TABLE IF EXISTS items")
    world.app.execute(ITEMS)
    world.catch_up()
    one = metric("purchase", "late_bought")
    world.migrate(one)
    buy(world, "helmet")
    assert run(world, one).error is None
    world.app.execute(
        "INSERT INTO items (purchase, kind, at) VALUES (2, 'helmet', %(at)s), (2, 'lock', %(at)s)", {"at": AT}
    )
    said = run(world, one).error
    assert said is not None and "purchase identifies no row: 1 of its values have several rows, such as 2;" in said
    assert world.metrics.execute("SELECT kind, n FROM metrics.late_bought_day").fetchall() == [("helmet", 1)]


def metric(key: str, name: str = "bought") -> Definition:
    return definition(
        name,
        key=key,
        event_time="at",
        dimensions={"kind": {"column": "kind", "limit": 16}},
        measures={"n": {"agg": "count"}},
        source_sql="SELECT * FROM items",
    )


def buy(world: World, *kinds: str) -> None:
    for kind in kinds:
        world.app.execute("INSERT INTO items (purchase, kind, at) VALUES (1, %s, %s)", [kind, AT])


def run(world: World, one: Definition) -> RunReport:
    world.beat()
    world.catch_up()
    return world.run(one)

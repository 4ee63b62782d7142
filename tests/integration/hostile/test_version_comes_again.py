"""A definition goes back to what it was: its old tables lack what was taken in since, and are not shown as they are."""

from datetime import UTC, datetime, timedelta

from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.store.migrate import migrate

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
GRAINS = ("minute", "hour", "day")
MEASURES = {"n": {"agg": "count"}, "length": {"agg": "sum", "of": "length"}}


def run(world: World, one: Definition) -> None:
    world.beat()
    world.catch_up()
    assert world.run(one).error is None


def shown(world: World) -> list[tuple[int, int, str]]:
    query = "SELECT sum(n)::integer, sum(length)::integer, max(version) FROM metrics.again_{}"
    return [world.metrics.execute(query.format(grain)).fetchone() for grain in GRAINS]


@fault(
    "A definition is reverted, after facts came late that only the version in between has taken in",
    number="that of the version in between, until a run has brought the earlier one up to it; then right",
    freshness="warn until that run: which version is shown",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="waiting"}` 1 until that run',
    exit_code="0; migrate says what it still shows",
)
def test_an_earlier_version_is_shown_once_it_has_caught_up(world: World) -> None:
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    first = definition("again", measures=MEASURES)
    second = definition(
        "again", measures={**MEASURES, "length": {"agg": "sum", "of": "length", "where": {"zone": "a"}}}
    )
    world.migrate(first)
    world.insert(SAME, length=1)
    world.insert(SAME, length=10, zone="b")
    run(world, first)
    assert shown(world) == [(2, 11, first.version)] * 3
    world.migrate(second)
    run(world, second)
    world.insert(SAME, length=100)
    world.insert(SAME - timedelta(days=2), length=1000, zone="b")
    run(world, second)
    assert shown(world) == [(4, 101, second.version)] * 3
    migrated = migrate(world.settings, {"again": first})
    assert (migrated.published, migrated.waiting) == ((), ("again",))
    assert shown(world) == [(4, 101, second.version)] * 3
    found = freshness(world.settings, [first])
    assert {one.verdict for one in found} == {"warn"} and f"version {second.version}" in found[0].conditions[0].said
    run(world, first)
    assert shown(world) == [(4, 1111, first.version)] * 3
    assert {one.verdict for one in freshness(world.settings, [first])} == {"ok"}

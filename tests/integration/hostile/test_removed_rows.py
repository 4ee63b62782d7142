"""Somebody empties a partition of a metric's own tables: it is told, and runs compute it again before anything else."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from clock_world import doctor_says, gauge
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.preview import preview_metrics
from fleetgauge.rollup.plan.request import RunRequest

AT = (datetime.now(UTC) - timedelta(days=2)).replace(hour=4, minute=5, second=0, microsecond=0)


def ready(world: World) -> None:
    world.beat()
    world.catch_up()


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    found = definition("removed")
    world.migrate(found)
    world.forget(found)
    for minute in range(0, 200, 7):
        world.insert(AT + timedelta(minutes=minute), state="done", zone="ab"[minute % 2], length=minute)
    for _ in range(2):
        ready(world)
        assert world.run(found).error is None
    world.assert_right(found)
    yield found
    world.metrics.execute("DELETE FROM fleetgauge.activity")


def partition(world: World, one: Definition, level: str) -> str:
    """The partition of the level's table that has its rows."""
    table = one.table(next(found for found in one.levels if found.name == level))
    rows = world.metrics.execute(
        "SELECT DISTINCT tableoid::regclass::text FROM store." + table + " WHERE window_start < %s",
        [AT + timedelta(days=1)],
    ).fetchall()
    assert len(rows) == 1
    return str(rows[0][0])


def told(world: World, one: Definition) -> list[str]:
    """What freshness says, the same everywhere."""
    standings = freshness(world.settings, [one])
    said = {held.said for found in standings for held in found.conditions if held.condition.name == "removed_rows"}
    assert len(said) == bool(gauge(world, one, "fleetgauge_rollup_condition", condition="removed_rows"))
    assert all(words in doctor_says(world, one, "fail") for words in said)
    assert {found.verdict for found in standings} == {"error" if said else "ok"}
    return sorted(said)


@fault(
    "Somebody empties a partition of a metric's own tables (TRUNCATE), of windows that are final",
    number="without what it held until the next run, which computes it again before it merges anything from it",
    freshness="error until then: the table and its time",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="removed_rows"}` as many as there are',
    exit_code="78 of freshness; plan lists what is computed again",
)
@pytest.mark.parametrize("how", ["TRUNCATE", "DELETE FROM"])
@pytest.mark.parametrize("level", ["minute", "hour", "day", "by_zone_hour", "total_day"])
def test_what_was_removed_is_told_and_computed_again(world: World, one: Definition, level: str, how: str) -> None:
    name = partition(world, one, level)
    world.metrics.execute(f"{how} {name}")
    world.metrics.execute(f"VACUUM ANALYZE {name}")
    (said,) = told(world, one)
    assert name in said
    (planned,) = preview_metrics(world.settings, [one], RunRequest("minute", None))
    assert planned.plan is not None
    assert [stage.reason for stage in planned.plan.stages][:1] == ["its rows are gone"]
    world.insert(
        AT + timedelta(minutes=14), state="done", length=99
    )  # comes late: its hour must not become all there is
    ready(world)
    assert world.run(one).error is None
    world.assert_right(one)
    assert told(world, one) == []
    ready(world)
    again = world.run(one)  # of a minute that has passed since, no more
    assert (again.cells, again.rows, again.restated) == (0, 0, 0)

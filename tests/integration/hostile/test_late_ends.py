"""Ends of intervals that come to be known long after their hours were final: time goes away, and no fact is lost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup.operating.freshness import freshness

AT = (datetime.now(UTC) - timedelta(days=3)).replace(hour=4, minute=5, second=0, microsecond=0)
STAYS = """
CREATE TABLE {} (
    id bigserial PRIMARY KEY, vehicle integer NOT NULL, zone text, at timestamptz NOT NULL,
    until timestamptz, changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON {} (at);
GRANT SELECT ON {} TO fleetgauge_reader;
"""


@fault(
    "A state's end comes to be known when the hours that it was thought to fill are final, and nothing else was there",
    number="without the time after the end, at every grain",
    freshness="ok: no fact is lost",
    doctor="ok",
    exporter="`fleetgauge_rollup_restated_total`",
    exit_code="0",
)
@pytest.mark.parametrize("counted", [False, True], ids=["time-alone", "with-a-count"])
@pytest.mark.parametrize("vehicles", [1, 30])
def test_time_after_a_late_end_goes_away(world: World, vehicles: int, counted: bool) -> None:
    name = f"late_end_{vehicles}_{counted:d}".lower()
    world.app.execute(STAYS.replace("{}", name))
    measures: dict[str, Any] = {"held": {"agg": "duration"}} | ({"stays": {"agg": "count"}} if counted else {})
    one = definition(
        name,
        event_time="at",
        dimensions={"zone": {"column": "zone", "limit": 64}},
        measures=measures,
        interval={"until": "until", "longest": "12h", "known_within": "30m"},
        source_sql=f"SELECT at, until, zone, changed_at FROM {name}",
    )
    world.catch_up()
    world.migrate(one)
    for number in range(vehicles):
        world.app.execute(f"INSERT INTO {name} (vehicle, zone, at) VALUES (%s, %s, %s)", [number, f"z{number}", AT])
    run(world, one)
    run(world, one)
    assert held(world, one, "day") == vehicles * 12 * 3600

    world.app.execute(f"UPDATE {name} SET until = at + interval '30 minutes', changed_at = now()")
    run(world, one)
    grains = ("minute", "hour", "day")
    assert {grain: held(world, one, grain) for grain in grains} == dict.fromkeys(grains, vehicles * 1800)
    assert [kept.condition.name for standing in freshness(world.settings, [one]) for kept in standing.conditions] == []


def run(world: World, one: Any) -> None:
    world.beat()
    world.catch_up()
    report = world.run(one)
    assert report.error is None, report.error


def held(world: World, one: Any, grain: str) -> int:
    (found,) = world.metrics.execute(f"SELECT coalesce(sum(held), 0) FROM metrics.{one.metric}_{grain}").fetchone()
    return int(found)

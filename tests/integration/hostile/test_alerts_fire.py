"""Faults on real servers, as the exporter tells of them: each fires its alert, names the thing, and fires no other."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alert_replay import exposition, firing, healthy_consumer
from rollup_world import Off, World, definition

from fleetgauge.fleet.suspect_exports import SuspectsCollector
from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.operating.business_exports import BusinessCollector
from fleetgauge.rollup.operating.exports import RollupCollector

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (docs/alerts.md)")

EXPORT: list[dict[str, Any]] = [
    {"measures": ["n", "share", "score"], "by": ["zone"], "over": "1h", "limit": 2},
    {"measures": ["amount"], "over": "1h"},
]


def made(world: World, **changes: Any) -> Definition:
    """A metric of its own with some facts, rolled up."""
    found = definition(f"alarm_{uuid4().hex[:8]}", **{"export": EXPORT, **changes})
    world.app.execute("TRUNCATE facts")
    world.metrics.execute("DELETE FROM fleetgauge.blocked")  # what earlier tests left of metrics that are no more
    world.migrate(found)
    for minutes in range(2, 62, 10):
        world.insert(datetime.now(UTC) - timedelta(minutes=minutes))
    roll_up(world, found)
    return found


def roll_up(world: World, one: Definition) -> Any:
    world.beat()
    world.catch_up()
    return world.run(one)


@pytest.fixture
def fired(world: World, tmp_path: Path) -> Any:
    """Which alerts fire as things stand, with all other processes well."""

    def ask(one: Definition) -> dict[str, str]:
        mine = {one.metric: one}
        shown = exposition(RollupCollector(world.settings, mine), BusinessCollector(world.settings, mine))
        return firing(tmp_path, shown, healthy_consumer(), consumers=1, fleetgauge=1)

    return ask


def test_nothing_fires_while_all_is_well(world: World, fired: Any) -> None:
    assert fired(made(world)) == {}


def test_a_blocked_check(world: World, fired: Any) -> None:
    one = made(world, checks={"fail": ["length <= 100"]})
    world.insert(datetime.now(UTC) - timedelta(minutes=5), length=1000, zone="b")
    roll_up(world, one)
    assert fired(one) == {"FleetgaugeCheckBlocked": f"{one.metric}: a check holds back 1 cells"}


def test_a_full_dimension(world: World, fired: Any) -> None:
    dimensions = {"zone": {"column": "zone", "limit": 10}, "kind": {"column": "kind", "limit": 16}}
    one = made(world, dimensions=dimensions, export=[EXPORT[1]])
    for number in range(12):
        world.insert(datetime.now(UTC) - timedelta(minutes=3), zone=f"z{number}")
    roll_up(world, one)
    assert fired(one) == {"FleetgaugeDimensionFull": f"{one.metric}: zone is full with 10 values"}


def test_a_source_column_that_vanished(world: World, fired: Any) -> None:
    one = made(world)
    world.app.execute("ALTER TABLE facts RENAME COLUMN score TO points")
    try:
        assert "score" in (roll_up(world, one).error or "")
        assert fired(one) == {"FleetgaugeRunFailing": f"runs of {one.metric} fail"}
    finally:
        world.app.execute("ALTER TABLE facts RENAME COLUMN points TO score")
        world.catch_up()


def test_a_workers_clock_that_jumped(world: World, fired: Any) -> None:
    one = made(world)
    run_metrics(world.settings, [one], "minute", options=RunOptions(pause_s=0.0, clock=Off(timedelta(minutes=10))))
    (said,) = fired(one).items()
    assert said[0] == "FleetgaugeClockSkew" and said[1].startswith(f"clocks around {one.metric} are ")


def test_a_heartbeat_that_jumped(world: World, fired: Any) -> None:
    one = made(world)
    world.app.execute(
        "UPDATE fleetgauge_heartbeat SET beat_at = beat_at + interval '10 min', "
        "oldest_xact_start = oldest_xact_start + interval '10 min'"
    )
    world.catch_up()
    (report,) = run_metrics(world.settings, [one], "minute", options=RunOptions(pause_s=0.0))
    assert "ahead of the other clocks" in (report.error or "")
    assert fired(one) == {"FleetgaugeRunFailing": f"runs of {one.metric} fail"}


def test_business_numbers_are_those_of_the_final_hour(world: World) -> None:
    one = made(world)
    for zone, count in (("b", 3), ("c", 1), ("d", 1)):
        for number in range(count):
            world.insert(
                datetime.now(UTC) - timedelta(minutes=20), zone=zone, state="done", amount=100, score=number + 1
            )
    roll_up(world, one)
    clock = [0.0]
    collector = BusinessCollector(world.settings, {one.metric: one}, monotonic=lambda: clock[0])
    shown = _samples(exposition(collector))
    name = f"fleetgauge_business_{one.metric}"
    until = shown[f'fleetgauge_business_until_timestamp_seconds{{metric="{one.metric}",over="1h"}}']
    assert 0 <= time.time() - until < 180
    n = {key: value for key, value in shown.items() if key.startswith(f"{name}_n{{")}
    assert n[f'{name}_n{{over="1h",zone="b"}}'] == 3
    truth = world.metrics.execute(
        f"SELECT sum(n), sum(amount) FROM metrics.{one.metric}_minute WHERE window_start >= to_timestamp(%s)"
        " AND window_start < to_timestamp(%s)",
        [until - 3600, until],
    ).fetchone()
    assert sum(n.values()) == truth[0] and len(n) == 3  # two by themselves, the others together
    assert shown[f'{name}_n{{over="1h",zone="(other)"}}'] == 2
    assert shown[f'{name}_share{{over="1h",zone="b"}}'] == 1
    assert shown[f'{name}_amount{{over="1h"}}'] == truth[1]
    assert shown[f'{name}_score{{over="1h",quantile="0.5",zone="b"}}'] == pytest.approx(2, rel=0.02)
    assert shown[f'fleetgauge_business_overflow{{metric="{one.metric}",over="1h"}}'] == 2

    world.insert(datetime.now(UTC) - timedelta(minutes=20), zone="b", state="done", amount=100)
    roll_up(world, one)
    clock[0] = 59.0
    assert _samples(exposition(collector))[f'{name}_n{{over="1h",zone="b"}}'] == 3  # read once a minute
    clock[0] = 60.0
    assert _samples(exposition(collector))[f'{name}_n{{over="1h",zone="b"}}'] == 4


def test_no_fact_in_a_final_hour_is_nought_and_nothing_final_is_nothing(world: World) -> None:
    one = definition(f"alarm_{uuid4().hex[:8]}", export=EXPORT)
    world.app.execute("TRUNCATE facts")
    world.migrate(one)
    assert exposition(BusinessCollector(world.settings, {one.metric: one})) == ""
    world.insert(datetime.now(UTC) - timedelta(hours=5))
    roll_up(world, one)
    shown = _samples(exposition(BusinessCollector(world.settings, {one.metric: one})))
    assert shown[f'fleetgauge_business_{one.metric}_amount{{over="1h"}}'] == 0
    assert not [key for key in shown if f"{one.metric}_n{{" in key]


def test_suspects_are_counted_and_the_new_ones_too(world: World) -> None:
    day = datetime.now(UTC).date()
    for back, vehicles in ((1, ["sc-1"]), (0, ["sc-1", "sc-2"])):
        world.metrics.execute(
            "INSERT INTO fleetgauge.suspect_day (date, method, documents, trips, unheard) VALUES (%s, 'm', 1, 50, 4)",
            [day - timedelta(days=back)],
        )
        for vehicle in vehicles:
            world.metrics.execute(
                "INSERT INTO fleetgauge.suspect_vehicle_day VALUES (%s, %s, 'm', -5, 9, '{stood}', '[]')",
                [day - timedelta(days=back), vehicle],
            )
    shown = _samples(exposition(SuspectsCollector(world.settings, "UTC")))
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    assert shown == {
        "fleetgauge_fleet_suspects": 2,
        "fleetgauge_fleet_suspects_new": 1,
        "fleetgauge_fleet_suspects_until_timestamp_seconds": end.timestamp(),
        "fleetgauge_fleet_trips": 50,
        "fleetgauge_fleet_trips_unheard": 4,
    }


def _samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}

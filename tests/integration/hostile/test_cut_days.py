"""A version that begins within a day, since the source has lost what came before: what is shown, and who says so."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from clock_world import doctor_says, gauge
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.freshness import freshness

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
GRAINS = ("minute", "hour", "day")


def zone_of() -> str:
    """One in which it is between ten and twenty o'clock now, so that today has a past and a future."""
    names = ("Asia/Seoul", "Etc/GMT-3", "Etc/GMT+5", "Etc/GMT+11")
    return next(name for name in names if 9 <= NOW.astimezone(ZoneInfo(name)).hour < 21)


ZONE = zone_of()
TODAY = NOW.astimezone(ZoneInfo(ZONE)).replace(hour=0, minute=0)


def metric(limit: int) -> Definition:
    return definition("cut", time_zone=ZONE, dimensions={"zone": {"column": "zone", "limit": limit}}, rollups={})


def ready(world: World) -> None:
    world.beat()
    world.catch_up()


def filled(world: World, one: Definition) -> None:
    world.migrate(one)
    for _ in range(2):
        ready(world)
        assert world.run(one).error is None


@pytest.fixture(autouse=True)
def begun(world: World) -> Iterator[None]:
    """Facts at 00:03, 07:03 and 08:03 of today and two of yesterday, which a first version has counted."""
    for one in (metric(16), metric(17)):
        world.migrate(one)
        world.forget(one)
        world.metrics.execute("DELETE FROM fleetgauge.activity; UPDATE fleetgauge.ledger SET unavailable = '{}'")
    for hours in (1, 2, 9, 27, 30):
        world.insert(TODAY + timedelta(hours=9 - hours, minutes=3, seconds=40))
    filled(world, metric(16))
    yield


def sums(world: World) -> dict[str, int]:
    """Facts of today by grain."""
    return {
        grain: world.metrics.execute(
            f"SELECT sum(n)::int FROM metrics.cut_{grain} WHERE window_start >= %s", [TODAY]
        ).fetchone()[0]
        for grain in GRAINS
    }


def told(world: World, one: Definition) -> list[str]:
    """What is said of the day, the same everywhere; and that no clock is blamed and nothing is late."""
    found = freshness(world.settings, [one])
    assert [(standing.late, standing.ahead) for standing in found] == [("ok", None)] * 3
    said = sorted({held.said for standing in found for held in standing.conditions if held.condition.name == "cut_day"})
    assert bool(said) == bool(gauge(world, one, "fleetgauge_rollup_condition", condition="cut_day"))
    assert all(words in doctor_says(world, one, "warn") for words in said)
    assert {standing.verdict for standing in found} == {"warn" if said else "ok"}
    return said


@fault(
    "A definition changes after the source has lost the beginning of today",
    number="of that day provisional, as the older version left it; minutes and hours right; whole from the next day on",
    freshness="warn for a week: the day, why, and from when days are whole again",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="cut_day"}` 1, `fleetgauge_rollup_ahead_seconds` 0',
    exit_code="0",
)
def test_a_day_that_no_version_has_whole_is_told(world: World) -> None:
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY + timedelta(hours=5)])
    new = metric(17)
    filled(world, new)
    world.insert(NOW - timedelta(minutes=1))
    filled(world, new)
    assert sums(world) == {"minute": 4, "hour": 4, "day": 3}
    day = "SELECT version, provisional FROM metrics.cut_day WHERE window_start = %s"
    assert world.metrics.execute(day, [TODAY]).fetchall() == [(metric(16).version, True)]
    (said,) = told(world, new)
    assert f"{TODAY:%Y-%m-%d}T00:00" in said and f"whole again from {TODAY + timedelta(days=1):%Y-%m-%d}" in said


@fault(
    "A definition changes when the source has lost all before today, such as by a nightly archive",
    number="right, today's day too, by the new version; the days before stay from the older one",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_a_day_whose_beginning_is_there_is_computed_by_the_new_version(world: World) -> None:
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY])
    new = metric(17)
    filled(world, new)
    world.insert(NOW - timedelta(minutes=1))
    world.insert(TODAY + timedelta(minutes=1))  # earlier than what the source began with
    filled(world, new)
    assert sums(world) == {"minute": 5, "hour": 5, "day": 5}
    assert told(world, new) == []
    versions = "SELECT version FROM metrics.cut_day ORDER BY window_start"
    assert world.metrics.execute(versions).fetchall() == [(metric(16).version,), (new.version,)]


def test_a_minute_of_which_a_part_is_left_is_no_beginning(world: World) -> None:
    world.insert(TODAY + timedelta(minutes=3, seconds=20))
    filled(world, metric(16))
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY + timedelta(minutes=3, seconds=30)])
    new = metric(17)
    filled(world, new)
    assert sums(world) == {"minute": 4, "hour": 4, "day": 4}
    assert len(told(world, new)) == 1

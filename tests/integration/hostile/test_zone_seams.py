"""A metric whose time zone changes when its source has lost what is older: ranges over both zones lose nothing."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.freshness import freshness

FIRST = (datetime.now(UTC) - timedelta(days=12)).replace(hour=0, minute=0, second=0, microsecond=0)
LAST = FIRST + timedelta(days=10)
LOST = FIRST + timedelta(days=5, hours=13, minutes=7)
"""Before it the source has nothing any more."""
EVERY = timedelta(minutes=13)


@fault(
    "A metric gets another time zone when its source has lost what is older",
    number="right by the minute and hour, and over every range; the days on both sides of the change are those of "
    "each zone, and what lies between them is in no row of the day's views",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0; plan says from when on the new version shows which days",
)
def test_ranges_are_exact_where_a_metric_had_another_zone(world: World, zones: tuple[str, str]) -> None:
    one = moved(world, *zones)
    times = [FIRST + n * EVERY for n in range((LAST - FIRST) // EVERY + 1)]
    edges = [FIRST, LOST, LAST + EVERY, *(LOST + timedelta(hours=n) for n in (-30, -7, -1, 0, 1, 5, 20, 40))]
    draw = random.Random("seams")
    edges += [FIRST + timedelta(minutes=draw.randrange(10 * 1440)) for _ in range(5)]
    for stem in (one.metric, f"{one.metric}_total"):
        for since in edges:
            for until in (at for at in edges if at > since):
                wanted = sum(since <= at < until for at in times)
                for grain in ("minute", "hour", "day", "6 hours"):
                    assert counted(world, stem, since, until, grain) == wanted, (stem, grain, since, until)
    assert not [held.condition for found in freshness(world.settings, [one]) for held in found.conditions]


@pytest.fixture(
    params=[
        ("Asia/Seoul", "America/New_York"),
        ("America/New_York", "Asia/Seoul"),
        ("Asia/Seoul", "Asia/Kathmandu"),
        ("Australia/Lord_Howe", "Asia/Kolkata"),
    ],
    ids=lambda zones: "-".join(zone.rpartition("/")[2].lower() for zone in zones),
)
def zones(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.mark.parametrize("since", [FIRST, LOST - timedelta(hours=2)], ids=["from-the-first", "from-the-seam"])
@pytest.mark.parametrize(("grain", "most"), [("hour", 5), ("day", 111)])
def test_buckets_of_a_seam_neither_overlap_nor_hold_more_than_their_own(
    world: World, zones: tuple[str, str], grain: str, most: int, since: datetime
) -> None:
    one = moved(world, *zones)
    found = world.metrics.execute(
        f"SELECT bucket_start, sum(n), max(window_start) FROM metrics.{one.metric}_range(%s, %s, %s)"
        " GROUP BY 1 ORDER BY 1",
        [since, LAST + EVERY, grain],
    ).fetchall()
    assert all(n <= most for _, n, _ in found)
    assert all(latest < later for (_, _, latest), (later, _, _) in pairwise(found))


def moved(world: World, before: str, after: str) -> Definition:
    """A fact every 13 minutes; the older version shows those before `LOST`, by its own zone."""
    name = f"seam_{before[-5:]}_{after[-5:]}".lower()
    world.empty()
    world.app.execute(
        "INSERT INTO facts (happened_at, zone, kind, state, length) SELECT at, 'a', 'x', 'open', 1"
        " FROM generate_series(%s::timestamptz, %s::timestamptz, %s::interval) AS at",
        [FIRST, LAST, EVERY],
    )
    filled(world, metric(name, before))
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [LOST])
    return filled(world, metric(name, after))


def filled(world: World, one: Definition) -> Definition:
    world.migrate(one)
    for _ in range(2):
        world.beat()
        world.catch_up()
        assert world.run(one).error is None
    return one


def metric(name: str, zone: str) -> Definition:
    return definition(
        name,
        time_zone=zone,
        dimensions={"zone": {"column": "zone", "limit": 16}},
        rollups={"total": []},
        measures={"n": {"agg": "count"}},
    )


def counted(world: World, stem: str, since: datetime, until: datetime, grain: str) -> Any:
    query = f"SELECT coalesce(sum(n), 0) FROM metrics.{stem}_range(%s, %s, %s)"
    return world.metrics.execute(query, [since, until, grain]).fetchone()[0]

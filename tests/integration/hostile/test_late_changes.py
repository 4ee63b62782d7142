"""An application that writes the change time by a clock of its own, which lags: no change is missed, and it is told."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from clock_world import beat, clocked, doctor_says, gauge, run, totals
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics

LAG = timedelta(minutes=3)
GRAINS = ("minute", "hour", "day")


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    yield from clocked(world)


def lagging(world: World, fact: int, lag: timedelta = LAG, **columns: object) -> None:
    """The application changes a row, and its clock says so long ago."""
    sets = "".join(f", {name} = %({name})s" for name in columns)
    world.app.execute(
        f"UPDATE facts SET changed_at = clock_timestamp() - %(lag)s{sets} WHERE id = %(id)s",
        {"id": fact, "lag": lag, **columns},
    )


def next_run(world: World, one: Definition) -> None:
    beat(world)
    report = run(world, one)
    assert (report.error, report.deferred) == (None, None)


@fault(
    "An application writes `updated_at` by its own clock, which lags by 3 min",
    number="right: changes are counted by their time, and read again where more have come, 10 min back at most",
    freshness="warn: changes came late, by how much, and what to do",
    doctor="warn: the same",
    exporter='fleetgauge_rollup_condition{condition="late_changes"}',
    exit_code="0",
)
def test_changes_of_a_clock_that_lags_are_counted(world: World, one: Definition) -> None:
    ride = world.insert(datetime.now(UTC) - timedelta(minutes=15), state="open", amount=1)
    next_run(world, one)
    assert totals(world, one) == dict.fromkeys(GRAINS, (4, 4))
    assert {found.verdict for found in freshness(world.settings, [one])} == {"ok"}
    late = world.insert(datetime.now(UTC) - timedelta(minutes=25), state="open")
    lagging(world, late)
    next_run(world, one)
    assert totals(world, one) == dict.fromkeys(GRAINS, (5, 5))
    lagging(world, ride, state="done")  # it ends
    next_run(world, one)
    assert totals(world, one) == dict.fromkeys(GRAINS, (5, 4))
    world.assert_right(one)
    for found in freshness(world.settings, [one]):
        (held,) = found.conditions
        assert (found.verdict, held.condition.name, held.count) == ("warn", "late_changes", 1)
        assert "1 change(s) appeared up to 1" in held.said  # 180 s and some
    assert "a clock that writes it lags" in doctor_says(world, one, "warn")
    assert gauge(world, one, "fleetgauge_rollup_condition", condition="late_changes") == 1


def test_as_many_may_leave_the_same_seconds_as_come(world: World, one: Definition) -> None:
    """Counts alone would be equal."""
    at = datetime.now(UTC).replace(second=2, microsecond=0) - timedelta(minutes=4)
    first, second = (world.insert(datetime.now(UTC) - timedelta(minutes=m), state="open") for m in (20, 40))
    world.app.execute("UPDATE facts SET changed_at = %s WHERE id = %s", [at, first])
    next_run(world, one)
    world.app.execute("UPDATE facts SET changed_at = now(), state = 'done' WHERE id = %s", [first])
    world.app.execute(
        "UPDATE facts SET changed_at = %s, state = 'done' WHERE id = %s", [at + timedelta(seconds=3), second]
    )
    next_run(world, one)
    assert totals(world, one) == dict.fromkeys(GRAINS, (5, 3))
    world.assert_right(one)


def test_a_row_that_a_lagging_clock_moves_leaves_no_shadow(world: World) -> None:
    keyed = definition(f"late_{uuid4().hex[:8]}", key="id")
    world.app.execute("TRUNCATE facts")
    world.migrate(keyed)
    rides = [world.insert(datetime.now(UTC) - timedelta(minutes=m), zone="a") for m in (15, 70)]
    next_run(world, keyed)
    for zone in ("b", "c"):
        for ride in rides:
            lagging(world, ride, zone=zone, happened_at=datetime.now(UTC) - timedelta(minutes=40))
        next_run(world, keyed)
        world.assert_right(keyed)
    world.change(rides[0], zone="a")
    next_run(world, keyed)
    world.assert_right(keyed)


def test_rows_that_change_once_more_are_no_news(world: World, one: Definition) -> None:
    """They leave the seconds in which they were, and are read where they are now; the next plan is empty."""
    rides = [world.insert(datetime.now(UTC) - timedelta(minutes=m), state="open") for m in range(2, 9)]
    next_run(world, one)
    for state in ("done", "paid"):
        for ride in rides[::2]:
            world.change(ride, state=state)
        next_run(world, one)
        world.assert_right(one)
    assert {found.verdict for found in freshness(world.settings, [one])} == {"ok"}


@fault(
    "An application writes `updated_at` by its own clock, which lags by more than 10 min",
    number="wrong until the next reconcile",
    freshness="ok until then, with when it was last compared; warn once that is 50 h ago",
    doctor="ok until then; warn the same",
    exporter="fleetgauge_reconcile_differed_total",
    exit_code="0",
)
def test_what_lags_more_is_found_by_reconcile(world: World, one: Definition) -> None:
    world.app.execute("UPDATE facts SET changed_at = changed_at - interval '2 hours'")
    next_run(world, one)
    ride = world.insert(datetime.now(UTC) - timedelta(hours=3), state="open")
    lagging(world, ride, timedelta(minutes=25))
    next_run(world, one)
    assert totals(world, one) == dict.fromkeys(GRAINS, (3, 3))
    now = datetime.now(UTC)
    (compared,) = reconcile_metrics(world.settings, [one], (now - timedelta(hours=30), now), anew=True)
    assert (compared.error, compared.restated) == (None, True)
    assert compared.different > 0
    next_run(world, one)
    world.assert_right(one)

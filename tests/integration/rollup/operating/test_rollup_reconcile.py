"""What no change column tells of is found by comparing sums, and restated; what is let go stays as it was."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from rollup_world import QUICK, World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.expire import drop_expired
from fleetgauge.rollup.operating.reconcile import Reconciliation, reconcile_metrics

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
DAYS = timedelta(days=1)


def _ready(world: World) -> None:
    world.beat()
    world.catch_up()


def _reconcile(world: World, one: Definition, days: int = 5, **more: Any) -> Reconciliation:
    _ready(world)
    return reconcile_metrics(world.settings, [one], (NOW - days * DAYS, NOW), options=QUICK, **more)[0]


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    found = definition("compared")
    world.migrate(found)
    world.forget(found)
    _ready(world)
    for hours in range(1, 100, 3):
        for zone in ("a", "b"):
            world.insert(NOW - timedelta(hours=hours), zone=zone, state="done", amount=hours, length=hours)
    _ready(world)
    assert world.run(found).error is None
    yield found


def test_what_is_equal_is_left_alone(world: World, one: Definition) -> None:
    report = _reconcile(world, one)
    assert report.error is None
    assert report.hours > 100
    assert (report.different, report.differences) == (0, ())


def test_hard_deletes_and_silent_updates_are_found_and_restated(world: World, one: Definition) -> None:
    world.app.execute("DELETE FROM facts WHERE happened_at = %s AND zone = 'a'", [NOW - timedelta(hours=10)])
    world.app.execute("UPDATE facts SET amount = 7 WHERE happened_at = %s", [NOW - timedelta(hours=40)])
    world.app.execute("UPDATE facts SET zone = 'c' WHERE happened_at = %s AND zone = 'b'", [NOW - timedelta(hours=70)])
    dry = _reconcile(world, one, dry_run=True)
    assert dry.different == 3
    assert not dry.restated
    measures = {(d.window_start.astimezone(UTC), d.dimensions["zone"], d.measure) for d in dry.differences}
    assert any(zone == "a" and measure == "n" for _, zone, measure in measures)
    with pytest.raises(AssertionError):
        world.assert_right(one)
    assert _reconcile(world, one).different == 3
    world.assert_right(one)
    assert _reconcile(world, one).different == 0
    row = world.metrics.execute("SELECT differed FROM fleetgauge.activity WHERE metric = 'compared'").fetchone()
    assert row == (3,)


def test_what_the_next_run_will_do_is_no_difference(world: World, one: Definition) -> None:
    world.insert(NOW - timedelta(hours=20), zone="b")
    assert _reconcile(world, one).different == 0
    assert world.run(one).error is None
    world.assert_right(one)


# --- retention ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(world: World) -> Iterator[Definition]:
    """Minutes for two months, hours for two years, the source for 1,000 days."""
    found = definition("kept", retention={"minute": "60d", "hour": "730d"}, source_kept="1000d")
    world.migrate(found)
    world.forget(found)
    _ready(world)
    yield found


def _counts(world: World, one: Definition, at: datetime) -> dict[str, int]:
    """How many facts each level has around an instant."""
    found = {}
    for level in one.levels:
        (n,) = world.metrics.execute(
            f"SELECT coalesce(sum(n), 0) FROM metrics.{one.view(level)} WHERE window_start BETWEEN %s AND %s",
            [at - 2 * DAYS, at + 2 * DAYS],
        ).fetchone()
        found[level.name] = int(n)
    return found


def test_history_is_loaded_at_the_grain_that_is_kept_and_late_facts_enter_there(world: World, kept: Definition) -> None:
    recent, months, years = NOW - 5 * DAYS, NOW - 300 * DAYS, NOW - 1200 * DAYS
    for at in (recent, months, years):
        world.insert(at)
    _ready(world)
    assert world.run(kept).error is None
    levels = {level.name: level.grain for level in kept.levels}
    assert _counts(world, kept, recent) == dict.fromkeys(levels, 1)
    assert _counts(world, kept, months) == {n: int(grain != "minute") for n, grain in levels.items()}
    assert _counts(world, kept, years) == {n: int(grain == "day") for n, grain in levels.items()}

    world.insert(months + timedelta(minutes=3))
    _ready(world)
    report = world.run(kept)
    assert (report.error, report.late_unapplied) == (None, 0)
    assert _counts(world, kept, months) == {n: 2 * int(grain != "minute") for n, grain in levels.items()}
    assert world.stored(kept, "day") == world.expected(kept, "day")

    world.insert(years + timedelta(minutes=3))  # older than the source keeps: what is there can't be trusted any more
    _ready(world)
    report = world.run(kept)
    assert (report.error, report.late_unapplied) == (None, 1)
    assert _counts(world, kept, years) == {n: int(grain == "day") for n, grain in levels.items()}
    row = world.metrics.execute(
        "SELECT late_unapplied FROM fleetgauge.ledger WHERE metric = 'kept' AND grain = 'minute'"
    ).fetchone()
    assert row == (1,)


def test_partitions_are_dropped_and_hours_stay(world: World, kept: Definition) -> None:
    old = NOW - 58 * DAYS
    world.insert(old)
    world.insert(NOW - DAYS)
    _ready(world)
    world.run(kept)
    before = _counts(world, kept, old)
    assert before["minute"] == 1
    shorter = definition("kept", retention={"minute": "7d", "hour": "730d"}, source_kept="1000d")
    assert shorter.version == kept.version  # how long rows are kept changes no number
    dry = drop_expired(world.settings, [shorter], dry_run=True)[0]
    assert dry.error is None
    assert dry.partitions
    assert _counts(world, kept, old) == before
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name)) as reader:  # holds its snapshot
        reader.execute("SELECT count(*) FROM metrics.kept_day")
        reader.commit()
        assert drop_expired(world.settings, [shorter])[0].partitions == dry.partitions
    assert _counts(world, kept, old) == {**before, "minute": 0}
    assert drop_expired(world.settings, [shorter])[0].partitions == ()
    world.insert(old + timedelta(minutes=1))
    _ready(world)
    assert world.run(shorter).error is None
    assert _counts(world, kept, old)["hour"] == 2
    assert world.stored(kept, "hour") == world.expected(kept, "hour")
    assert world.stored(kept, "total_day") == world.expected(kept, "total_day")

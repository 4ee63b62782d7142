"""A row that breaks a check withholds its own cell and nothing else, and everything that tells of numbers says so."""

from datetime import UTC, datetime, timedelta

import pytest
from fault_table import fault
from rollup_world import World, definition

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition, raise_failures
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
AT = NOW.replace(minute=0) - 3 * HOUR + 7 * MINUTE


@pytest.fixture
def one(world: World) -> Definition:
    found = definition("guarded", checks={"fail": ["length <= 100"]}, rollups={"by_zone": ["zone"]})
    world.migrate(found)
    world.forget(found)
    return found


def _run(world: World, one: Definition):
    world.beat()
    world.catch_up()
    return world.run(one)


def _provisional(world: World, one: Definition, grain: str) -> dict[tuple[datetime, str], bool]:
    rows = world.metrics.execute(f"SELECT window_start, zone, provisional FROM metrics.{one.metric}_{grain}").fetchall()
    return {(at.astimezone(UTC), zone): flag for at, zone, flag in rows}


@fault(
    "One row breaks a `fail` check among many that are right",
    number="its cell keeps the old row; every other cell of the minute is written; the window is provisional",
    freshness="error, names check and cell",
    doctor="fail, names check and cell",
    exporter='fleetgauge_rollup_blocked_cells, fleetgauge_rollup_condition{condition="blocked"}',
    exit_code="78 of run and freshness",
)
def test_the_other_cells_of_the_minute_are_right(world: World, one: Definition) -> None:
    bad = world.insert(AT, zone="a")
    _run(world, one)
    world.change(bad, length=1000)
    for zone in ("b", "c"):
        world.insert(AT, zone=zone, length=50)
    report = _run(world, one)
    assert [str(b) for b in report.blocked] == [f"{AT:%Y-%m-%dT%H:%MZ} zone=a kind=x"]
    with pytest.raises(Terminal, match=r"'length <= 100' is broken in 1 cell\(s\), first .* zone=a kind=x"):
        raise_failures([report])
    for grain in ("minute", "hour", "day"):
        lengths = {key[1]: row[4] for key, row in world.stored(one, grain).items()}
        assert lengths == {"a": 1, "b": 50, "c": 50}, grain
        assert all(_provisional(world, one, grain).values()), grain

    [minute, hour, day] = freshness(world.settings, [one])
    assert {minute.verdict, hour.verdict, day.verdict} == {"error"}
    assert minute.late == hour.late == "ok"
    assert "zone=a" in minute.conditions[0].said
    findings = [f for f in examine(world.settings, {one.metric: one}, {}) if f.about == "numbers"]
    assert [(f.status, "zone=a" in f.said) for f in findings] == [("fail", True)]
    samples = {
        (sample.name, sample.labels.get("condition")): sample.value
        for family in RollupCollector(world.settings, {one.metric: one}).collect()
        for sample in family.samples
    }
    assert samples["fleetgauge_rollup_blocked_cells", None] == 1
    assert samples["fleetgauge_rollup_condition", "blocked"] == 1

    world.change(bad, length=3)
    assert _run(world, one).blocked == ()
    world.assert_right(one)
    assert {f.verdict for f in freshness(world.settings, [one])} == {"ok"}


def test_a_cell_blocked_in_the_running_hour_makes_nothing_final_early(world: World, one: Definition) -> None:
    world.insert(NOW - HOUR)
    world.insert(NOW - MINUTE, length=1000)
    assert len(_run(world, one).blocked) == 1
    for found in freshness(world.settings, [one]):
        assert found.closed_until is None or found.closed_until <= datetime.now(UTC), found.grain
        assert found.behind is None or found.behind >= timedelta(), found.grain


def test_what_stays_broken_is_tried_less_and_less_often(world: World, one: Definition) -> None:
    world.insert(AT, zone="a", length=1000)
    assert [b.tries for b in _run(world, one).blocked] == [1]
    assert [b.tries for b in _run(world, one).blocked] == [1], "not at once again"
    world.metrics.execute("UPDATE fleetgauge.blocked SET retry_at = '2001-01-01'")
    report = _run(world, one)
    [still] = report.blocked
    assert still.tries == 2
    assert report.watermark is not None
    assert timedelta(minutes=1) < still.retry_at - report.watermark <= timedelta(minutes=4)


def test_a_definition_that_allows_it_takes_the_cell_in(world: World, one: Definition) -> None:
    """The check is corrected, not the row: a new version computes all from the source."""
    world.insert(AT, zone="a", length=1000)
    assert len(_run(world, one).blocked) == 1
    wider = definition("guarded", checks={"fail": ["length <= 5000"]}, rollups={"by_zone": ["zone"]})
    world.migrate(wider)
    assert _run(world, wider).blocked == ()
    world.assert_right(wider)

"""Governments change time zones, and each server has its own copy of the rules: two copies cut no day in two ways."""

import shutil
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clock_world import doctor_says, gauge, run, totals
from fault_table import fault
from rollup_world import QUICK, World, definition

from fleetgauge.rollup import Definition, zone_rules
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics

ZONE = "America/Lima"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[None]:
    """This worker's copy has rules for the zone that Postgres does not have."""
    before = zoneinfo.TZPATH
    named = next(Path(one) for one in before if (Path(one) / "Asia" / "Seoul").exists())
    (tmp_path / "America").mkdir()
    shutil.copy(named / "America" / "New_York", tmp_path / "America" / "Lima")
    _use((str(tmp_path), *before))
    yield
    _use(before)


def _use(path: tuple[str, ...]) -> None:
    zoneinfo.reset_tzpath(path)
    zoneinfo.ZoneInfo.clear_cache()
    zone_rules.offsets.cache_clear()


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    found = definition("zoned", time_zone=ZONE)
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    world.migrate(found)
    for hours in range(1, 240, 5):
        world.insert(NOW - timedelta(hours=hours))
    world.beat()
    world.catch_up()
    assert run(world, found, QUICK).error is None
    yield found
    world.forget(found)


@fault(
    "A country changes its time zone, and worker and metrics database know it from different days on",
    number="as before: nothing is computed by two calendars",
    freshness="error: its last run failed, with the zone and the day",
    doctor="fail: the zone, the day and what to update; warn up to a year before",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="78 of run",
)
def test_days_are_not_cut_in_two_ways(world: World, one: Definition, request: pytest.FixtureRequest) -> None:
    before = totals(world, one)
    assert doctor_says(world, one, "fail") == ""
    request.getfixturevalue("moved")
    world.insert(NOW - timedelta(hours=100))
    world.beat()
    world.catch_up()
    report = run(world, one, QUICK)
    assert report.error is not None
    assert f"different rules of time zone {ZONE}" in report.error
    assert report.severity == "terminal"
    (compared,) = reconcile_metrics(world.settings, [one], (NOW - timedelta(days=5), NOW), options=QUICK)
    assert ZONE in (compared.error or "")
    assert totals(world, one) == before
    assert "error" in {standing.verdict for standing in freshness(world.settings, [one])}
    assert ZONE in doctor_says(world, one, "fail")
    assert gauge(world, one, "fleetgauge_rollup_condition", condition="failing") == 1


def test_what_will_differ_is_told_before(world: World) -> None:
    zones = ("Asia/Seoul", "Europe/London", "Australia/Lord_Howe", "UTC")
    found = {zone: zone_rules.differing(world.metrics, zone, NOW, timedelta(days=365)) for zone in zones}
    assert set(found.values()) == {None}


@fault(
    "source.sql reads local times by the zone's name, and the source's server has other rules of that zone",
    number="as before: nothing is computed from instants that may be hours off",
    freshness="error: its last run failed, with file, line, zone and day",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="failing"}` 1',
    exit_code="78 of run",
)
def test_a_source_that_makes_instants_by_other_rules_is_refused(world: World, request: pytest.FixtureRequest) -> None:
    """Also while the metrics database's rules of another zone, its own, are right."""
    local = f"SELECT *,\n (happened_at AT TIME ZONE 'UTC') AT TIME ZONE '{ZONE}' AS local_at FROM facts"
    found = definition("named", time_zone="Asia/Seoul", source_sql=local, event_time="local_at")
    world.empty()
    world.migrate(found)
    world.insert(NOW - timedelta(hours=30))
    world.beat()
    world.catch_up()
    assert run(world, found, QUICK).error is None
    before = totals(world, found)
    assert before["day"] == (1, 1)
    request.getfixturevalue("moved")
    world.insert(NOW - timedelta(hours=50))
    world.beat()
    world.catch_up()
    report = run(world, found, QUICK)
    assert report.severity == "terminal" and report.error is not None
    assert report.error.startswith("sql/metrics/named/source.sql:2: this worker and source operations have different")
    assert totals(world, found) == before
    assert "error" in {standing.verdict for standing in freshness(world.settings, [found])}
    assert ZONE in doctor_says(world, found, "fail")
    assert gauge(world, found, "fleetgauge_rollup_condition", condition="failing") == 1
    _use(tuple(one for one in zoneinfo.TZPATH if "pytest" not in one))
    world.beat()
    world.catch_up()
    assert run(world, found, QUICK).error is None
    assert totals(world, found)["day"] == (2, 2)

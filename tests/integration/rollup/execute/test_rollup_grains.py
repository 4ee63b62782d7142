"""A metric without minutes, or without hours too, is computed from its source at its finest grain."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rollup_world import QUICK, World, definition, window_start

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.operating.explain import explain
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.operating.show import show

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
CASES: list[list[Grain]] = [["hour", "day"], ["day"]]


def ready(world: World) -> None:
    world.beat()
    world.catch_up()


def an_hour_later(world: World, one: Definition) -> None:
    """As if the last look at the source had been an hour ago."""
    world.metrics.execute(
        "UPDATE fleetgauge.ledger SET cursor_at = cursor_at - interval '1 hour'"
        " WHERE metric = %s AND version = %s AND grain = 'minute'",
        [one.metric, one.version],
    )


def assert_right(world: World, one: Definition) -> None:
    """Every level holds the facts of the windows of the finest grain that have ended, and no others."""
    running = world.ledger(one, one.finest)[0][-1].upper
    assert running >= window_start(NOW, one.finest, one.time_zone)
    moved = world.app.execute("DELETE FROM facts WHERE happened_at >= %s RETURNING *", [running]).fetchall()
    world.assert_right(one)
    with world.app.cursor() as cursor:
        cursor.executemany("INSERT INTO facts VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", moved)


@pytest.fixture(params=CASES, ids=lambda grains: grains[0])
def one(world: World, request: pytest.FixtureRequest) -> Definition:
    found = definition(
        f"coarse_{request.param[0]}",
        grains=request.param,
        dimensions={"zone": {"column": "zone", "limit": 5000}, "kind": {"column": "kind", "limit": 16}},
        rollups={"by_zone": ["zone"], "total": []},
        checks={"fail": ["length < 1000"]},
    )
    world.migrate(found)
    world.forget(found)
    for hours in range(0, 100, 3):
        for zone in ("a", "b"):
            world.insert(NOW - hours * HOUR, zone=zone, state="done", amount=hours, length=hours, score=hours)
    ready(world)
    report = world.run(found)
    assert (report.error, report.deferred) == (None, None)
    return found


def test_windows_are_there_once_they_have_ended(world: World, one: Definition) -> None:
    assert [level.name for level in one.levels if level.whole] == one.grains
    assert_right(world, one)
    views = world.metrics.execute("SELECT viewname FROM pg_views WHERE schemaname = 'metrics'").fetchall()
    assert (f"{one.metric}_minute",) not in views
    closed = world.ledger(one, one.finest)[1]
    # an hour may have ended between the start of these tests and the run
    earliest, latest = (window_start(at, one.finest, one.time_zone) for at in (NOW, datetime.now(UTC)))
    assert earliest <= closed[-1].upper <= latest


def test_what_is_late_is_computed_within_the_hour(world: World, one: Definition) -> None:
    world.insert(NOW - 50 * HOUR, zone="c", state="done")
    ready(world)
    report = world.run(one)
    assert (report.windows, report.source_seconds) == (0, 0)  # it rests: the source is not even asked
    an_hour_later(world, one)
    report = world.run(one)
    assert report.error is None
    assert report.windows > 0
    assert_right(world, one)
    row = world.metrics.execute("SELECT count(*) FROM fleetgauge.restatement WHERE metric = %s", [one.metric])
    assert row.fetchone() != (0,)


def test_a_broken_check_keeps_the_whole_window_provisional(world: World, one: Definition) -> None:
    fact = world.insert(NOW - 30 * HOUR, zone="a", state="done", length=5000)
    ready(world)
    an_hour_later(world, one)
    report = world.run(one)
    assert len(report.blocked) == 1
    begin = window_start(NOW - 30 * HOUR, one.finest, one.time_zone)
    assert not any(begin in spans for spans in world.ledger(one, one.finest)[1])
    world.change(fact, length=5)
    ready(world)
    an_hour_later(world, one)
    assert world.run(one).blocked == ()
    assert any(begin in spans for spans in world.ledger(one, one.finest)[1])
    assert_right(world, one)


def test_what_no_change_tells_of_is_found_by_comparing(world: World, one: Definition) -> None:
    world.app.execute("DELETE FROM facts WHERE zone = 'b' AND length = 48")
    ready(world)

    def compared() -> Any:
        return reconcile_metrics(world.settings, [one], (NOW - 120 * HOUR, NOW), options=QUICK, anew=True)[0]

    first = compared()
    assert (first.error, first.different, first.restated) == (None, 1, True)
    assert compared().different == 0
    assert_right(world, one)


def test_ranges_show_and_freshness_know_its_grains(world: World, one: Definition) -> None:
    since, until = ((NOW - ago * HOUR).replace(minute=17) for ago in (70, 20))
    computed = world.ledger(one, one.finest)[0][-1].upper
    assert computed in {window_start(at, one.finest, one.time_zone) for at in (NOW, datetime.now(UTC))}
    begin = window_start(since, one.finest, one.time_zone)
    end = window_start(until, one.finest, one.time_zone) + (HOUR if one.finest == "hour" else 24 * HOUR)
    for wish in GRAINS:
        found = world.metrics.execute(
            f"SELECT sum(n), min(bucket_start) FROM metrics.{one.metric}_range(%s, %s, %s)", [since, until, wish]
        ).fetchone()
        expected = world.app.execute(
            "SELECT count(*) FROM facts WHERE happened_at >= %s AND happened_at < least(%s, %s)",
            [begin, end, computed],
        ).fetchone()
        assert found is not None and expected is not None
        assert found[0] == expected[0]
    said = world.metrics.execute(f"SELECT fleetgauge.range_said('{one.metric}', %s, %s)", [since, until]).fetchone()
    assert said is not None and said[0].startswith(" (")  # which stretch it is in truth
    assert [f.grain for f in freshness(world.settings, [one])] == one.grains
    assert {f.verdict for f in freshness(world.settings, [one])} == {"ok"}
    with pytest.raises(Terminal, match="has no minutes; give --grain"):
        show(world.settings, one, "minute", timedelta(days=3), None, 10)
    with pytest.raises(Terminal, match="has no minutes"):
        explain(world.settings, one, NOW, "minute", {})
    assert show(world.settings, one, "day", timedelta(days=9), ["zone"], 100).rows
    assert explain(world.settings, one, NOW - 30 * HOUR, "day", {"zone": "a"}).final

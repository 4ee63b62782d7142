"""Rows whose time is possible, but far ahead of now: in no number, and told, until time is there; then they count."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fault_table import fault
from prometheus_client import CollectorRegistry, generate_latest
from rollup_world import World, definition

from fleetgauge.rollup import Definition, RunReport
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.operating.show import show

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SAME = NOW - timedelta(hours=3)
FAR = NOW + timedelta(days=3 * 365)
GRAINS = ("minute", "hour", "day")
AHEAD = "happened_at is too far ahead of now"


@pytest.fixture(autouse=True)
def empty(world: World) -> None:
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")


def run(world: World, one: Definition) -> RunReport:
    world.beat()
    world.catch_up()
    return world.run(one)


def counted(world: World, one: Definition) -> list[Any]:
    """The same at minute, hour and day."""
    return [
        world.metrics.execute(f"SELECT coalesce(sum(n), 0) FROM metrics.{one.metric}_{grain}").fetchone()[0]
        for grain in GRAINS
    ]


def page(world: World, one: Definition) -> str:
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, {one.metric: one}))
    return generate_latest(registry).decode()


@fault(
    "A row's event time lies three years ahead",
    number="without it, and with it once that time has come",
    freshness="warn, with its key",
    doctor="warn, with its key",
    exporter="fleetgauge_rollup_left_out_rows",
    exit_code="0",
)
@pytest.mark.parametrize("first", [True, False], ids=["at the first run", "later"])
def test_a_time_far_ahead_makes_no_window_and_is_told(world: World, first: bool) -> None:
    one = definition(f"far_{first}".lower())
    world.migrate(one)
    world.insert(SAME)
    if not first:
        run(world, one)
    far = world.insert(FAR)
    soon = world.insert(datetime.now(UTC) + timedelta(minutes=5))
    report = run(world, one)
    assert report.error is None and f"1 row(s) left out, {AHEAD}" in " ".join(report.warnings)
    assert counted(world, one) == [2] * 3  # what is a little ahead is in the window that it will be in
    latest = world.metrics.execute(f"SELECT max(window_start) FROM metrics.{one.metric}_minute").fetchone()[0]
    assert latest < NOW + timedelta(days=1)
    assert {found.verdict for found in freshness(world.settings, [one])} == {"warn"}
    warned = "\n".join(f.said for f in examine(world.settings, {one.metric: one}, {}) if f.status != "ok")
    assert AHEAD in warned and f"{FAR:%Y-%m-%d}" in warned
    assert f'fleetgauge_rollup_left_out_rows{{metric="{one.metric}",reason="{AHEAD}"}} 1.0' in page(world, one)
    assert (AHEAD, 1) in show(world.settings, one, "day", timedelta(days=2), None, 10).left_out
    compared = reconcile_metrics(world.settings, [one], (SAME - timedelta(hours=1), NOW), dry_run=True)[0]
    assert compared.error is None and compared.different == 0
    world.app.execute("DELETE FROM facts WHERE id = ANY(%s)", [[far, soon]])
    assert run(world, one).error is None
    assert "left_out_rows{" not in page(world, one)


def test_once_the_time_is_there_the_row_counts_at_every_grain(world: World) -> None:
    one = definition("waiting", accepts={"ahead": "0s"})
    world.migrate(one)
    world.insert(SAME)
    run(world, one)
    world.insert(datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(seconds=61))
    assert AHEAD in " ".join(run(world, one).warnings)
    assert counted(world, one) == [1] * 3
    world.app.execute("UPDATE facts SET happened_at = now() - interval '2 minutes' WHERE happened_at > now()")
    # The row did not change by its change time: only time went on. Nothing but the whole minute can find it.
    world.metrics.execute(
        "UPDATE fleetgauge.ledger SET done = done - tstzmultirange(tstzrange(now() - interval '10 minutes', NULL)),"
        " closed = closed - tstzmultirange(tstzrange(now() - interval '10 minutes', NULL)) WHERE metric = 'waiting'"
    )
    report = run(world, one)
    assert report.error is None and AHEAD not in " ".join(report.warnings)
    assert counted(world, one) == [2] * 3


@pytest.mark.parametrize("gone", [FAR.isoformat(), "0202-03-04", "infinity"])
def test_a_row_that_moves_out_of_time_leaves_no_shadow(world: World, gone: str) -> None:
    one = definition(f"shadow_{gone[:3]}", key="id")
    world.migrate(one)
    world.insert(SAME)
    moved = world.insert(SAME, zone="b")
    run(world, one)
    assert counted(world, one) == [2] * 3
    world.app.execute("UPDATE facts SET happened_at = %s, changed_at = now() WHERE id = %s", [gone, moved])
    assert run(world, one).error is None
    assert counted(world, one) == [1] * 3
    world.change(moved, happened_at=SAME, zone="c")
    assert run(world, one).error is None
    assert counted(world, one) == [2] * 3

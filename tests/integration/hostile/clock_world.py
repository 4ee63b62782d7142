"""A metric whose clocks a test sets, and what readers are told of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from prometheus_client import CollectorRegistry
from rollup_world import World, definition

from fleetgauge.rollup import Definition, RunReport, run_metrics
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.settings import Settings

REAL = RunOptions(pause_s=0.0)
"""As in production."""


def clocked(world: World) -> Iterator[Definition]:
    """A metric with an hour of facts that a first run has taken up."""
    found = definition(f"clock_{uuid4().hex[:8]}")
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    world.migrate(found)
    for minutes in (61, 31, 1):
        world.insert(datetime.now(UTC) - timedelta(minutes=minutes))
    beat(world)
    assert run(world, found).error is None
    yield found
    world.app.execute(
        "ALTER TABLE fleetgauge_heartbeat ALTER beat_at SET NOT NULL, ALTER oldest_xact_start SET NOT NULL"
    )


def beat(world: World, by: timedelta = timedelta()) -> None:
    """The primary's clock is off `by` that much, and writes a heartbeat."""
    world.app.execute(
        "INSERT INTO fleetgauge_heartbeat SELECT 1, at, at FROM (SELECT clock_timestamp() + %s) AS _(at)"
        " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, oldest_xact_start = excluded.oldest_xact_start",
        [by],
    )
    world.catch_up()


def run(world: World, one: Definition, options: RunOptions = REAL, settings: Settings | None = None) -> RunReport:
    return run_metrics(settings or world.settings, [one], "minute", options=options)[0]


def totals(world: World, one: Definition) -> dict[str, tuple[int, int]]:
    """By grain: facts, and those that are open."""
    return {
        grain: world.metrics.execute(f"SELECT sum(n), sum(open) FROM metrics.{one.metric}_{grain}").fetchone()
        for grain in ("minute", "hour", "day")
    }


def gauge(world: World, one: Definition, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(RollupCollector(world.settings, {one.metric: one}))
    return registry.get_sample_value(name, {"metric": one.metric, **labels})


def doctor_says(world: World, one: Definition, status: str) -> str:
    found = doctor.examine(world.settings, {one.metric: one}, {})
    return "\n".join(f"{line.about} {line.said}" for line in found if line.status == status)

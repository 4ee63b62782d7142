"""A source as a run finds it."""

from datetime import UTC, datetime, timedelta

from rollup_world import World, definition

from fleetgauge.rollup import Definition

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR_AGO = NOW - timedelta(hours=1)


def migrated_metric(world: World) -> Definition:
    """A metric of its own, with a heartbeat and no fact."""
    found = definition()
    world.migrate(found)
    world.forget(found)
    world.beat()
    world.catch_up()
    return found


def ready(world: World) -> None:
    world.beat()
    world.catch_up()

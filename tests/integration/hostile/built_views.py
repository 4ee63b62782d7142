"""What an analyst has built on a metric's views."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rollup_world import World

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR_AGO = NOW - timedelta(hours=1)


def report_of_an_analyst(world: World) -> Iterator[None]:
    """A schema of analysts, and a role of theirs, which the whole cluster knows."""
    world.metrics.execute("CREATE SCHEMA report")
    world.metrics.execute("DO $$ BEGIN CREATE ROLE finance NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    world.insert(HOUR_AGO, zone="a", length=3)
    world.insert(HOUR_AGO, zone="b", length=4, state="done")
    yield
    world.metrics.execute("DROP SCHEMA report CASCADE; DROP OWNED BY finance; DROP ROLE finance")

"""What a comparison found about events that are stored twice: one row a metric, written by `reconcile`."""

from typing import Any

from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.values import Repeated

_RECORD = """
INSERT INTO fleetgauge.repeated_event (metric, day, sampled, found, example)
VALUES (%(metric)s, %(day)s, %(sampled)s, %(found)s, %(example)s)
ON CONFLICT (metric) DO UPDATE SET day = excluded.day, sampled = excluded.sampled, found = excluded.found,
    example = excluded.example, seen_at = excluded.seen_at
"""


def record(connection: Connection[Any], definition: Definition, found: Repeated) -> None:
    """Replace what was known."""
    row = {"metric": definition.metric, **vars(found), "day": found.day.date()}
    connection.execute(_RECORD, row)


def known(connection: Connection[Any], metric: str) -> Repeated | None:
    """What the last comparison found; None before the first."""
    row = connection.execute(
        "SELECT day::timestamp AT TIME ZONE 'UTC', sampled, found, example FROM fleetgauge.repeated_event"
        " WHERE metric = %s",
        [metric],
    ).fetchone()
    return None if row is None else Repeated(*row)

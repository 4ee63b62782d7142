"""Have the next run read every stored command event again: after a restored backup, or when rules have changed.

A rebuild merges into what is there, so nothing is missing meanwhile, and events that Elasticsearch no longer keeps
stay. It is taken up where it stood when it is broken off.
"""

from dataclasses import dataclass

from fleetgauge.commands.month_partitions import LOCK
from fleetgauge.postgres import Connection, only_row
from fleetgauge.postgres.schema_revision import check


@dataclass(frozen=True)
class CommandProgress:
    """One source of command events."""

    topic: str
    group: str
    index: str
    rescan: bool
    """Whether it is being read again."""
    partition: int | None
    """Where that has come to; None: at the beginning."""
    offset: int | None


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild reads again, and what there was before and after; None: it was not done."""

    sources: tuple[CommandProgress, ...]
    events: int
    attempts: int
    events_after: int | None = None
    attempts_after: int | None = None


def progress(connection: Connection) -> list[CommandProgress]:
    """Every source that has been materialised."""
    rows = connection.execute(
        "SELECT topic, consumer_group, index_name, rescan, rescanned[1], rescanned[2]"
        " FROM fleetgauge.command_cursor ORDER BY 1, 2, 3"
    ).fetchall()
    return [CommandProgress(*row) for row in rows]


def held(connection: Connection) -> tuple[int, int]:
    """How many events and attempts there are."""
    found = connection.execute(
        "SELECT (SELECT count(*) FROM fleetgauge.command_event), (SELECT count(*) FROM fleetgauge.command_attempt)"
    )
    events, attempts = only_row(found)
    return events, attempts


def request(connection: Connection, *, from_empty: bool = False) -> None:
    """Reset the cursors; joins the caller's transaction, and waits for a run that is under way.

    `from_empty` forgets everything first: events that Elasticsearch no longer keeps are then gone for good. Raises
    `Terminal` when the metrics database is of another release.
    """
    connection.execute(LOCK.format("pg_advisory_xact_lock"))
    check(connection)
    connection.execute("UPDATE fleetgauge.command_cursor SET rescan = true, rescanned = NULL, updated_at = now()")
    if from_empty:
        connection.execute("TRUNCATE fleetgauge.command_event, fleetgauge.command_attempt")
        connection.execute("UPDATE fleetgauge.command_cursor SET judged_at = '-infinity'")

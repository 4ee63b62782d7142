"""How far a Postgres snapshot can be trusted: the instant before which no unseen change can carry its time.

A snapshot hides transactions that have not committed, and a standby shows neither them nor the primary's sessions. So
the primary's own job writes, every few seconds, `fleetgauge_heartbeat(beat_at, oldest_xact_start)`: first the clock,
then the least start of all open transactions, prepared ones included. Whatever a snapshot that shows a heartbeat does
not show was still running when it was taken, or began later: its time, taken from its own transaction or from a
later clock, is not before `min(beat_at, oldest_xact_start)`.

That holds while the primary's clock is right and goes forward. Neither is assumed: `rollup.plan.clock_bounds`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetgauge.errors import Terminal, Transient
from fleetgauge.postgres import Connection, only_row

HEARTBEAT_TABLE = "fleetgauge_heartbeat"


@dataclass(frozen=True)
class ClockSteps:
    """What production's heartbeat remembers of its clock being set back."""

    count: int
    """How often that was, ever."""
    earliest: datetime | None
    """The earliest time that it said right after, of the last hour at least (UTC)."""


@dataclass(frozen=True)
class SourceWatermark:
    """Every change that its snapshot does not show has a change time at or after `at`; times in UTC."""

    at: datetime
    heartbeat_at: datetime
    """When it was measured; goes backwards if the snapshots come from different replicas, or with the clock."""
    clock: datetime | None = None
    """What the server that was asked says the time is; None where that is no clock of its own."""
    steps: ClockSteps | None = None
    """None where nobody remembers them."""


def of_snapshot(
    connection: Connection[Any], source: str, max_transaction_age_s: float | None
) -> SourceWatermark | None:
    """The source watermark of the transaction that is open on `connection`, by the heartbeat that its snapshot shows.

    None before the first heartbeat. Without the table, the last replayed commit less the declared age of the
    oldest transaction stands in for it. Raises `Terminal` when neither is there, `Transient` when the heartbeat is not
    one instant: two rows, NULL or infinite.
    """
    row = connection.execute(
        "SELECT to_regclass(%(t)s) IS NOT NULL, coalesce(has_table_privilege(to_regclass(%(t)s), 'SELECT'), false)",
        {"t": HEARTBEAT_TABLE},
    ).fetchone()
    exists, readable = row if row is not None else (False, False)
    if exists and readable:
        return _heartbeat(connection, source)
    if max_transaction_age_s is None:
        lack = "may not be read by its login" if exists else "does not exist"
        raise Terminal(
            f"source {source}: table {HEARTBEAT_TABLE} {lack}; let production write it (sql/source/) "
            f"or set sources.{source}.max_transaction_age_s to the longest that a transaction there lives"
        )
    aged = connection.execute(
        """
        SELECT seen - make_interval(secs => %s), seen, clock_timestamp()
        FROM (
            SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE statement_timestamp() END
        ) AS t(seen)
        """,
        [max_transaction_age_s],
    ).fetchone()
    return None if aged is None or aged[1] is None else SourceWatermark(*aged)


def _heartbeat(connection: Connection[Any], source: str) -> SourceWatermark | None:
    rows = connection.execute(
        # Only years that Python and the arithmetic of windows can hold.
        f"""
        SELECT CASE WHEN sound THEN least(beat_at, oldest_xact_start) END, CASE WHEN sound THEN beat_at END,
            clock_timestamp(), beat_at::text, oldest_xact_start::text, (row ->> 'set_back')::bigint,
            CASE WHEN (row ->> 'set_back_to')::timestamptz BETWEEN '0002-01-01Z' AND '9998-01-01Z'
                THEN (row ->> 'set_back_to')::timestamptz END
        FROM {HEARTBEAT_TABLE} AS h, LATERAL (SELECT to_jsonb(h) AS row) AS _row, LATERAL (
            SELECT beat_at BETWEEN '0002-01-01Z' AND '9998-01-01Z'
                AND oldest_xact_start BETWEEN '0002-01-01Z' AND '9998-01-01Z'
        ) AS _(sound)
        WHERE id = 1 LIMIT 2
        """  # noqa: S608
    ).fetchall()
    if len(rows) > 1:
        raise Transient(
            f"source {source}: table {HEARTBEAT_TABLE} has more than one row with id 1, so that nobody knows which to"
            " believe; keep the one that production's job writes and give the table its primary key (sql/source/)"
        )
    if not rows:
        return None
    at, heartbeat_at, clock, heartbeat_text, oldest_text, set_back, set_back_to = rows[0]
    if heartbeat_at is None:
        raise Transient(
            f"source {source}: the heartbeat is no instant (beat_at {heartbeat_text or 'NULL'}, oldest_xact_start"
            f" {oldest_text or 'NULL'}), so nothing is computed by it; let production's job write it anew (sql/source/)"
        )
    # A table of an earlier release has no such columns.
    steps = None if set_back is None else ClockSteps(set_back, set_back_to)
    return SourceWatermark(at, heartbeat_at, clock, steps)


def others(connection: Connection[Any]) -> int:
    """How many rows of the heartbeat's table nobody reads, since their id is not 1; 0 without the table."""
    readable = connection.execute(
        "SELECT coalesce(has_table_privilege(to_regclass(%s), 'SELECT'), false)", [HEARTBEAT_TABLE]
    )
    if not only_row(readable)[0]:
        return 0
    found = connection.execute(f"SELECT count(*) FROM {HEARTBEAT_TABLE} WHERE id IS DISTINCT FROM 1")  # noqa: S608
    return int(only_row(found)[0])


def of_sessions(connection: Connection[Any], ignored_prefix: str) -> SourceWatermark:
    """The source watermark of a snapshot that is taken on this server *after* the call, measured directly.

    For a server that is written and read at once. `connection` must be in autocommit: the sessions have to be
    looked at before the snapshot, or a transaction that commits between the two would be missed. Sessions whose
    application name begins with `ignored_prefix` do not count: they write nothing that is read here.
    """
    found = connection.execute(
        """
        WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
        SELECT
            least(
                now,
                (SELECT min(xact_start) FROM pg_stat_activity
                 WHERE datname = current_database() AND backend_type <> 'autovacuum worker' AND pid <> pg_backend_pid()
                   AND NOT starts_with(application_name, %s)),
                (SELECT min(prepared) FROM pg_prepared_xacts WHERE database = current_database())
            ),
            now
        FROM clock
        """,
        [ignored_prefix],
    )
    return SourceWatermark(*only_row(found))

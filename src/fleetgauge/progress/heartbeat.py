"""How far a Postgres snapshot can be trusted: the instant before which no unseen change can carry its time.

A snapshot hides transactions that have not committed, and a standby shows neither them nor the primary's sessions. So
the primary's own job writes, every few seconds, `fleetgauge_heartbeat(beat_at, oldest_xact_start)`: first the clock,
then the least start of all open transactions, prepared ones included. Whatever a snapshot that shows a beat does not
show was still running when that beat was taken, or began later: its time, taken from its own transaction or from a
later clock, is not before `min(beat_at, oldest_xact_start)`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, only_row

HEARTBEAT_TABLE = "fleetgauge_heartbeat"


@dataclass(frozen=True)
class Horizon:
    """Every change that its snapshot does not show has a change time at or after `at`; times in UTC."""

    at: datetime
    beat_at: datetime
    """When it was measured; goes backwards only if the snapshots come from different replicas."""


def of_snapshot(connection: Connection[Any], source: str, max_transaction_age_s: float | None) -> Horizon | None:
    """The horizon of the transaction that is open on `connection`, by the heartbeat that its snapshot shows.

    None while there is no beat to read yet. Without the table, the last replayed commit less the declared age of the
    oldest transaction stands in for it. Raises `Terminal` when neither is there.
    """
    row = connection.execute(
        "SELECT to_regclass(%(t)s) IS NOT NULL, coalesce(has_table_privilege(to_regclass(%(t)s), 'SELECT'), false)",
        {"t": HEARTBEAT_TABLE},
    ).fetchone()
    exists, readable = row if row is not None else (False, False)
    if exists and readable:
        beat = connection.execute(
            f"SELECT least(beat_at, oldest_xact_start), beat_at FROM {HEARTBEAT_TABLE} WHERE id = 1"  # noqa: S608
        ).fetchone()
        return None if beat is None or beat[1] is None else Horizon(*beat)
    if max_transaction_age_s is None:
        lack = "may not be read by its login" if exists else "does not exist"
        raise Terminal(
            f"source {source}: table {HEARTBEAT_TABLE} {lack}; let production write it (sql/source/) "
            f"or set sources.{source}.max_transaction_age_s to the longest that a transaction there lives"
        )
    aged = connection.execute(
        """
        SELECT seen - make_interval(secs => %s), seen
        FROM (
            SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE statement_timestamp() END
        ) AS t(seen)
        """,
        [max_transaction_age_s],
    ).fetchone()
    return None if aged is None or aged[1] is None else Horizon(*aged)


def of_sessions(connection: Connection[Any], ignored_prefix: str) -> Horizon:
    """The horizon of a snapshot that is taken on this server *after* the call, measured directly.

    For a server that is written and read in one place. `connection` must be in autocommit: the sessions have to be
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
    return Horizon(*only_row(found))

"""Months of `command_event` and `command_attempt`: made when an event first needs them, dropped as a whole.

A month is one of UTC, by the time at which the command was requested.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleetgauge.postgres import Connection, only_row, sql
from fleetgauge.postgres.schema_revision import check

SCHEMA = "commands"
"""Where the partitions lie; their parents lie in `fleetgauge`."""
TABLES = ("command_event", "command_attempt")
WRITER = "fleetgauge_writer"
LOCK = "SELECT {}(hashtextextended('fleetgauge.command_attempt', 0))"
"""Taken by whoever writes to the tables, with the function of its choice: one at a time."""

_MISSING = """
SELECT DISTINCT to_char(s.requested_at AT TIME ZONE 'UTC', 'YYYYMM'),
    date_trunc('month', s.requested_at, 'UTC'), date_trunc('month', s.requested_at, 'UTC') + interval '1 month'
FROM staged_event AS s
WHERE to_regclass('commands.command_attempt_' || to_char(s.requested_at AT TIME ZONE 'UTC', 'YYYYMM')) IS NULL
"""
_MONTHS = """
SELECT substr(relname, length('command_attempt_') + 1)
FROM pg_class
WHERE relnamespace = 'commands'::regnamespace AND relkind = 'r' AND relname ~ '^command_attempt_[0-9]{6}$'
ORDER BY 1
"""


@dataclass(frozen=True)
class Expired:
    """What retention drops."""

    kept_from: datetime | None
    """The first instant (UTC) that is kept; None: everything is."""
    months: tuple[str, ...] = ()
    """The partitions' months, as 202611."""


def ensure(connection: Connection) -> None:
    """Make the months that the staged events need. Inside the caller's transaction, in UTC."""
    connection.execute("SET LOCAL TimeZone = 'UTC'")
    missing = connection.execute(_MISSING).fetchall()
    if not missing:
        return
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
    for month, begin, end in missing:
        for table in TABLES:
            # Made first and attached then, which lets readers of the others go on.
            name, parent = sql.Identifier(SCHEMA, f"{table}_{month}"), sql.Identifier("fleetgauge", table)
            connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(name, parent))
            connection.execute(
                sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                    parent, name, sql.Literal(begin), sql.Literal(end)
                )
            )
    connection.execute("RESET ROLE")


def drop_before(connection: Connection, kept: timedelta | None, *, dry_run: bool = False) -> Expired:
    """Drop the months that lie before now less `kept` as a whole; what belongs there is not taken up again.

    In one transaction of its own: waits for readers of the tables, at most the connection's `lock_timeout`. Raises
    `Terminal` when the metrics database is of another release.
    """
    if kept is None:
        return Expired(None)
    with connection.transaction(force_rollback=dry_run):
        check(connection)
        found = connection.execute(
            "UPDATE fleetgauge.command_kept SET kept_from ="
            " greatest(kept_from, date_trunc('month', now() - %s::interval, 'UTC')) RETURNING kept_from",
            [kept],
        )
        kept_from = only_row(found)[0].astimezone(UTC)
        limit = f"{kept_from:%Y%m}"
        months = tuple(month for (month,) in connection.execute(_MONTHS).fetchall() if month < limit)
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
        for month in months:
            for table in TABLES:
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(SCHEMA, f"{table}_{month}")))
    return Expired(kept_from, months)

"""The guard of every transaction on a source: whether it still is a read replica, and how long a statement may take."""

from typing import Any

from psycopg import Connection

from fleetgauge.postgres.database import FORMATS, Database
from fleetgauge.settings import SourceSettings

LOCK_TIMEOUT_S = 5.0


def guard(connection: Connection[Any], database: Database, settings: SourceSettings, *, itself: bool = False) -> None:
    """First statement of a transaction: a replica may have been promoted since the last one.

    Rows that a policy hides from the login would be missing in silence: with `row_security` off a query fails instead.

    `itself`: the source is the metrics database, which is no standby. Raises `Stop` when a standby was asked for and
    this is none.
    """
    values = {
        "statement_timeout": f"{settings.statement_timeout_s * 1000:.0f}ms",
        "lock_timeout": f"{LOCK_TIMEOUT_S * 1000:.0f}ms",
        "jit": "off",
        "row_security": "off",
        **FORMATS,
    }
    row = connection.execute(
        f"SELECT pg_is_in_recovery(), {', '.join(['set_config(%s, %s, true)'] * len(values))}",
        [part for pair in values.items() for part in pair],
    ).fetchone()
    if not (row and row[0]) and not settings.allow_primary and not itself:
        raise database.is_primary()

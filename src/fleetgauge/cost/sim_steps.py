"""What SIMs use, in steps and by day, is kept by month: who reads a bill need not read each day of each SIM.

What is kept is what the view itself computes, beside a hash of all that it follows from. The view reads it as long as
the hash is the same and computes it else, so nothing depends on when this is called: neither of the two is ever wrong.
"""

from collections.abc import Iterable

import structlog

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres import Connection, only_row
from fleetgauge.settings import Settings

_log = structlog.get_logger(__name__)

VIEW = "metrics.sim_step_day"
"""Content; another company may not have it."""

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('fleetgauge.stored_month'))"
# One statement, so the hash and the rows are of one snapshot.
_STORE = f"""
INSERT INTO fleetgauge.stored_month AS s (name, month, inputs, rows)
SELECT 'sim_step_day', m.month, m.inputs, coalesce(c.rows, '[]')
FROM metrics.sim_month AS m
LEFT JOIN fleetgauge.stored_month AS k ON k.name = 'sim_step_day' AND k.month = m.month AND k.inputs = m.inputs
CROSS JOIN LATERAL (
    SELECT jsonb_agg(to_jsonb(d) - ARRAY['month', 'inputs', 'stored'] ORDER BY d.date, d.carrier, d.valid_from) AS rows
    FROM {VIEW} AS d WHERE d.month = m.month
) AS c
WHERE k.month IS NULL
ON CONFLICT (name, month) DO UPDATE
SET inputs = excluded.inputs, rows = excluded.rows, stored_at = excluded.stored_at
"""  # noqa: S608


def store_steps(connection: Connection) -> int:
    """Compute and keep the months that have changed; how many. Nothing without the view. Blocks.

    Takes half a second for a month of 1,000 SIMs, inside a transaction of its own.
    """
    if not only_row(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [VIEW]))[0]:
        return 0
    with connection.transaction():
        connection.execute(_LOCK)
        return connection.execute(_STORE).rowcount


def keep_steps(settings: Settings, finest: Iterable[str]) -> None:
    """`store_steps` after a run of metrics with these finest grains, if one of them keeps no minutes. Blocks.

    A failure is told and stops nobody: the view computes what is not kept.
    """
    if all(grain == "minute" for grain in finest):
        return
    try:
        with postgres.metrics(settings.metrics).session("keep-steps") as connection:
            months = store_steps(connection)
    except FleetgaugeError as error:
        _log.warning("steps by SIM are not kept, so cost reads slower until the next run", error=str(error))
        return
    if months:
        _log.info("kept steps by SIM", months=months)

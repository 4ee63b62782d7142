"""How far a snapshot of MariaDB or MySQL can be trusted: `progress.heartbeat`'s law, by a table of the same name.

Production's own event writes it every few seconds (`sql/source/mariadb`): first the clock, then the start of the oldest
open transaction, or of the oldest statement that runs, whichever is earlier. `NOW()` is there the start of the
*statement*, so a change time is never before its transaction's start, nor before that of a statement that has not yet
begun one. Rows reach a replica in the order in which they were committed, so a snapshot that shows a heartbeat shows
whatever was committed before it.
"""

from datetime import UTC, datetime
from typing import Any

from fleetgauge.errors import Terminal, Transient
from fleetgauge.mysql import MysqlSession, literal, quoted
from fleetgauge.progress.heartbeat import HEARTBEAT_TABLE, ClockSteps, SourceWatermark

_YEARS = (2, 9998)
"""Those that the arithmetic of windows can hold."""


def of_mysql_snapshot(session: MysqlSession, source: str) -> SourceWatermark | None:
    """The source watermark of the snapshot that is open, by the heartbeat that it shows; None before the first one.

    Raises `Terminal` without the table, `Transient` when the heartbeat is not one instant.
    """
    tables = session.rows(
        "SELECT 1 FROM information_schema.tables"  # noqa: S608 (a constant)
        f" WHERE table_schema = DATABASE() AND table_name = {literal(HEARTBEAT_TABLE)}"
    )
    if not tables:
        raise Terminal(
            f"source {source}: table {HEARTBEAT_TABLE} does not exist, or its login may not read it; let production "
            "write it (sql/source/mariadb)"
        )
    rows = session.rows(
        "SELECT beat_at, oldest_xact_start, UTC_TIMESTAMP(6), set_back, set_back_to"  # noqa: S608 (a constant)
        f" FROM {quoted(HEARTBEAT_TABLE)} WHERE id = 1 LIMIT 2"
    )
    if len(rows) > 1:
        raise Transient(
            f"source {source}: table {HEARTBEAT_TABLE} has more than one row with id 1, so that nobody knows which to "
            "believe; keep the one that production's event writes and give the table its primary key"
        )
    if not rows:
        return None
    beat, oldest, clock, set_back, set_back_to = rows[0]
    if not _is_instant(beat) or not _is_instant(oldest):
        raise Transient(
            f"source {source}: the heartbeat is no instant (beat_at {beat}, oldest_xact_start {oldest}), so nothing is "
            "computed by it; let production's event write it anew (sql/source/mariadb)"
        )
    beat, oldest = beat.replace(tzinfo=UTC), oldest.replace(tzinfo=UTC)
    earliest = set_back_to.replace(tzinfo=UTC) if _is_instant(set_back_to) else None
    return SourceWatermark(min(beat, oldest), beat, clock.replace(tzinfo=UTC), ClockSteps(int(set_back), earliest))


def _is_instant(value: Any) -> bool:
    """Zero dates come as texts."""
    return isinstance(value, datetime) and _YEARS[0] <= value.year <= _YEARS[1]

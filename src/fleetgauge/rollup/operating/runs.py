"""The run log: what ran, what it planned and wrote, how it ended; dropped after a while."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fleetgauge import postgres
from fleetgauge.postgres import Connection, class_row
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.execute.report import plain
from fleetgauge.rollup.operating.restatements import KEPT
from fleetgauge.rollup.spans import Span
from fleetgauge.settings import Settings

PLAIN_KEPT = timedelta(days=14)
"""How long a run is kept that did nothing special; one that restated something, failed, or was no plain `run`: `KEPT`.
"""

_COLUMNS = """
id, metric, version, command, grain, started_at, ended_at, outcome, error_type, reason, stages, windows, cells, rows,
restated, late_unapplied, conflicts, host, pid, airflow_run
"""
_LIST = f"""
SELECT {_COLUMNS} FROM fleetgauge.run WHERE %(metric)s::text IS NULL OR metric = %(metric)s
ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608
_WRITERS = f"""
SELECT {_COLUMNS} FROM fleetgauge.run WHERE metric = %(metric)s AND version = %(version)s
AND written && tstzrange(%(begin)s, %(end)s) AND grain = ANY(%(grains)s) ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608
_EXPIRE = """
DELETE FROM fleetgauge.run WHERE started_at < now() - %(kept)s::interval
OR (started_at < now() - %(plain)s::interval AND command IN ('run', 'run --follow') AND outcome IN ('ok', 'deferred')
    AND restated = 0
    AND NOT stages @> '[{"reason": "new version"}]' AND NOT stages @> '[{"reason": "a clock was wrong"}]')
"""


@dataclass(frozen=True)
class LoggedRun:
    """One run of one metric; instants are aware."""

    id: int
    metric: str
    version: str | None
    command: str
    """As it is typed: run, run --follow (the sum of an hour at most), backfill, reconcile,
    dimensions expire, retention, metrics prune, metrics drop."""
    grain: Grain | None
    """The finest that it may write."""
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    """ok, deferred, blocked, failed, interrupted or running."""
    error_type: str | None
    reason: str | None
    """Why it was deferred, blocked or failed."""
    stages: list[dict[str, Any]]
    """What was planned: by stage and reason how many windows or cells, and their span."""
    windows: int
    cells: int
    rows: int
    restated: int
    late_unapplied: int
    conflicts: int
    host: str | None
    pid: int | None
    airflow_run: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        return dict(plain(vars(self)))


def list_runs(settings: Settings, metric: str | None = None, limit: int = 50) -> list[LoggedRun]:
    """The latest first, of one metric or of all. Reads the metrics database."""
    with postgres.metrics(settings.metrics).session("runs") as connection:
        rows = connection.cursor(row_factory=class_row(LoggedRun))
        return rows.execute(_LIST, {"metric": metric, "limit": limit}).fetchall()


def writers(
    connection: Connection[Any], metric: str, version: str, grain: Grain, window: Span, limit: int = 5
) -> tuple[LoggedRun, ...]:
    """The last runs that wrote rows of `grain` in the window, the latest first; older ones may have expired."""
    values = {
        "metric": metric,
        "version": version,
        "begin": window[0],
        "end": window[1],
        "grains": list(GRAINS[: GRAINS.index(grain) + 1]),
        "limit": limit,
    }
    return tuple(connection.cursor(row_factory=class_row(LoggedRun)).execute(_WRITERS, values).fetchall())


def expire(connection: Connection[Any]) -> None:
    """Drop what is kept no longer, of whichever metric."""
    connection.execute(_EXPIRE, {"kept": KEPT, "plain": PLAIN_KEPT})

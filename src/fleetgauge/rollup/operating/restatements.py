"""What changed after it was final, as it was written down: listed, counted, and dropped after a while."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from fleetgauge import postgres
from fleetgauge.postgres import Connection, class_row
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.execute.report import plain
from fleetgauge.rollup.spans import Span
from fleetgauge.settings import Settings

KEPT = timedelta(days=400)
"""How long what is written down is kept."""

RECENT = timedelta(days=1)

_LIST = """
SELECT * FROM fleetgauge.restatement
WHERE metric = %(metric)s AND (%(begin)s::timestamptz IS NULL
    OR window_start >= fleetgauge.window_start(%(begin)s::timestamptz, grain, %(zone)s) AND window_start < %(end)s)
ORDER BY restated_at DESC, window_start, level, measure, dimensions::text LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Restated:
    """One value that changed; instants are aware."""

    metric: str
    version: str
    level: str
    """End of the view's name: `hour`, `by_zone_hour`."""
    grain: Grain
    window_start: datetime
    dimensions: dict[str, str] | None
    """None where many cells are told together."""
    measure: str
    before: str | None
    """None: no value, or no row. A sketch is shown by its count or estimates."""
    after: str | None
    change: Decimal | None
    """After less before, of what adds up."""
    cells: int
    reason: str
    restated_at: datetime
    run_id: int | None = None
    """The run that changed it, in the run log."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        return dict(plain(vars(self)))


def restated(settings: Settings, metric: str, zone: str, span: Span | None = None, limit: int = 1000) -> list[Restated]:
    """The latest changes first, of windows that overlap `span` (aware) if it is given. Reads the metrics database."""
    values = {
        "metric": metric,
        "zone": zone,
        "begin": span and span[0],
        "end": span and span[1],
        "limit": limit,
    }
    with postgres.metrics(settings.metrics).session("restatements") as connection:
        return connection.cursor(row_factory=class_row(Restated)).execute(_LIST, values).fetchall()


def recent(connection: Connection[Any]) -> dict[str, int]:
    """By metric, how many values were restated in the last day."""
    query = (
        "SELECT metric, sum(cells)::bigint FROM fleetgauge.restatement WHERE restated_at > now() - %s GROUP BY metric"
    )
    return dict(connection.execute(query, [RECENT]).fetchall())


def expire(connection: Connection[Any]) -> None:
    """Drop what is older than `KEPT`, of whichever metric."""
    connection.execute("DELETE FROM fleetgauge.restatement WHERE restated_at < now() - %s::interval", [KEPT])

"""What changed after it was final, as it was written down: listed, counted, and dropped after a while."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from fleetgauge import postgres
from fleetgauge.postgres import Connection, class_row
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.execute.report import plain
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store import derived
from fleetgauge.settings import Settings

KEPT = timedelta(days=400)
"""How long what is written down is kept."""

RECENT = timedelta(days=1)

_LIST = """
SELECT * FROM fleetgauge.restatement
WHERE (metric = %(metric)s OR metric || '_' || level = ANY (%(views)s)) AND (%(begin)s::timestamptz IS NULL
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


def derived_views(definition: Definition) -> list[str]:
    """The views that the metric's `views.sql` makes, without their schema: what they show is told as the metric's."""
    return derived.names([definition.views_sql]) if definition.views_sql else []


def restated(settings: Settings, definition: Definition, span: Span | None = None, limit: int = 1000) -> list[Restated]:
    """The latest changes first, of windows that overlap `span` (aware) if it is given. Reads the metrics database.

    Those of the metric's own views are among them, such as costs that moved by another price.
    """
    values = {
        "metric": definition.metric,
        "views": derived_views(definition),
        "zone": definition.time_zone,
        "begin": span and span[0],
        "end": span and span[1],
        "limit": limit,
    }
    with postgres.metrics(settings.metrics).session("restatements") as connection:
        return connection.cursor(row_factory=class_row(Restated)).execute(_LIST, values).fetchall()


def recent(connection: Connection[Any], definitions: Iterable[Definition]) -> dict[str, int]:
    """By metric, how many values were restated in the last day; those of a metric's own views are counted with it."""
    shown_by = {view: one.metric for one in definitions for view in derived_views(one)}
    query = (
        "SELECT metric, level, sum(cells)::bigint FROM fleetgauge.restatement WHERE restated_at > now() - %s"
        " GROUP BY metric, level"
    )
    found: Counter[str] = Counter()
    for metric, level, cells in connection.execute(query, [RECENT]):
        found[shown_by.get(f"{metric}_{level}", metric)] += cells
    return dict(found)


def expire(connection: Connection[Any]) -> None:
    """Drop what is older than `KEPT`, of whichever metric."""
    connection.execute("DELETE FROM fleetgauge.restatement WHERE restated_at < now() - %s::interval", [KEPT])

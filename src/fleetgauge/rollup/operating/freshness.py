"""How far behind now each metric is: what is final, what is computed, and how long the next window is overdue."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from fleetgauge import postgres
from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition, Freshness
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.execute.report import plain
from fleetgauge.settings import Settings

Verdict = Literal["ok", "warn", "error"]

# A blocked window is counted apart: it does not make all that comes after it late.
_QUERY = """
WITH blocked AS (
    SELECT range_agg(tstzrange(fleetgauge.window_start(window_start, %(grain)s, %(zone)s),
        fleetgauge.window_end(window_start, %(grain)s, %(zone)s))) AS spans, count(*) AS n
    FROM fleetgauge.blocked WHERE metric = %(metric)s AND version = %(version)s
), until AS (
    SELECT (SELECT upper(r) FROM unnest(l.closed + coalesce(b.spans, '{}')) AS r ORDER BY r LIMIT 1) AS closed,
        (SELECT upper(r) FROM unnest(l.done + coalesce(b.spans, '{}')) AS r ORDER BY r LIMIT 1) AS done, b.n,
        NOT isempty(l.closed) AS any_closed, NOT isempty(l.done) AS any_done
    FROM fleetgauge.ledger AS l, blocked AS b
    WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = %(grain)s
)
SELECT CASE WHEN any_closed THEN closed END, CASE WHEN any_done THEN done END, n,
    CASE WHEN any_closed THEN fleetgauge.window_end(closed, %(grain)s, %(zone)s) END, clock_timestamp()
FROM until
"""


@dataclass(frozen=True)
class Standing:
    """One metric at one grain; instants are UTC, None before the first pass."""

    metric: str
    grain: Grain
    closed_until: datetime | None
    """Every earlier window is final."""
    done_until: datetime | None
    """Every earlier window is computed."""
    behind: timedelta | None
    """Now less `closed_until`; of hours and days it grows as long as their window lasts."""
    overdue: timedelta | None
    """Since when the next window could have been final: now less its end and the grace. Never negative."""
    blocked: int
    """Minutes of the metric that keep old rows, since the new ones broke a check."""
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601, stretches as seconds."""
        found: dict[str, Any] = plain(asdict(self))
        for name in ("behind", "overdue"):
            value = found.pop(name)
            found[f"{name}_s"] = None if value is None else value.total_seconds()
        return found


def freshness(
    settings: Settings,
    definitions: Iterable[Definition],
    warn: timedelta | None = None,
    error: timedelta | None = None,
) -> list[Standing]:
    """Every metric at every grain, by the metrics database's clock. `warn` and `error` stand in for the definitions'.

    Reads the ledger alone. Raises as every access to the metrics database.
    """
    with postgres.metrics(settings.metrics).session("freshness") as connection:
        return [standing(connection, definition, grain, warn, error) for definition in definitions for grain in GRAINS]


def standing(
    connection: Connection[Any],
    definition: Definition,
    grain: Grain,
    warn: timedelta | None = None,
    error: timedelta | None = None,
) -> Standing:
    """One metric at one grain."""
    row = connection.execute(
        _QUERY,
        {
            "metric": definition.metric,
            "version": definition.version,
            "grain": grain,
            "zone": definition.time_zone,
        },
    ).fetchone()
    closed, done, blocked, next_end, now = row or (None, None, 0, None, None)
    overdue = None if next_end is None else max(timedelta(), now - next_end - definition.grace)
    limits = Freshness(warn=warn or definition.freshness.warn, error=error or definition.freshness.error)
    verdict: Verdict = "ok"
    if overdue is None or overdue > limits.error:
        verdict = "error"
    elif overdue > limits.warn:
        verdict = "warn"
    behind = None if closed is None else now - closed
    return Standing(definition.metric, grain, closed, done, behind, overdue, blocked, verdict)

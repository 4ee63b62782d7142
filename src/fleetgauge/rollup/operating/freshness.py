"""How far behind now each metric is: what is final, what is computed, and how long the next window is overdue."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fleetgauge import postgres
from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.definitions.loader import folders
from fleetgauge.rollup.definitions.parts import Freshness
from fleetgauge.rollup.execute.report import plain
from fleetgauge.rollup.operating.attention import MetricStatus, forgotten, status_of
from fleetgauge.rollup.operating.conditions import HeldCondition, Verdict, conditions, worst
from fleetgauge.rollup.plan.clock_bounds import TOLERANCE
from fleetgauge.settings import Settings

# A blocked window is held apart: it does not make all that comes after it late. Where it is filled in, the hour or day
# around it must lie within what is closed else, or it would be called final before it has ended. A window that this
# version cannot compute makes nothing late either, not even the one at hand.
_QUERY = """
WITH blocked AS (
    SELECT coalesce(range_agg(tstzrange(window_start, window_start + interval '1 minute')), '{}') AS minutes,
        count(*) AS n
    FROM fleetgauge.blocked WHERE metric = %(metric)s AND version = %(version)s
), until AS (
    SELECT (SELECT upper(r) FROM unnest(l.closed + l.unavailable
            + l.done * fleetgauge.whole_windows(m.closed + b.minutes, l.grain, %(zone)s)) AS r ORDER BY r LIMIT 1)
            AS closed,
        (SELECT upper(r) FROM unnest(l.done + l.unavailable) AS r ORDER BY r LIMIT 1) AS done, b.n,
        upper(l.closed + l.unavailable) AS last_closed, upper(l.done + l.unavailable) AS last_done,
        greatest(upper(l.closed), upper(l.done)) AS last,
        NOT isempty(l.closed) OR (NOT isempty(l.unavailable) AND NOT isempty(m.closed)) AS any_closed,
        NOT isempty(l.done) OR NOT isempty(l.unavailable) AS any_done
    FROM blocked AS b, fleetgauge.ledger AS l JOIN fleetgauge.ledger AS m USING (metric, version)
    WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = %(grain)s AND m.grain = 'minute'
)
SELECT CASE WHEN any_closed THEN least(closed, last_closed) END, CASE WHEN any_done THEN least(done, last_done) END, n,
    CASE WHEN any_closed THEN fleetgauge.window_end(closed, %(grain)s, %(zone)s) END, last, now
FROM until, clock_timestamp() AS now
"""


@dataclass(frozen=True)
class MetricFreshness:
    """One metric at one grain; instants are UTC, None before the first run."""

    metric: str
    grain: Grain
    closed_until: datetime | None
    """Every earlier window is final. Never later than now, whatever the ledger says."""
    done_until: datetime | None
    """Every earlier window is computed."""
    behind: timedelta | None
    """Now less `closed_until`; of hours and days it grows as long as their window lasts."""
    overdue: timedelta | None
    """Since when the next window could have been final: now less its end and the grace. Never negative."""
    blocked: int
    """Cells of the metric that keep old rows, since the new ones broke a check."""
    late: Verdict
    """By `overdue` alone."""
    verdict: Verdict
    """The gravest of lateness and of what `conditions` say."""
    conditions: tuple[HeldCondition, ...] = ()
    """What else is wrong, late, withheld or not shown."""
    reconciled_at: datetime | None = None
    """When the last comparison of all that is reconciled daily began; None: none has come to its end."""
    compared: timedelta | None = None
    """Now less that, by the metrics database's clock."""
    ahead: timedelta | None = None
    """By how much the ledger calls the future final or computed: a clock was wrong. None: it does not."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601, stretches as seconds."""
        found: dict[str, Any] = plain(asdict(replace(self, conditions=())))
        found["conditions"] = [
            {"condition": one.condition.name, "count": one.count, "said": one.said} for one in self.conditions
        ]
        for name in ("behind", "overdue", "compared", "ahead"):
            value = found.pop(name)
            found[f"{name}_s"] = None if value is None else value.total_seconds()
        return found


def freshness(
    settings: Settings,
    definitions: Iterable[Definition],
    warn: timedelta | None = None,
    error: timedelta | None = None,
) -> list[MetricFreshness]:
    """Every metric at each of its grains, by the metrics database's clock. `warn` and `error` stand in for the
    definitions'.

    Reads the ledger alone. Raises as every access to the metrics database.
    """
    with postgres.metrics(settings.metrics).session("freshness") as connection:
        tolerance = timedelta(seconds=settings.clocks.tolerance_s)
        return [
            replace(
                metric_freshness(connection, definition, grain, conditions(status), warn, error, tolerance),
                reconciled_at=status.reconciled_at,
                compared=None if status.reconciled_at is None else status.unreconciled,
            )
            for definition in definitions
            for status in [status_of(connection, definition)]
            for grain in definition.grains
        ]


def frozen(settings: Settings, definitions: Mapping[str, Definition]) -> list[MetricFreshness]:
    """The metrics that are not defined any more: their views are there, and show the same for ever."""
    found = []
    with postgres.metrics(settings.metrics).session("freshness") as connection:
        for last, status in forgotten(connection, definitions, folders(settings.content)):
            held = conditions(status)
            if last is None:
                found.append(_unmeasured(status.metric, held))
            else:
                found += [metric_freshness(connection, last, grain, held) for grain in last.grains]
    # Nothing computes them, so lateness is no news.
    return [replace(one, late="ok", verdict="error") for one in found]


def unread(metric: str, said: str) -> MetricFreshness:
    """Of a metric whose definition cannot be read: nothing is computed of it."""
    return _unmeasured(metric, conditions(MetricStatus(metric, unread=said)))


def _unmeasured(metric: str, held: tuple[HeldCondition, ...]) -> MetricFreshness:
    return MetricFreshness(metric, "minute", None, None, None, None, 0, "ok", "error", conditions=held)


def metric_freshness(
    connection: Connection[Any],
    definition: Definition,
    grain: Grain,
    held: tuple[HeldCondition, ...],
    warn: timedelta | None = None,
    error: timedelta | None = None,
    tolerance: timedelta = TOLERANCE,
) -> MetricFreshness:
    """One metric at one grain. `held`: its conditions, whatever the grain; `tolerance`: how far clocks may differ."""
    row = connection.execute(
        _QUERY,
        {
            "metric": definition.metric,
            "version": definition.version,
            "grain": grain,
            "zone": definition.time_zone,
        },
    ).fetchone()
    closed, done, blocked, next_end, last, now = row or (None, None, 0, None, None, None)
    overdue = None if next_end is None else max(timedelta(), now - next_end - definition.grace)
    limits = Freshness(warn=warn or definition.freshness.warn, error=error or definition.freshness.error)
    ahead = timedelta() if last is None else last - now  # a window that cannot be computed may end after now
    late: Verdict = "ok"
    if overdue is None or overdue > limits.error or ahead > tolerance:
        late = "error"
    elif overdue > limits.warn:
        late = "warn"
    closed, done = (mark if mark is None else min(mark, now) for mark in (closed, done))
    return MetricFreshness(
        definition.metric,
        grain,
        closed,
        done,
        behind=None if closed is None else now - closed,
        overdue=overdue,
        blocked=blocked,
        late=late,
        verdict=worst([late, *(one.condition.verdict for one in held)]),
        conditions=held,
        ahead=ahead if ahead > tolerance else None,
    )

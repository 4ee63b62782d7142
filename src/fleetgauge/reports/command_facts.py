"""What the metrics say about commands in a stretch of time: outcomes and cost, as counts."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from fleetgauge.postgres import Connection
from fleetgauge.rollup.labels import NOT_SET


@dataclass(frozen=True)
class CommandCell:
    """Commands of one type on one kind of vehicle, by the time of their request."""

    command_type: str
    carrier: str
    firmware: str
    vehicle_model: str
    requested: int
    unsuccessful: int
    """Failed, rejected, timed out or expired; a rate is of all requested, open ones included, as on the dashboards."""
    open: int
    attempts: int
    windows: int
    """In so many windows of the report's grain there were any."""
    squares: float
    """Σ unsuccessful² / requested over these windows, from which their spread follows."""


@dataclass(frozen=True)
class CostCell:
    """Messages of one type of command over one carrier, by their own time."""

    command_type: str
    carrier: str
    messages: int
    bytes: int
    billed_bytes: int
    cost: Decimal
    """In the tariffs' currency, of the messages that have a price."""
    unpriced: int
    """Messages without one: no tariff, or no known size. Their cost is missing."""
    by_sim: int
    """Messages of days in part that are charged by SIM and day or month; that of whole days is in `cost`."""


@dataclass(frozen=True)
class KindCost:
    """Everything of one kind that went over the air: a type of command, or a kind of telemetry."""

    stream: str
    """`commands` or `telemetry`; `(other)`: of SIMs that cannot be told apart."""
    kind: str
    messages: int
    bytes: int
    cost: Decimal
    unpriced: int
    by_sim: int
    """As of `CostCell`."""


@dataclass(frozen=True)
class CostPoint:
    """The cost of one type of command in one window."""

    at: datetime
    command_type: str
    cost: float


@dataclass(frozen=True)
class RatePoint:
    """How many commands were requested in one window, and how many of them came to nothing."""

    at: datetime
    requested: int
    unsuccessful: int
    provisional: bool


_CELLS = """
WITH windows AS (
    SELECT bucket_start, command_type, carrier, firmware, vehicle_model, sum(requested) AS requested,
        sum(unsuccessful) AS unsuccessful, sum(open) AS open, coalesce(sum(attempts), 0) AS attempts
    FROM metrics.device_command_range(%s, %s, %s)
    GROUP BY 1, 2, 3, 4, 5
)
SELECT command_type, carrier, firmware, vehicle_model, sum(requested)::bigint, sum(unsuccessful)::bigint,
    sum(open)::bigint, sum(attempts)::bigint, count(*) FILTER (WHERE requested > 0),
    coalesce(sum(unsuccessful ^ 2 / nullif(requested, 0)), 0)::float8
FROM windows GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
"""
_COST = """
SELECT command_type, carrier, sum(messages)::bigint, coalesce(sum(bytes), 0)::bigint, sum(billed_bytes)::bigint,
    sum(cost_krw), sum(unpriced_messages)::bigint, sum(by_sim_messages)::bigint
FROM metrics.command_cost_range(%s, %s) GROUP BY 1, 2 ORDER BY 1, 2
"""
_KINDS = """
SELECT stream, kind, sum(messages)::bigint, coalesce(sum(bytes), 0)::bigint, sum(cost_krw),
    sum(unpriced_messages)::bigint, sum(by_sim_messages)::bigint
FROM metrics.air_cost_range(%s, %s) GROUP BY 1, 2 ORDER BY sum(cost_krw) DESC, 1, 2
"""
_COST_POINTS = """
SELECT bucket_start, command_type, sum(cost_krw)::float8 FROM metrics.command_cost_range(%s, %s, %s)
GROUP BY 1, 2 ORDER BY 1, 2
"""
_RATE_POINTS = """
SELECT bucket_start, sum(requested)::bigint, sum(unsuccessful)::bigint, bool_or(provisional)
FROM metrics.device_command_range(%s, %s, %s) GROUP BY 1 ORDER BY 1
"""


def command_cells(connection: Connection, since: datetime, until: datetime, grain: str) -> list[CommandCell]:
    """Outcomes by command type, carrier, firmware and model."""
    rows = connection.execute(_CELLS, [since, until, grain]).fetchall()
    return [CommandCell(said(a), said(b), said(c), said(d), *counts) for a, b, c, d, *counts in rows]


def cost_cells(connection: Connection, since: datetime, until: datetime) -> list[CostCell]:
    """Cost by command type and carrier; the traffic knows neither firmware nor model."""
    rows = connection.execute(_COST, [since, until]).fetchall()
    return [CostCell(said(kind), said(carrier), *counts) for kind, carrier, *counts in rows]


def kind_costs(connection: Connection, since: datetime, until: datetime) -> list[KindCost]:
    """What everything costs that goes over the air, the dearest kind first."""
    return [KindCost(*row) for row in connection.execute(_KINDS, [since, until]).fetchall()]


def cost_points(connection: Connection, since: datetime, until: datetime, grain: str) -> list[CostPoint]:
    """Cost over time, by command type."""
    rows = connection.execute(_COST_POINTS, [since, until, grain]).fetchall()
    return [CostPoint(at, said(kind), cost) for at, kind, cost in rows]


def rate_points(connection: Connection, since: datetime, until: datetime, grain: str) -> list[RatePoint]:
    """Outcomes over time, of all commands."""
    return [RatePoint(*row) for row in connection.execute(_RATE_POINTS, [since, until, grain]).fetchall()]


def said(value: str | None) -> str:
    """A dimension's value, or that there is none."""
    return NOT_SET if value is None else value

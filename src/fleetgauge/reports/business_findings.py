"""Rentals and revenue: what a range had, against the period before, by zone and model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetgauge.postgres import Connection
from fleetgauge.reports.proportions import wilson, z_of
from fleetgauge.reports.report_range import ReportRange


@dataclass(frozen=True)
class RentalCell:
    """Rentals that started in one zone on one model."""

    zone: str
    vehicle_model: str
    started: int
    completed: int
    refunded: int
    fare: float
    refund: float


@dataclass(frozen=True)
class RentalPoint:
    """Rentals that started in one window."""

    at: datetime
    started: int
    provisional: bool


@dataclass(frozen=True)
class RentalLine:
    """Rentals of one zone, or of one model."""

    name: str
    started: int
    started_before: int | None
    change: float | None
    revenue: float
    """Fares charged less fares paid back, KRW."""
    completed: int
    refunded: int
    refund_rate: float | None
    low: float
    """Wilson's interval of the refund rate, so wide that those of all zones, or of all models, hold together (95 %)."""
    high: float
    stands_out: bool
    """Its refund rate is surely above that of all others together."""


@dataclass(frozen=True)
class BusinessReport:
    """Everything about rentals."""

    started: int
    started_before: int | None
    change: float | None
    completed: int
    refunded: int
    refund_rate: float | None
    revenue: float
    revenue_before: float | None
    revenue_change: float | None
    zones: tuple[RentalLine, ...]
    models: tuple[RentalLine, ...]
    points: tuple[RentalPoint, ...]


_CELLS = """
SELECT coalesce(zone, '(not set)'), coalesce(vehicle_model, '(not set)'), sum(started)::bigint, sum(completed)::bigint,
    sum(refunded)::bigint, coalesce(sum(fare_krw), 0)::float8, coalesce(sum(refund_krw), 0)::float8
FROM metrics.rental_range(%s, %s) GROUP BY 1, 2 ORDER BY 1, 2
"""
_POINTS = """
SELECT bucket_start, sum(started)::bigint, bool_or(provisional) FROM metrics.rental_range(%s, %s, %s)
GROUP BY 1 ORDER BY 1
"""


def read_business(connection: Connection, over: ReportRange, *, covered: bool) -> BusinessReport:
    """Reads the facts and makes the findings; `covered`: whether the period before is known in whole."""
    now = rental_cells(connection, over.since, over.until)
    before = rental_cells(connection, over.before, over.since) if covered else None
    points = connection.execute(_POINTS, [over.since, over.until, over.grain]).fetchall()
    return business_report(now, before, [RentalPoint(*row) for row in points])


def rental_cells(connection: Connection, since: datetime, until: datetime) -> list[RentalCell]:
    """Rentals by zone and model."""
    return [RentalCell(*row) for row in connection.execute(_CELLS, [since, until]).fetchall()]


def business_report(
    cells: Sequence[RentalCell], before: Sequence[RentalCell] | None, points: Sequence[RentalPoint]
) -> BusinessReport:
    """The findings; pure."""
    started, completed, refunded = (sum(getattr(one, n) for one in cells) for n in ("started", "completed", "refunded"))
    started_before = None if before is None else sum(one.started for one in before)
    revenue, revenue_before = _revenue(cells), None if before is None else _revenue(before)
    return BusinessReport(
        started,
        started_before,
        _change(started, started_before),
        completed,
        refunded,
        refunded / completed if completed else None,
        revenue,
        revenue_before,
        _change(revenue, revenue_before),
        _lines("zone", cells, before),
        _lines("vehicle_model", cells, before),
        tuple(points),
    )


def _lines(dimension: str, cells: Sequence[RentalCell], before: Sequence[RentalCell] | None) -> tuple[RentalLine, ...]:
    groups, earlier = _grouped(dimension, cells), None if before is None else _grouped(dimension, before)
    z = z_of(0.95, len(groups))
    all_completed, all_refunded = sum(one.completed for one in cells), sum(one.refunded for one in cells)
    found = []
    for name, members in groups.items():
        started, completed, refunded = (
            sum(getattr(one, n) for one in members) for n in ("started", "completed", "refunded")
        )
        was = None if earlier is None else sum(one.started for one in earlier.get(name, ()))
        low, high = wilson(refunded, completed, z)
        others = wilson(all_refunded - refunded, all_completed - completed, z_of(0.95))[1]
        found.append(
            RentalLine(
                name,
                started,
                was,
                _change(started, was),
                _revenue(members),
                completed,
                refunded,
                refunded / completed if completed else None,
                low,
                high,
                completed > 0 and low > others,
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.revenue, one.name)))


def _grouped(dimension: str, cells: Sequence[RentalCell]) -> dict[str, list[RentalCell]]:
    found: dict[str, list[RentalCell]] = {}
    for one in cells:
        found.setdefault(getattr(one, dimension), []).append(one)
    return found


def _revenue(cells: Sequence[RentalCell]) -> float:
    return sum(one.fare - one.refund for one in cells)


def _change(now: float, before: float | None) -> float | None:
    return now / before - 1 if before else None

"""Suspects in the metrics database: results of days, repairs, and what is read back."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.fleet.points import VehicleDay
from fleetgauge.fleet.suspect_days import WINDOW_DAYS, DayState
from fleetgauge.fleet.suspect_method import Method
from fleetgauge.postgres import Connection, Jsonb, only_row

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('fleetgauge.suspect_vehicle_day', 0))"


@dataclass(frozen=True)
class Suspect:
    """A vehicle as it stands on a day: its score over two weeks, since its last repair."""

    vehicle: str
    score: float
    """Log-odds; from 0 on it is a suspect."""
    probability: float
    days: int
    """On so many days something spoke for or against a stop."""
    last: date
    because: str
    """The weightiest of its reasons."""
    reasons: list[str]
    evidence: list[Any]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Repair:
    """What a mechanic found."""

    vehicle: str
    repaired_on: date
    found: bool
    score: float | None
    """The vehicle's score on that day; None when nothing had spoken for or against it."""


def known(connection: Connection, days: Iterable[date]) -> dict[date, DayState]:
    """What the results of these days were made from."""
    rows = connection.execute(
        "SELECT date, documents, trips, trips_changed_at, method FROM fleetgauge.suspect_day WHERE date = ANY(%s)",
        [list(days)],
    )
    return {day: DayState(*rest) for day, *rest in rows}


def replace(
    connection: Connection, day: date, state: DayState, unheard: int, found: Sequence[VehicleDay], method: Method
) -> None:
    """Put a day's result in place of an older one, and drop what is older than it is kept; one transaction."""
    prior = method.rules.weights.prior
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        cursor.execute("DELETE FROM fleetgauge.suspect_vehicle_day WHERE date = %s", [day])
        cursor.executemany(
            "INSERT INTO fleetgauge.suspect_vehicle_day (date, vehicle, method, prior, points, reasons, evidence)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    day,
                    one.vehicle,
                    method.version,
                    prior,
                    one.points,
                    one.reasons,
                    Jsonb([e.to_dict() for e in one.episodes]),
                )
                for one in found
            ],
        )
        cursor.execute(
            "INSERT INTO fleetgauge.suspect_day (date, documents, trips, trips_changed_at, method, unheard)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (date) DO UPDATE SET documents = excluded.documents,"
            " trips = excluded.trips, trips_changed_at = excluded.trips_changed_at, method = excluded.method,"
            " unheard = excluded.unheard, judged_at = now()",
            [day, state.documents, state.trips, state.trips_changed_at, state.method, unheard],
        )
        for table in ("suspect_vehicle_day", "suspect_day"):
            cursor.execute(
                f"DELETE FROM fleetgauge.{table} WHERE date < %s::date - %s::integer",  # noqa: S608
                [day, method.kept_days],
            )


def suspects(connection: Connection, on: date) -> list[Suspect]:
    """Vehicles whose score on that day is 0 or more, the highest first."""
    rows = connection.execute(
        "SELECT vehicle, score, probability, days, last_stop, because, reasons, evidence FROM metrics.suspects(%s)",
        [on],
    )
    return [Suspect(*row) for row in rows]


def newest(connection: Connection) -> date | None:
    """The last day that was judged."""
    found: date | None = only_row(connection.execute("SELECT max(date) FROM fleetgauge.suspect_day"))[0]
    return found


def mark(connection: Connection, vehicle: str, on: date, *, found: bool, dry_run: bool = False) -> Repair:
    """Write down what a mechanic found; the same vehicle and day again replaces it.

    Raises `Terminal` for a day to come.
    """
    with connection.transaction(force_rollback=dry_run):
        today = only_row(connection.execute("SELECT (now() + interval '14 hours')::date"))[0]
        if on > today:
            raise Terminal(f"--on {on} has not come yet; give the day on which {vehicle} was looked at")
        row = connection.execute(
            "SELECT max(prior) + sum(points) FROM fleetgauge.suspect_vehicle_day AS d WHERE vehicle = %(vehicle)s"
            " AND date > %(on)s::date - %(window)s::integer AND date <= %(on)s AND date > coalesce((SELECT"
            " max(repaired_on) FROM fleetgauge.suspect_repair AS r WHERE r.vehicle = d.vehicle"
            " AND r.repaired_on < %(on)s), '-infinity')",
            {"vehicle": vehicle, "on": on, "window": WINDOW_DAYS},
        ).fetchone()
        score = None if row is None else row[0]
        connection.execute(
            "INSERT INTO fleetgauge.suspect_repair (vehicle, repaired_on, found, score) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (vehicle, repaired_on) DO UPDATE SET found = excluded.found, score = excluded.score,"
            " marked_at = now()",
            [vehicle, on, found, score],
        )
    return Repair(vehicle, on, found, score)

"""A trip's end: since when the vehicle stood, and what was heard of it meanwhile. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from fleetgauge.fleet.trip_reports import DeviceReport, Rhythm, Trip

MOVING_M_S = 0.5
_CRUISE_M_S = 3.5
"""Of a trip in which no speed was ever reported."""
_ADVANCED_M = 10
_BEFORE_MS = 30_000
_AFTER_MS = 30_000
"""Around the last movement, besides a third more than the vehicle's own interval: what is heard then is of the stop."""
_CLOCK_MS = 5_000
"""A clock that is off by no more is not corrected: a last report may seem to come after the trip's end."""
_FALLS_MS = 60_000
"""So much later it may fall over."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A report that was evidence, by its id; time in ms by the server's clock."""

    event_id: str
    at_ms: int
    what: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The vehicle stood from `since_ms` until its trip ended."""

    trip: Trip
    since_ms: int
    quiet_ms: int
    """The longest stretch within it in which nothing was heard."""
    quiet_from_ms: int
    """When that stretch began."""
    last_heard_ms: int
    """The last report of the trip."""
    expected_ms: int
    """How long this vehicle usually is quiet while it stands in a trip."""
    moving_ms: int
    """… and while it moves: so long after the last report of movement it may have moved on."""
    faults: tuple[Heard, ...]
    """Codes that mean a fault, around the last movement."""
    tips: tuple[Heard, ...]
    """It fell over, around the last movement."""
    last: Heard | None
    """The last report of movement."""
    battery_percent: int | None = None
    """As it was last reported before the standstill."""
    out_of_service_ms: int | None = None
    """When it was taken out of service, if it was soon after the trip."""

    @property
    def lasted_ms(self) -> int:
        """How long it stood before the trip ended."""
        return self.trip.ended_ms - self.since_ms


def standing(
    trip: Trip, reports: Sequence[DeviceReport], rhythm: Rhythm, fault_codes: frozenset[str]
) -> Standing | None:
    """How long the vehicle stood at the trip's end; None of a trip without a report. Reports in order of time."""
    # A report made after the trip's end (a fall after parking) is not of the ride.
    known = [r for r in reports if r.timestamp <= trip.ended_ms + _CLOCK_MS]
    if not known:
        return None
    last, since = _last_movement(trip, known)
    latest = since + _AFTER_MS + rhythm.moving_ms * 4 // 3
    faults, tips = list[Heard](), list[Heard]()
    for report in known:
        if report.timestamp < since - _BEFORE_MS:
            continue  # it rode on afterwards
        if report.error_code in fault_codes and report.timestamp <= latest:
            faults.append(_heard(report, report.error_code or ""))
        elif report.tipped_over and report.timestamp <= latest + _FALLS_MS:
            tips.append(_heard(report, "tip-over"))
    times = [since, *(r.timestamp for r in known if since < r.timestamp < trip.ended_ms), trip.ended_ms]
    quiet, begin = max((b - a, a) for a, b in pairwise(times))
    return Standing(
        trip=trip,
        since_ms=since,
        quiet_ms=quiet,
        quiet_from_ms=begin,
        last_heard_ms=known[-1].timestamp,
        expected_ms=rhythm.standing_ms,
        moving_ms=rhythm.moving_ms,
        faults=tuple(faults),
        tips=tuple(tips),
        last=last,
    )


def _last_movement(trip: Trip, reports: Sequence[DeviceReport]) -> tuple[Heard | None, int]:
    """The last report of movement, and the instant up to which the vehicle moved."""
    last: Heard | None = None
    since = trip.started_ms
    speeds = [r.speed for r in reports if r.speed is not None and r.speed >= MOVING_M_S]
    cruise = median(speeds) if speeds else _CRUISE_M_S
    for report in reports:
        if report.speed is not None and report.speed >= MOVING_M_S and report.timestamp > since:
            last, since = _heard(report, f"rode at {report.speed:.1f} m/s"), report.timestamp
    for metres, before, after in _advances(reports):
        # It rode on unseen (no network, or a frozen position), right after the earlier reading for all that is known.
        until = min(after.timestamp, before.timestamp + int(metres / cruise * 1000))
        if until > since:
            last, since = _heard(after, f"odometer advanced {metres} m"), until
    return last, min(since, trip.ended_ms)


def _advances(reports: Sequence[DeviceReport]) -> Iterator[tuple[int, DeviceReport, DeviceReport]]:
    read = [r for r in reports if r.odometer_m is not None]
    for before, after in pairwise(read):
        metres = (after.odometer_m or 0) - (before.odometer_m or 0)
        if metres >= _ADVANCED_M:
            yield metres, before, after


def _heard(report: DeviceReport, what: str) -> Heard:
    return Heard(report.event.id, report.timestamp, what)

"""What is known of a vehicle's trips: reports of its device, and trips as production has them.

Times are milliseconds since the epoch, reports' by the device's clock until `on_servers_clock` has moved them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

_SKEWED_MS = 60_000
"""A trip's first report comes within a second or two of its start; a clock further off than this is corrected."""


@dataclass(frozen=True, slots=True)
class Trip:
    """A trip of production. `vehicle`: production's key; `ended_ms` of one that is open is the instant of judging."""

    id: str
    vehicle: str
    started_ms: int
    ended_ms: int
    is_open: bool = False
    refunded: bool = False
    """The rider got the money back."""


class ReportEvent(msgspec.Struct):
    id: str = ""


class ReportDevice(msgspec.Struct):
    id: str = ""


class DeviceReport(msgspec.Struct, frozen=True):
    """One document, of any kind; only what is judged. Speed in m/s, odometer in metres, battery in percent."""

    kind: str
    event: ReportEvent
    device: ReportDevice
    timestamp: int
    trip_id: str = ""
    speed: float | None = None
    odometer_m: int | None = None
    battery_percent: int | None = None
    error_code: str | None = None
    tipped_over: bool | None = None


FIELDS = (
    "kind", "event.id", "device.id", "timestamp", "trip_id", "speed", "odometer_m", "battery_percent", "error_code",
    "tipped_over",
)  # fmt: skip
"""What of a document is read."""
DECODER = msgspec.json.Decoder(DeviceReport)


def skew_ms(reports: Iterable[DeviceReport], trips: Mapping[str, Trip]) -> int:
    """How far a device's clock is ahead, from the first report of each of its trips; 0 where it is about right."""
    first: dict[str, int] = {}
    for report in reports:
        if report.trip_id in trips:
            first[report.trip_id] = min(report.timestamp, first.get(report.trip_id, report.timestamp))
    if not first:
        return 0
    off = int(median(at - trips[trip].started_ms for trip, at in first.items()))
    return off if abs(off) > _SKEWED_MS else 0


def by_trip(reports: Iterable[DeviceReport], trips: Mapping[str, Trip], ahead_ms: int) -> dict[str, list[DeviceReport]]:
    """Each trip's reports in order of time, by the server's clock; those without a known trip are left out."""
    found: dict[str, list[DeviceReport]] = {}
    for report in reports:
        if report.trip_id in trips:
            moved = msgspec.structs.replace(report, timestamp=report.timestamp - ahead_ms) if ahead_ms else report
            found.setdefault(report.trip_id, []).append(moved)
    for own in found.values():
        own.sort(key=lambda r: (r.timestamp, r.event.id))
    return found


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a vehicle reports in its trips, in ms: between two reports while it moves, and while it stands."""

    moving_ms: int
    standing_ms: int


_FEW = 5
_STANDING_RATIO = 4
"""Of a vehicle that was hardly ever seen standing: so many times its interval while moving."""
_UNKNOWN_MS = 120_000


def rhythm(trips: Iterable[Sequence[DeviceReport]]) -> Rhythm:
    """A vehicle's own, in its trips of a day: the medians while it moves and while it stands."""
    moving, standing = list[int](), list[int]()
    for reports in trips:
        located = [r for r in reports if r.speed is not None]
        for i in range(1, len(located)):
            before, after = located[i - 1], located[i]
            still = not before.speed and not after.speed
            (standing if still else moving).append(after.timestamp - before.timestamp)
    between = int(median(moving)) if moving else _UNKNOWN_MS
    if len(standing) < _FEW:
        return Rhythm(between, between * _STANDING_RATIO)
    # Not the longest: it may be the very silence that is to be judged.
    return Rhythm(between, max(between, int(median(standing))))

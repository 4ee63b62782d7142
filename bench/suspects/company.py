"""One simulated company, looked at as a daily run would: by vehicle and day, with reports, trips and states alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fleetgauge.fleet.episodes import Rules, candidates, episodes
from fleetgauge.fleet.points import Episode
from fleetgauge.fleet.trip_reports import DECODER, DeviceReport, Trip
from fleetlab.simulator import Scale, Timeline
from fleetlab.simulator.records import VALID
from fleetlab.simulator.stops import FAULTS, Stops

START = datetime(2026, 11, 2, tzinfo=UTC)
"""As `fleetlab truth suspects` has it."""
ZONE = ZoneInfo("Asia/Seoul")
RULES = Rules(frozenset(FAULTS))


@dataclass(frozen=True)
class Size:
    """What is simulated for each seed."""

    vehicles: int = 2_000
    days: int = 7
    ageing: float = 0.005
    decoys: float = 1.0

    def company(self, seed: int) -> Timeline:
        """The timeline of a seed; no commands are asked of it."""
        scale = Scale(self.vehicles, self.days, seed=seed, live_seconds=0, stops=Stops(self.ageing, self.decoys))
        return Timeline(scale, START)


class Seen(NamedTuple):
    """A vehicle's episodes on a day."""

    vehicle: str
    day: date
    episodes: tuple[Episode, ...]


def look(plan: Timeline, rules: Rules = RULES) -> Iterator[Seen]:
    """Every vehicle-day that has an episode."""
    taken: dict[int, list[int]] = {}
    for change in plan.trips.states:
        if change.state == "non_operational" and "battery_low" not in change.events and change.at_ms <= plan.end_ms:
            taken.setdefault(change.vehicle.number, []).append(change.at_ms)
    for vehicle, records in plan.telemetry(parked=False):
        days: dict[date, dict[str, Trip]] = {}
        for rental in plan.trips.by_vehicle.get(vehicle.number, ()):
            if rental.started_ms < plan.end_ms:
                day = datetime.fromtimestamp(rental.started_ms / 1000, ZONE).date()
                ended, is_open = min(rental.ended_ms, plan.end_ms), rental.ended_ms > plan.end_ms
                days.setdefault(day, {})[rental.id] = Trip(
                    rental.id,
                    vehicle.code,
                    rental.started_ms,
                    ended,
                    is_open,
                    (rental.refunded_ms or plan.end_ms + 1) <= plan.end_ms,
                )
        reports = list[DeviceReport]()
        for record in records:
            if record.fault == VALID and record.value is not None:
                reports.append(DECODER.decode(record.value))
        batteries = [r for r in reports if r.kind == "battery"]
        for day, trips in sorted(days.items()):
            found = candidates([r for r in reports if r.trip_id in trips], trips, rules)
            if found.standings:
                yield Seen(vehicle.code, day, episodes(found, batteries, taken.get(vehicle.number, ()), rules))


def planted(plan: Timeline) -> frozenset[str]:
    """Vehicles that stopped while riding."""
    return frozenset(r.vehicle.code for r in plan.trips.rentals if r.stopped_ms and r.stopped_ms <= plan.end_ms)

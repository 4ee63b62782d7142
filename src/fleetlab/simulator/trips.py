"""Who rides what, when and where to: rentals, vehicle states and the sudden stops of ageing vehicles."""

import random
from bisect import bisect_right
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, hypot
from uuid import UUID

from fleetlab.simulator.rhythm import demand, pull
from fleetlab.simulator.scale import Dice, Scale, poisson
from fleetlab.simulator.stops import Course, Traits, plan_course, traits
from fleetlab.simulator.world import ZONES, Rider, Vehicle, World, Zone, around, nearest

UNLOCK_FEE_KRW = 1_000
MINUTE_FEE_KRW = 150
_BUCKET = 900_000  # starts are drawn by the quarter hour
_MINUTE = 60_000
_METRES = 111_320  # of a degree of latitude


@dataclass(slots=True)
class Rental:
    """One ride as it will have been in the end. Times in ms since the epoch, at whole seconds."""

    number: int
    id: str
    vehicle: Vehicle
    rider: Rider
    zone: Zone
    started_ms: int
    ended_ms: int
    start: tuple[float, float]
    end: tuple[float, float]
    distance_m: int
    fare_krw: int
    battery: float
    """Percent at the start."""
    odometer_m: int
    refunded_ms: int | None = None
    stopped_ms: int | None = None
    """When the vehicle died under its rider, long before the rental could be ended."""
    course: Course | None = None
    """How the ride goes, where the scale has a model of stops."""

    @property
    def riding_until_ms(self) -> int:
        """When the wheels stood still for good."""
        return self.stopped_ms or self.ended_ms


@dataclass(frozen=True, slots=True)
class StateChange:
    """A line of the vehicle state log, in the words of MDS."""

    at_ms: int
    vehicle: Vehicle
    state: str
    events: tuple[str, ...]
    rental: Rental | None
    location: tuple[float, float]
    zone: Zone


@dataclass(slots=True)
class Trips:
    """All rentals by start time, all state changes by time, and each vehicle's rentals."""

    rentals: list[Rental] = field(default_factory=list)
    states: list[StateChange] = field(default_factory=list)
    by_vehicle: dict[int, list[Rental]] = field(default_factory=dict)
    _starts: dict[int, list[int]] = field(default_factory=dict)
    _locations: dict[int, tuple[list[int], list[StateChange]]] = field(default_factory=dict)

    def index(self) -> None:
        """Sort and prepare look-ups; called once, when all trips are known."""
        self.states.sort(key=lambda s: (s.at_ms, s.vehicle.number))
        for number, rentals in self.by_vehicle.items():
            self._starts[number] = [r.started_ms for r in rentals]
        for change in self.states:
            times, changes = self._locations.setdefault(change.vehicle.number, ([], []))
            times.append(change.at_ms)
            changes.append(change)

    def riding(self, vehicle: Vehicle, instant_ms: int) -> Rental | None:
        """The rental a vehicle is in at an instant."""
        at = bisect_right(self._starts.get(vehicle.number, ()), instant_ms) - 1
        if at < 0:
            return None
        rental = self.by_vehicle[vehicle.number][at]
        return rental if instant_ms <= rental.ended_ms else None

    def last_state(self, vehicle: Vehicle, instant_ms: int) -> StateChange | None:
        """The vehicle's last change of state at or before an instant."""
        times, changes = self._locations.get(vehicle.number, ([], []))
        at = bisect_right(times, instant_ms) - 1
        return changes[at] if at >= 0 else None


@dataclass(slots=True)
class _Spot:
    """Where a vehicle is and how it fares, while trips are being planned."""

    zone: Zone
    lat: float
    lng: float
    battery: float
    odometer_m: int
    free_since: int


class Planner:
    """Plans trips in order of time. One use: `plan()`."""

    def __init__(self, scale: Scale, dice: Dice, world: World, start_ms: int, live_ms: int) -> None:
        self._scale, self._dice, self._world = scale, dice, world
        self._start, self._live = start_ms, live_ms
        self._end = live_ms + scale.live_seconds * 1000
        self._spots = [
            _Spot(v.zone, v.lat, v.lng, v.battery, v.odometer_m, start_ms - 3 * _MINUTE) for v in world.vehicles
        ]
        self._pools: dict[str, list[Vehicle]] = {z.code: [] for z in ZONES}
        for vehicle in world.vehicles:
            self._pools[vehicle.zone.code].append(vehicle)
        self._busy: list[tuple[int, int]] = []  # (free again at, vehicle number)
        self._trips = Trips()
        self._traits: list[Traits] = []
        if scale.stops is not None:
            self._traits = [traits(dice.stream("traits", v.number), scale.stops, v.ageing) for v in world.vehicles]

    def plan(self) -> Trips:
        """All trips that start before the timeline's end."""
        for at in self._starts():
            self._release(at)
            self._begin(at)
        self._refund_old_rentals()
        self._trips.index()
        return self._trips

    def _starts(self) -> list[int]:
        scale, starts = self._scale, []
        average = scale.vehicles * scale.rate
        for bucket, at in enumerate(range(self._start, self._live, _BUCKET)):
            rng = self._dice.stream("start", bucket)
            length = min(_BUCKET, self._live - at)
            count = poisson(rng, average * length / 86_400_000 * demand(at + length // 2))
            starts += [at + rng.randrange(length) for _ in range(count)]
        rng = self._dice.stream("live")
        rush = average * scale.live_seconds / 86_400 * scale.live_factor
        starts += [rng.randrange(self._live, self._end) for _ in range(poisson(rng, rush))] if rush else []
        return sorted(starts)

    def _release(self, now: int) -> None:
        while self._busy and self._busy[0][0] <= now:
            _, number = heappop(self._busy)
            self._pools[self._spots[number - 1].zone.code].append(self._world.vehicles[number - 1])

    def _take(self, rng: random.Random, now: int) -> Vehicle | None:
        zone = rng.choices(ZONES, [z.weight * pull(z.kind, now) for z in ZONES])[0]
        pool = self._pools[zone.code]
        if pool:
            at = rng.randrange(len(pool))
            pool[at], pool[-1] = pool[-1], pool[at]
            return pool.pop()
        fullest = max(self._pools.values(), key=len)
        if not fullest:
            return None  # every vehicle is out: the rider walks
        vehicle = min(fullest, key=lambda v: self._spots[v.number - 1].free_since)
        if self._spots[vehicle.number - 1].free_since > now - 2 * _MINUTE:
            return None
        fullest.remove(vehicle)
        self._move(rng, vehicle, zone, now)
        return vehicle

    def _move(self, rng: random.Random, vehicle: Vehicle, zone: Zone, now: int) -> None:
        """A van had brought the vehicle to where it is wanted."""
        spot = self._spots[vehicle.number - 1]
        dropped = now - _MINUTE
        picked = max(spot.free_since + 1, dropped - rng.randrange(15, 50) * _MINUTE)
        self._log(picked, vehicle, "removed", ("rebalance_pick_up",), None)
        spot.lat, spot.lng = around(rng, zone)
        spot.zone = nearest(spot.lat, spot.lng)
        self._log(dropped, vehicle, "available", ("provider_drop_off",), None)

    def _log(self, at_ms: int, vehicle: Vehicle, state: str, events: tuple[str, ...], rental: Rental | None) -> None:
        spot = self._spots[vehicle.number - 1]
        self._trips.states.append(StateChange(at_ms, vehicle, state, events, rental, (spot.lat, spot.lng), spot.zone))

    def _begin(self, now: int) -> None:
        number = len(self._trips.rentals) + 1
        rng = self._dice.stream("trip", number)
        vehicle = self._take(rng, now)
        if vehicle is None:
            return
        spot = self._spots[vehicle.number - 1]
        seconds = int(min(3_300, max(75, rng.lognormvariate(6.42, 0.5))))
        if now >= self._live:  # short hops, so that the live stretch sees rides end
            seconds = min(seconds, rng.randrange(45, max(90, self._scale.live_seconds)))
        speed = rng.uniform(2.5, 4.3)
        stopped, course, battery, refunded = None, self._course(vehicle, now, seconds), spot.battery, 1.0
        if course is not None:
            seconds, ended, refunded = course.ridden_ms // 1000, course.ended_ms, 0.7
            if course.end_kind == "stop":
                stopped = course.halts[-1].from_ms
            elif course.end_kind == "empty":
                battery = spot.battery = rng.uniform(0.5, 3.0) + seconds * speed / 400  # nobody had charged it
        elif vehicle.ageing and rng.random() < 0.4:
            seconds = max(60, int(seconds * rng.uniform(0.2, 0.8)))
            stopped = now + seconds * 1000
            ended = stopped + rng.randrange(20 * 60, 60 * 60) * 1000
        else:
            ended = now + seconds * 1000
        distance = int(seconds * speed)
        rider = rng.choice(self._world.riders)
        fare = (0 if rider.city_pass else UNLOCK_FEE_KRW) + ceil(seconds / 60) * MINUTE_FEE_KRW
        destination = rng.choices(ZONES, [z.weight * pull(z.kind, now + 6 * 3_600_000) for z in ZONES])[0]
        rental = Rental(
            number,
            str(UUID(int=int(self._dice.tag, 16) << 96 | rng.getrandbits(64) << 32 | number, version=4)),
            vehicle,
            rider,
            spot.zone,
            now,
            ended,
            (spot.lat, spot.lng),
            _towards(rng, spot, destination, distance),
            distance,
            fare,
            battery,
            spot.odometer_m,
            stopped_ms=stopped,
            course=course,
        )
        # those who were stranded get their money back
        if (stopped is not None and (refunded == 1 or rng.random() < refunded)) or rng.random() < 0.025:
            rental.refunded_ms = ended + int(rng.lognormvariate(8.8, 1.0)) * 1000
        self._trips.rentals.append(rental)
        self._trips.by_vehicle.setdefault(vehicle.number, []).append(rental)
        self._log(now, vehicle, "on_trip", ("trip_start",), rental)
        heappush(self._busy, (self._finish(rng, rental, spot), vehicle.number))

    def _course(self, vehicle: Vehicle, now: int, seconds: int) -> Course | None:
        if self._scale.stops is None:
            return None
        rng, day = self._dice.stream("course", len(self._trips.rentals) + 1), (now - self._start) // 86_400_000
        return plan_course(rng, self._scale.stops, self._traits[vehicle.number - 1], day, now, seconds)

    def _finish(self, rng: random.Random, rental: Rental, spot: _Spot) -> int:
        """Log the end of a ride and what follows; returns when the vehicle can be rented again."""
        vehicle, free = rental.vehicle, rental.ended_ms + 3 * _MINUTE
        spot.lat, spot.lng = rental.end
        spot.zone = nearest(*rental.end)
        spot.battery -= rental.distance_m / 400
        spot.odometer_m += rental.distance_m
        if rental.course is not None:
            free = self._finish_course(rng, rental, rental.course, spot)
        elif rental.stopped_ms is not None:
            self._log(rental.stopped_ms + 2 * _MINUTE, vehicle, "non_contactable", ("comms_lost",), rental)
            events = ("comms_restored", "trip_end", "maintenance")
            self._log(rental.ended_ms, vehicle, "non_operational", events, rental)
            free = rental.ended_ms + rng.randrange(4 * 60, 10 * 60) * _MINUTE
            self._log(free, vehicle, "available", ("maintenance_end",), None)
        elif spot.battery < 22:
            self._log(rental.ended_ms, vehicle, "available", ("trip_end",), rental)
            self._log(rental.ended_ms + _MINUTE, vehicle, "non_operational", ("battery_low",), None)
            free = rental.ended_ms + rng.randrange(90, 300) * _MINUTE
            spot.battery = rng.uniform(93, 100)
            self._log(free, vehicle, "available", ("battery_charged",), None)
        else:
            self._log(rental.ended_ms, vehicle, "available", ("trip_end",), rental)
        spot.free_since = free
        return free

    def _finish_course(self, rng: random.Random, rental: Rental, course: Course, spot: _Spot) -> int:
        """What the log of states says of a planned course. Where a gap is long, the vehicle is not to be contacted."""
        vehicle, free = rental.vehicle, rental.ended_ms + 3 * _MINUTE
        for gap in course.gaps:
            if gap.until_ms - gap.from_ms >= 5 * _MINUTE:
                self._log(gap.from_ms + 2 * _MINUTE, vehicle, "non_contactable", ("comms_lost",), rental)
                if gap.until_ms < rental.ended_ms:
                    self._log(gap.until_ms, vehicle, "on_trip", ("comms_restored",), rental)
        self._log(rental.ended_ms, vehicle, "available", ("trip_end",), rental)
        if course.end_kind == "empty" or spot.battery < 22:
            self._log(rental.ended_ms + _MINUTE, vehicle, "non_operational", ("battery_low",), None)
            free = rental.ended_ms + rng.randrange(90, 300) * _MINUTE
            spot.battery = rng.uniform(93, 100)
            self._log(free, vehicle, "available", ("battery_charged",), None)
        elif course.repaired:
            self._log(rental.ended_ms + _MINUTE, vehicle, "non_operational", ("maintenance",), None)
            free = rental.ended_ms + rng.randrange(4 * 60, 10 * 60) * _MINUTE
            self._log(free, vehicle, "available", ("maintenance_end",), None)
        return free

    def _refund_old_rentals(self) -> None:
        """The live stretch sees refunds of rentals of earlier days, which is what makes closed windows change."""
        if not self._scale.live_seconds:
            return
        rng = self._dice.stream("refund")
        old = [r for r in self._trips.rentals if r.ended_ms < self._live - 3_600_000 and r.refunded_ms is None]
        for rental in rng.sample(old, min(len(old) // 20, max(4, self._scale.live_seconds // 6))):
            rental.refunded_ms = rng.randrange(self._live, self._end)


def _towards(rng: random.Random, spot: _Spot, zone: Zone, distance: int) -> tuple[float, float]:
    """A location that many metres of road away (three quarters of it as the crow flies), in a zone's direction."""
    lat, lng = around(rng, zone)
    north, east = lat - spot.lat, (lng - spot.lng) * 0.79
    length = hypot(north, east) * _METRES or 1.0
    share = min(1.0, 0.75 * distance / length)
    return spot.lat + north * share, spot.lng + east * share / 0.79

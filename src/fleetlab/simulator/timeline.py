"""The plan of everything that happens: the same for the same scale and start, byte for byte."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from fleetlab.simulator import commands, telemetry
from fleetlab.simulator.app_records import AppRecords, of_rentals
from fleetlab.simulator.commands import Command
from fleetlab.simulator.courses import of_course
from fleetlab.simulator.faults import spoil
from fleetlab.simulator.records import GATEWAY_STEPS, VALID, Record
from fleetlab.simulator.scale import SHIFT_MS, SHIFTS, Dice, Scale
from fleetlab.simulator.trips import Planner, Rental, StateChange, Trips
from fleetlab.simulator.unkind import replay_some
from fleetlab.simulator.world import Vehicle, World, build

LONGEST_MS = 10 * 3_600_000
"""No subject (a ride, a command) still sends so long after it began: the latest device is 6 hours late."""
EARLIEST_MS = 600_000
"""No ride sends longer before it begins."""


@dataclass(frozen=True, slots=True)
class Action:
    """What the company's app writes to its database at an instant (ms): `start`, `end`, `refund` or `state`."""

    at_ms: int
    kind: str
    rental: Rental | None = None
    state: StateChange | None = None
    records: AppRecords | None = None
    """What is written with the rental."""


class Timeline:
    """Everything between `start` and `end`. Until `live_from` it is the backlog, from there on the live stretch.

    Planning takes about a second for the default scale; records are made on demand, in append order.
    """

    def __init__(self, scale: Scale, start: datetime) -> None:
        """`start` is aware; anything below a second is cut off."""
        self.scale = scale
        self.start = start.astimezone(UTC).replace(microsecond=0)
        self.live_from = self.start + timedelta(days=scale.days)
        self.end = self.live_from + timedelta(seconds=scale.live_seconds)
        self.start_ms, self.live_ms, self.end_ms = (
            int(t.timestamp() * 1000) for t in (self.start, self.live_from, self.end)
        )
        self.dice = Dice.cast(scale, self.start)
        self.world: World = build(scale, self.dice, self.start_ms)
        self.update_waves = commands.update_waves(self.dice, self.world, self.start_ms, self.end_ms)
        self.trips: Trips = Planner(scale, self.dice, self.world, self.start_ms, self.live_ms).plan()
        self.app_records = of_rentals(self.dice, self.trips.rentals)

    @classmethod
    def ending(cls, scale: Scale, live_from: datetime) -> "Timeline":
        """The timeline whose backlog ends at `live_from`."""
        return cls(scale, live_from - timedelta(days=scale.days))

    @property
    def slices(self) -> int:
        """How many lists `backlog` yields."""
        return -(-(self.live_ms - self.start_ms) // SHIFT_MS)

    def backlog(self) -> Iterator[list[Record]]:
        """Records appended up to `live_from`, in append order, some hours at a time."""
        carried: list[Record] = []
        done = 0
        for begin in range(self.start_ms, self.live_ms, SHIFT_MS):
            until = min(begin + SHIFT_MS, self.live_ms)
            last = until == self.live_ms
            # Rides send a little before they begin, so a slice is ready up to some minutes before its end.
            known = until + EARLIEST_MS if last else until
            carried += self._begun(done, known)
            done, edge = known, until if last else until - EARLIEST_MS
            yield sorted(r for r in carried if r.append_ms <= edge)
            carried = [r for r in carried if r.append_ms > edge]

    def live(self) -> list[Record]:
        """Records appended after `live_from`, up to `end`, in append order.

        What gateways have in their queues by then they append at the end: else an ack might be there without its
        `sent`, which is on its way.
        """
        if self.live_ms >= self.end_ms:
            return []
        records = self._begun(self.live_ms - LONGEST_MS, self.end_ms)
        queued = (
            r._replace(append_ms=self.end_ms)
            for r in records
            if r.action in GATEWAY_STEPS and r.fault == VALID and r.event_ms <= self.end_ms < r.append_ms
        )
        return sorted([*(r for r in records if self.live_ms < r.append_ms <= self.end_ms), *queued])

    def actions(self) -> list[Action]:
        """What the app writes up to `end`, in order of time: backlog and live stretch together."""
        actions = [Action(s.at_ms, "state", None, s) for s in self.trips.states]
        for rental in self.trips.rentals:
            records = self.app_records[rental.number]
            actions.append(Action(rental.started_ms, "start", rental, records=records))
            actions.append(Action(rental.ended_ms, "end", rental, records=records))
            if rental.refunded_ms is not None:
                actions.append(Action(rental.refunded_ms, "refund", rental))
        # a rental's start comes before the state change it causes, which names it
        return sorted((a for a in actions if a.at_ms <= self.end_ms), key=lambda a: (a.at_ms, a.kind == "state"))

    def commands(self) -> list[Command]:
        """Every command that is requested before `end`, as it will have ended."""
        return [c for c, _ in self._commands(0, self.end_ms) if c.attempts[0].requested_ms <= self.end_ms]

    def telemetry(self, *, parked: bool = True) -> Iterator[tuple[Vehicle, list[Record]]]:
        """Each vehicle's telemetry alone, unsorted, appended by the timeline's end; no commands: for many vehicles.

        Without `parked`, that of its rides alone.
        """
        shifts = list(enumerate(range(self.start_ms, self.end_ms, SHIFT_MS)))
        for vehicle in self.world.vehicles:
            records: list[Record] = []
            for rental in self.trips.by_vehicle.get(vehicle.number, ()):
                records += self._of_rental(rental)
            for shift, begin in shifts if parked else ():
                records += telemetry.of_parked(self.dice, self.trips, vehicle, shift, begin)
            yield vehicle, [r for r in records if r.append_ms <= self.end_ms]

    def _of_rental(self, rental: Rental) -> list[Record]:
        if rental.course is not None:
            return of_course(self.dice, rental, rental.course)
        return telemetry.of_rental(self.dice, rental)

    def _begun(self, from_ms: int, until_ms: int) -> list[Record]:
        """Records of the subjects (rides, updates, vehicles' shifts) that begin in [from, until), unsorted."""
        records: list[Record] = []
        for rental in self._rentals(from_ms, until_ms):
            records += self._of_rental(rental)
        for vehicle, shift, begin in self._shifts(from_ms, until_ms):
            records += telemetry.of_parked(self.dice, self.trips, vehicle, shift, begin)
        for command, rng in self._commands(from_ms, until_ms):
            steps: list[Record] = []
            for attempt in command.attempts:
                steps += telemetry.of_attempt(attempt, command.vehicle, rng)
            if self.dice.unkind.replayed_requests:
                steps = replay_some(steps, rng, self.start_ms)
            records += spoil(steps, rng)
        return records

    def _rentals(self, from_ms: int, until_ms: int) -> Iterator[Rental]:
        rentals = self.trips.rentals
        first = bisect_left(rentals, from_ms, key=lambda r: r.started_ms)
        for rental in rentals[first:]:
            if rental.started_ms >= until_ms:
                return
            yield rental

    def _shifts(self, from_ms: int, until_ms: int) -> Iterator[tuple[Vehicle, int, int]]:
        for shift, begin in enumerate(range(self.start_ms, self.end_ms, SHIFT_MS)):
            if from_ms <= begin < until_ms:
                for vehicle in self.world.vehicles:
                    yield vehicle, shift, begin

    def _commands(self, from_ms: int, until_ms: int) -> Iterator[tuple[Command, Random]]:
        """Commands, each with the random stream of its steps: one for all commands of a subject."""
        for rental in self._rentals(from_ms, until_ms):
            rng = self.dice.stream("rsteps", rental.number)
            for command in commands.of_rental(self.dice, rental):
                yield command, rng
        for vehicle, shift, begin in self._shifts(from_ms, until_ms):
            if sent := list(commands.of_operations(self.dice, vehicle, shift, begin)):
                rng = self.dice.stream("osteps", vehicle.number * SHIFTS + shift)
                for command in sent:
                    yield command, rng
        for count, command in enumerate(self.update_waves):
            if from_ms <= command.attempts[0].requested_ms < until_ms:
                yield command, self.dice.stream("wsteps", count)

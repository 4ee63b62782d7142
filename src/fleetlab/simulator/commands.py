"""Commands to the devices: what is sent when, and how each attempt goes."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

from fleetlab.simulator.records import Attempt, Described
from fleetlab.simulator.rhythm import local
from fleetlab.simulator.scale import SHIFT_MS, SHIFTS, Dice
from fleetlab.simulator.trips import Rental
from fleetlab.simulator.unkind import Unkindness
from fleetlab.simulator.world import (
    CARRIERS,
    CURRENT,
    FIRMWARE_FAILURE,
    MODELS,
    NEWEST,
    OLD,
    Vehicle,
    World,
)


@dataclass(frozen=True, slots=True)
class CommandType:
    """How a type of command behaves. Bytes are payloads over the air; one of the variants is drawn each time."""

    name: str
    deadline_s: int
    attempts: int
    median_ms: int
    """Request to answer, on an average model and carrier."""
    down: tuple[int, ...]
    up: tuple[int, ...]
    failure: float = 1.0
    """Factor on the chance of failing."""
    errors: tuple[str, ...] = ("E_BUSY", "E_INTERNAL")


ACK_BYTES = 24
TYPES = {
    t.name: t
    for t in (
        CommandType("unlock", 20, 2, 900, (64, 72), (48, 56), 0.9, ("E_LOCK_JAMMED", "E_BUSY")),
        CommandType("lock", 20, 3, 950, (64,), (48, 80), 1.1, ("E_LOCK_JAMMED", "E_MOVING")),
        CommandType("ring", 20, 1, 800, (48,), (32,), 0.8),
        # A short question with a long answer: satellite observations, cell and Wi-Fi scans, the last minutes' track.
        CommandType("locate", 30, 2, 2_600, (40,), (4_096, 6_144, 8_192), 1.1, ("E_NO_FIX", "E_BUSY")),
        CommandType("set_speed_limit", 30, 3, 1_000, (56, 60), (32,), 0.8, ("E_MOVING", "E_BUSY")),
        CommandType("read_battery", 30, 2, 1_400, (40,), (240, 320), 0.9, ("E_BMS_SILENT", "E_BUSY")),
        CommandType("reboot", 60, 2, 9_000, (36,), (120,), 1.6, ("E_MOVING", "E_INTERNAL")),
        CommandType("update_firmware", 120, 3, 3_500, (4_096, 4_112), (40,), 0.6, ("E_CRC", "E_LOW_BATTERY")),
    )
}

CHUNKS = 12
"""An image is sent in so many commands, each begun when the one before has succeeded."""
_FAILED, _REJECTED, _TIMED_OUT = 0.30, 0.50, 0.85  # cumulative shares among what fails; the rest expires
_RETRIED = 0.035  # of those that succeed in the end
_MARGIN_MS = 500
"""Without `answers_at_deadlines` no answer comes closer than this to its deadline; with it, some do."""
_AT_DEADLINE = 0.02  # of the answers in time; of those too late, a quarter
_DISAGREES = 0.12


@dataclass(slots=True)
class Command:
    """One command as it will have been in the end."""

    vehicle: Vehicle
    attempts: list[Attempt]
    outcome: str

    @property
    def done_ms(self) -> int:
        """When the last attempt was answered, or its deadline."""
        last = self.attempts[-1]
        return last.responded_ms or last.deadline_ms


def issue(rng: random.Random, dice: Dice, identifier: str, kind: CommandType, vehicle: Vehicle, at_ms: int) -> Command:
    """Request one command at `at_ms` and play it through to its end."""
    unkind, most = dice.unkind, dice.habits.most_tries(kind.name)
    firmware = vehicle.firmware_at(at_ms)
    chance = FIRMWARE_FAILURE[firmware] * vehicle.model.failure * kind.failure
    outcome, tries = "succeeded", 1
    if rng.random() < chance:
        share = rng.random()
        if share < _FAILED:
            outcome = "failed"
        elif share < _REJECTED:
            outcome = "rejected"
        elif share < _TIMED_OUT:
            outcome, tries = "timed_out", kind.attempts
        else:
            outcome, tries = "expired", 1 + (kind.attempts > 1 and rng.random() < 0.1)
    elif kind.attempts > 1 and rng.random() < _RETRIED:
        tries = 2 if kind.attempts == 2 or rng.random() < 0.8 else 3
    attempts: list[Attempt] = []
    requested = at_ms
    for number in range(1, tries + 1):
        attempt = Attempt(
            identifier,
            kind.name,
            number,
            vehicle.code,
            vehicle.model.code,
            firmware,
            vehicle.carrier.code,
            at_ms,
            requested,
            requested + kind.deadline_s * 1000,
            bytes_down=_size(rng, unkind, kind.down),
            bytes_ack=ACK_BYTES,
            bytes_up=_size(rng, unkind, kind.up),
        )
        if unkind.disagreeing_producers and rng.random() < _DISAGREES:
            attempt.gateway = _mistaken(rng, attempt)
        attempts.append(attempt)
        last = number == tries
        if not last or outcome == "timed_out":
            _time_out(rng, unkind, attempt, kind)
        elif outcome != "expired":
            _answer(rng, unkind, attempt, kind, vehicle, outcome)
        requested = attempt.deadline_ms
    if most is not None and len(attempts) > most:  # what a further try would have mended stays broken
        del attempts[most:]
        outcome = "timed_out"
    return Command(vehicle, attempts, outcome)


def _send(rng: random.Random, attempt: Attempt) -> None:
    attempt.sent_ms = attempt.requested_ms + rng.randrange(15, 260)


def _size(rng: random.Random, unkind: Unkindness, usual: tuple[int, ...]) -> int:
    """One of the usual sizes, or any up to a sixteenth beyond the largest."""
    if not unkind.varying_sizes:
        return rng.choice(usual)
    return rng.randint(min(usual), max(usual) + max(usual) // 16 + 1)


def _mistaken(rng: random.Random, attempt: Attempt) -> Described:
    """What a gateway may have that did not hear of an update, a new SIM or a repair."""
    way = rng.random()
    if way < 0.7:
        return Described(attempt.model, OLD if attempt.firmware != OLD else CURRENT, attempt.carrier)
    other = next(c.code for c in CARRIERS if c.code != attempt.carrier)
    if way < 0.9:
        return Described(attempt.model, attempt.firmware, other)
    return Described(next(m.code for m in MODELS if m.code != attempt.model), attempt.firmware, other)


def _answer(
    rng: random.Random, unkind: Unkindness, attempt: Attempt, kind: CommandType, vehicle: Vehicle, result: str
) -> None:
    """The usual way: sent, acknowledged, answered in time."""
    _send(rng, attempt)
    assert attempt.sent_ms is not None
    median = kind.median_ms * vehicle.model.latency * vehicle.carrier.latency
    latest = attempt.deadline_ms - _MARGIN_MS - attempt.sent_ms
    total = min(latest, 120 + int(median * exp(rng.gauss(0, 0.45))))
    attempt.responded_ms = attempt.sent_ms + total
    if unkind.answers_at_deadlines and rng.random() < _AT_DEADLINE:
        attempt.responded_ms = attempt.deadline_ms - rng.choice((0, 0, 1, rng.randrange(_MARGIN_MS)))
        total = attempt.responded_ms - attempt.sent_ms
    attempt.result = result
    if result != "succeeded":
        attempt.error_code = rng.choice(kind.errors)
        attempt.bytes_up = min(attempt.bytes_up, 44)  # a refusal is short
    way = rng.random()
    if way < 0.015:
        return  # the ack was lost
    if way < 0.025:  # the answer overtook the ack
        attempt.delivered_ms = attempt.responded_ms + rng.randrange(5, 400)
    else:
        attempt.delivered_ms = attempt.sent_ms + max(20, int(total * rng.uniform(0.2, 0.6)))


def _time_out(rng: random.Random, unkind: Unkindness, attempt: Attempt, kind: CommandType) -> None:
    """Lost on the way down, or on the way back, or answered too late."""
    _send(rng, attempt)
    assert attempt.sent_ms is not None
    way = rng.random()
    if way < 0.45:
        return
    attempt.delivered_ms = attempt.sent_ms + rng.randrange(80, 4_000)
    if way < 0.75:
        return
    attempt.responded_ms = attempt.deadline_ms + _MARGIN_MS + int(rng.expovariate(1 / 15_000))
    if unkind.answers_at_deadlines and rng.random() < 0.25:
        attempt.responded_ms = attempt.deadline_ms + rng.choice((1, 1, 2, rng.randrange(1, _MARGIN_MS)))
    attempt.result = "succeeded" if rng.random() < 0.8 else "failed"
    if attempt.result == "failed":
        attempt.error_code = rng.choice(kind.errors)
        attempt.bytes_up = min(attempt.bytes_up, 44)


def of_rental(dice: Dice, rental: Rental) -> Iterator[Command]:
    """What is sent on account of one ride. A failed unlock is tried again: riders press once more."""
    rng = dice.stream("rcmd", rental.number)
    vehicle, start, end = rental.vehicle, rental.started_ms, rental.riding_until_ms
    count = 0

    def send(name: str, at_ms: int) -> Command:
        nonlocal count
        count += 1
        return issue(rng, dice, f"c-{dice.tag}r{rental.number:x}-{count}", TYPES[name], vehicle, at_ms)

    if rng.random() < 0.55:
        yield send("locate", start - rng.randrange(90_000, 240_000))
    if rng.random() < 0.35:
        yield send("ring", start - rng.randrange(30_000, 80_000))
    at = start - rng.randrange(2_000, 6_000)
    for _ in range(3):
        unlock = send("unlock", at)
        yield unlock
        if unlock.outcome == "succeeded":
            break
        at = max(unlock.done_ms, at) + rng.randrange(2_000, 9_000)
    if rental.zone.slow or rng.random() < 0.25:
        yield send("set_speed_limit", start + rng.randrange(4_000, 30_000))
    for _ in range(int(rng.random() < 0.75) + int(rng.random() < 0.35)):  # is it inside the service area?
        yield send("locate", rng.randrange(start + 5_000, max(start + 6_000, end)))
    if rental.stopped_ms is not None:
        for name in ("read_battery", "reboot"):
            yield send(name, rental.stopped_ms + rng.randrange(60_000, 600_000))
    yield send("lock", rental.ended_ms - rng.randrange(300, 2_500))


def of_operations(dice: Dice, vehicle: Vehicle, shift: int, from_ms: int) -> Iterator[Command]:
    """What operations staff send to one vehicle in the shift from `from_ms`, the timeline's `shift`-th."""
    rng = dice.stream("ocmd", vehicle.number * SHIFTS + shift)
    for count, (name, chance) in enumerate((("read_battery", 0.115), ("locate", 0.025), ("reboot", 0.012))):
        if rng.random() < chance:
            identifier = f"c-{dice.tag}o{vehicle.number:x}-{shift}-{count}"
            yield issue(rng, dice, identifier, TYPES[name], vehicle, from_ms + rng.randrange(SHIFT_MS))


def update_waves(dice: Dice, world: World, start_ms: int, end_ms: int) -> list[Command]:
    """Each night at three some vehicles get the newest firmware, chunk by chunk; their history is extended."""
    commands: list[Command] = []
    size = max(1, len(world.vehicles) // 25)
    for night in range((end_ms - start_ms) // 86_400_000 + 2):
        at = local(start_ms + night * 86_400_000).replace(hour=3, minute=0, second=0, microsecond=0)
        begin = int(at.timestamp() * 1000)
        if not start_ms <= begin < end_ms:
            continue
        rng = dice.stream("wave", night)
        waiting = [v for v in world.vehicles if v.firmware[-1] != NEWEST]
        for vehicle in sorted(rng.sample(waiting, min(size, len(waiting))), key=lambda v: v.number):
            requested = begin + rng.randrange(3_600_000)
            for chunk in range(1, CHUNKS + 1):
                identifier = f"c-{dice.tag}w{night}-{vehicle.number:x}-{chunk}"
                command = issue(rng, dice, identifier, TYPES["update_firmware"], vehicle, requested)
                commands.append(command)
                if command.outcome != "succeeded":
                    break
                requested = command.done_ms + rng.randrange(200, 900)
            else:
                vehicle.firmware_since.append(requested + 45_000)
                vehicle.firmware.append(NEWEST)
    return commands

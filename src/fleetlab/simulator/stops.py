"""How ageing vehicles stop while riding, and what only looks like it: the model of docs/sudden-stops.md, with numbers.

Pure: everything is drawn from the streams that are handed in.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import log

from fleetgauge.errors import Terminal

_MINUTE = 60_000
_HOUR = 60 * _MINUTE

USUAL_PERIOD_MS = 18_000
OTHER_PERIODS_MS = (45_000, 60_000, 90_000, 120_000, 180_000)
STANDING_FACTOR = 3
"""A vehicle that stands in a trip reports so many times more rarely."""
FAULTS = ("CONTROLLER_FAULT", "BATTERY_CUTOFF", "MOTOR_STALL")
HARMLESS = ("BRAKE_SENSOR", "BMS_TEMP", "GNSS_WEAK")


@dataclass(frozen=True)
class Stops:
    """How many vehicles age, and how much else looks like a sudden stop. Raises `Terminal` for what makes no sense."""

    ageing: float = 0.01
    """Share of the vehicles that stop while riding, again and again."""
    decoys: float = 1.0
    """A factor on every rate of `Rates`; 0 for none, 2 for twice as many."""

    def __post_init__(self) -> None:
        for name, value, high in (("ageing", self.ageing, 0.5), ("decoys", self.decoys, 4)):
            if not 0 <= value <= high:
                raise Terminal(f"{name} is {value}, outside 0 to {high}; choose a value within these limits")
            object.__setattr__(self, name, float(value))  # 2 and 2.0 are the same company


@dataclass(frozen=True)
class Rates:
    """Chances of what looks like a stop: of a ride, of a vehicle where it says so, before the factor `decoys`."""

    light_per_10_min: float = 1.5
    pause: float = 0.06
    walk_away: float = 0.015
    garage: float = 0.10
    """Of those who walk away: where the vehicle stands there is no network."""
    empty: float = 0.01
    tunnel: float = 0.03
    drift: float = 0.03
    jump: float = 0.15
    """Of halts of three minutes and more: the position jumps."""
    warning: float = 0.04
    false_fault: float = 0.004
    """A code that means a fault, and the ride goes on."""
    tip_standing: float = 0.05
    """Of pauses and of vehicles that were left: it falls over."""
    tip_parked: float = 0.05
    repair: float = 0.01
    """Out of service after a ride for another reason."""
    other_period: float = 0.12
    """Of vehicles."""
    late_firmware: float = 0.03
    """Of vehicles; these hold back the reports of six rides in ten for hours."""


RATES = Rates()
_LATE_RIDES = 0.6


@dataclass(frozen=True, slots=True)
class Traits:
    """What is a vehicle's own. `hazard`: its chance to stop on a ride of the first day, `growth` by day."""

    period_ms: int
    late: bool
    hazard: float
    growth: float

    def hazard_on(self, day: int) -> float:
        """The chance that a ride of the timeline's `day`-th day ends in a sudden stop."""
        return min(0.6, self.hazard * self.growth**day)


def traits(rng: random.Random, stops: Stops, ageing: bool) -> Traits:
    """One vehicle's traits."""
    other, late = rng.random() < RATES.other_period * stops.decoys, rng.random() < RATES.late_firmware * stops.decoys
    period, hazard, growth = rng.choice(OTHER_PERIODS_MS), rng.uniform(0.06, 0.15), rng.uniform(1.15, 1.35)
    return Traits(period if other else USUAL_PERIOD_MS, late, hazard if ageing else 0.0, growth)


@dataclass(frozen=True, slots=True)
class Halt:
    """The vehicle stands from one instant (ms) to another: `light`, `pause`, `walk_away`, `empty` or `stop`."""

    kind: str
    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Gap:
    """No network. `kept`: what is measured meanwhile is sent at its end; else nothing is measured."""

    from_ms: int
    until_ms: int
    kept: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """A report of the firmware."""

    at_ms: int
    code: str
    severity: str


@dataclass(frozen=True, slots=True)
class Course:
    """How one ride goes. Times in ms since the epoch."""

    started_ms: int
    ended_ms: int
    ridden_ms: int
    """Time in which the wheels turn."""
    period_ms: int
    halts: tuple[Halt, ...]
    gaps: tuple[Gap, ...]
    drift: Gap | None
    """A stretch in which position and speed are frozen though the vehicle rides."""
    jumps: bool
    faults: tuple[Fault, ...]
    tips: tuple[tuple[int, int], ...]
    """Falls over, is set upright again."""
    late_until_ms: int | None
    repaired: bool
    """Goes out of service afterwards."""
    called: bool
    """The last report before the end comes in spite of a gap."""

    @property
    def end_kind(self) -> str:
        """How it ends: `stop`, `empty`, `walk_away`, or `parked`."""
        kind = self.halts[-1].kind if self.halts and self.halts[-1].until_ms == self.ended_ms else ""
        return kind if kind in ("stop", "empty", "walk_away") else "parked"

    def halt_at(self, at_ms: int) -> Halt | None:
        """The halt at an instant."""
        return next((h for h in self.halts if h.from_ms <= at_ms < h.until_ms), None)

    def share(self, at_ms: int) -> float:
        """How much of the way is behind it, 0 to 1."""
        stood = sum(max(0, min(at_ms, h.until_ms) - h.from_ms) for h in self.halts if h.from_ms < at_ms)
        return min(1.0, max(0.0, (at_ms - self.started_ms - stood) / self.ridden_ms))

    def decoys(self) -> Iterator[str]:
        """The words for what it holds that looks like a stop and is none."""
        yield from (h.kind for h in self.halts if h.kind != "stop")
        if self.end_kind not in ("stop", "empty"):
            yield from ("garage" if self.end_kind == "walk_away" and not g.kept else "tunnel" for g in self.gaps)
            yield from ("false_fault" if f.code in FAULTS else "warning" for f in self.faults)
            yield from ("tip_over" for _ in self.tips)
        if self.drift is not None:
            yield "drift"
        if self.late_until_ms is not None:
            yield "late"


def plan_course(rng: random.Random, stops: Stops, own: Traits, day: int, now: int, seconds: int) -> Course:
    """The course of a ride that begins at `now` (ms) and would take `seconds` without a halt."""
    factor, chance = stops.decoys, rng.random
    draws = [chance() for _ in range(3)]
    if draws[0] < own.hazard_on(day):
        end, seconds = "stop", max(60, int(seconds * rng.uniform(0.15, 0.85)))
    elif draws[1] < RATES.empty * factor:
        end, seconds = "empty", max(60, int(seconds * rng.uniform(0.3, 0.9)))
    else:
        end = "walk_away" if draws[2] < RATES.walk_away * factor else "parked"
    ridden = seconds * 1000
    halts = _halts(rng, factor, now, ridden)
    stands = now + ridden + sum(h.until_ms - h.from_ms for h in halts)
    ended, gaps, faults, tips, called = stands, list[Gap](), list[Fault](), list[tuple[int, int]](), True
    if chance() < RATES.tunnel * factor:
        length = _length(rng, 180_000, 0.6, 60_000, 600_000)
        begin = now + int(ridden * rng.uniform(0.1, 0.8))
        if begin + length < stands - 20_000:
            gaps.append(Gap(begin, begin + length, chance() < 0.5))
    if end == "stop":
        ended, told = stands + rng.randrange(20 * 60, 90 * 60) * 1000, chance()
        if told < 0.6:
            faults.append(Fault(stands + 120, rng.choice(FAULTS), "critical"))
        if chance() < 0.15:
            tips.append((stands + rng.randrange(1_000, 60_000), ended))
        if chance() < 0.75:
            # heard at most four times before it is silent
            silent = stands + 1_000 + rng.randrange(5) * own.period_ms * STANDING_FACTOR
            gaps.append(Gap(min(silent, ended - 60_000), ended, False))
            called = chance() < 0.7
    elif end == "empty":
        ended = stands + rng.randrange(2 * 60, 8 * 60) * 1000
        if chance() < 0.5:
            faults.append(Fault(stands + 120, "BATTERY_CUTOFF", "critical"))
        if chance() < 0.4:
            gaps.append(Gap(stands + 1_000, ended, False))
            called = False
    elif end == "walk_away":
        ended = stands + _length(rng, 50 * _MINUTE, 0.6, 20 * _MINUTE, 4 * _HOUR)
        if chance() < RATES.garage * factor:
            gaps.append(Gap(stands + rng.randrange(1_000, 60_000), ended - 15_000, False))
    if ended > stands:
        halts.append(Halt(end, stands, ended))
    for halt in halts:
        if halt.kind in ("pause", "walk_away") and chance() < RATES.tip_standing * factor:
            fell = rng.randrange(halt.from_ms, halt.until_ms)
            tips.append((fell, halt.until_ms))
    if end != "stop" and chance() < RATES.warning * factor:
        faults.append(Fault(rng.randrange(now, stands), rng.choice(HARMLESS), "warning"))
    if chance() < RATES.false_fault * factor:
        faults.append(Fault(now + int(ridden * rng.uniform(0.05, 0.8)), rng.choice(FAULTS), "critical"))
    drift = None
    if chance() < RATES.drift * factor:
        begin = rng.randrange(now, stands)
        drift = Gap(begin, min(stands, begin + rng.randrange(120_000, 480_000)), False)
    late = ended + rng.randrange(_HOUR, 6 * _HOUR) if own.late and chance() < _LATE_RIDES else None
    repaired = chance() < 0.5 if end == "stop" else chance() < RATES.repair * factor
    return Course(
        now, ended, ridden, own.period_ms, tuple(halts), tuple(gaps), drift, chance() < RATES.jump * factor,
        tuple(faults), tuple(tips), late if late is None else min(late, now + 9 * _HOUR), repaired, called,
    )  # fmt: skip


def _halts(rng: random.Random, factor: float, now: int, ridden: int) -> list[Halt]:
    """Red lights and at most one pause, in order of time."""
    wanted = []
    lights = ridden / 600_000 * RATES.light_per_10_min * factor
    while lights > 0:
        if rng.random() < lights:
            wanted.append((rng.randrange(ridden), "light", rng.randrange(15_000, 90_000)))
        lights -= 1
    if rng.random() < RATES.pause * factor:
        wanted.append((int(ridden * rng.uniform(0.1, 0.9)), "pause", _length(rng, 8 * _MINUTE, 0.8, 120_000, _HOUR)))
    halts, stood = [], 0
    for after, kind, length in sorted(wanted):
        halts.append(Halt(kind, now + after + stood, now + after + stood + length))
        stood += length
    return halts


def _length(rng: random.Random, median: int, sigma: float, low: int, high: int) -> int:
    """A log-normal length in ms, within limits."""
    return int(min(high, max(low, rng.lognormvariate(log(median), sigma))))

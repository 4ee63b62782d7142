"""How big the company is, and where every random number comes from."""

import hashlib
import random
from dataclasses import dataclass, field
from datetime import datetime
from math import exp

from fleetgauge.errors import Terminal
from fleetlab.simulator.habits import Habits
from fleetlab.simulator.stops import Stops
from fleetlab.simulator.unkind import Unkindness

SHIFT_MS = 6 * 3_600_000
"""Vehicles are looked after in shifts, counted from the timeline's start."""
SHIFTS = 2_000
"""More shifts than any timeline has: spaces the numbers of vehicles' shifts."""


@dataclass(frozen=True)
class Scale:
    """Size of the simulated company. Raises `Terminal` when a value makes no sense."""

    vehicles: int = 900
    """Scooters on the street."""
    days: int = 3
    """Length of the backlog, in days of 24 hours."""
    rate: float = 2.5
    """Rentals for each vehicle and day, on average over a week."""
    seed: int = 1
    live_seconds: int = 300
    """Length of the stretch after the backlog, in seconds; 0 for none."""
    live_factor: float = 10.0
    """How many times busier than the average the live stretch is: a rush hour at any time of day."""
    unkind: Unkindness = field(default_factory=Unkindness)
    stops: Stops | None = field(default=None, repr=False)
    """Vehicles that stop while riding, and what looks like it, by the model of docs/sudden-stops.md. None: one vehicle
    in a hundred stops on four of ten rides, always plainly, and little looks like it."""

    habits: Habits = field(default_factory=Habits, repr=False)

    def __post_init__(self) -> None:
        if self.stops is not None and self.habits != Habits():
            raise Terminal("rides of the model of stops report as it says; leave out habits or stops")
        limits = {
            "vehicles": (self.vehicles, 10, 99_999),
            "days": (self.days, 1, 366),
            "rate": (self.rate, 0.1, 40),
            "live_seconds": (self.live_seconds, 0, 86_400),
            "live_factor": (self.live_factor, 0, 1_000),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise Terminal(f"{name} is {value}, outside {low} to {high}; choose a value within these limits")


@dataclass(frozen=True)
class Dice:
    """A source of independent random streams, one for each subject, so that order of use never matters."""

    key: int
    tag: str
    """Eight hexadecimal digits that begin every identifier of this timeline: two timelines never share an id."""
    unkind: Unkindness
    stops: Stops | None = None
    habits: Habits = field(default_factory=Habits)

    @classmethod
    def cast(cls, scale: Scale, start: datetime) -> "Dice":
        """The dice of one timeline."""
        more = f"|{scale.stops!r}" if scale.stops is not None else ""
        digest = hashlib.sha256(f"{scale!r}|{start.isoformat()}{more}".encode()).hexdigest()
        return cls(int(digest[:24], 16), digest[:8], scale.unkind, scale.stops, scale.habits)

    def stream(self, subject: str, number: int = 0) -> random.Random:
        """The random stream of one subject (a rental, a vehicle's day, …); the same one on each call."""
        return random.Random((self.key << 80) | (int.from_bytes(subject.encode()[:6], "big") << 32) | number)


def poisson(rng: random.Random, mean: float) -> int:
    """A Poisson variate; beyond a mean of 60 the normal approximation, which is good enough for a city."""
    if mean > 60:
        return max(0, round(rng.gauss(mean, mean**0.5)))
    limit, count, product = exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count

"""What the company's app writes beside rentals: unlock requests, refused charges, and which of its rider's a rental is.

Drawn from streams of their own after all trips are planned, so that rides, commands and telemetry are what they were.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from fleetlab.simulator.scale import Dice
from fleetlab.simulator.trips import Rental

Outcome = Literal["ride", "failed", "abandoned"]


@dataclass(frozen=True, slots=True)
class UnlockRequest:
    """A rider's request in the app; zone and model are those of the vehicle. Times in ms since the epoch."""

    requested_ms: int
    zone: str
    model: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class AppRecords:
    """Of one rental, written with it."""

    rider_rental: int
    """Which one of its rider's it is: 1 for the first of their life."""
    requests: tuple[UnlockRequest, ...]
    """The one that became the ride is the last; before it there may be some that came to nothing."""
    refused_charges: int
    """How often the bank refused the charge before it took it."""


def of_rentals(dice: Dice, rentals: list[Rental]) -> dict[int, AppRecords]:
    """By the rental's number. `rentals`: all of the company, in order of their start."""
    known: Counter[int] = Counter()
    found = {}
    for rental in rentals:
        rider = rental.rider.number
        if rider not in known:
            rng = dice.stream("prior", rider)
            known[rider] = 0 if rng.random() < 0.35 else 1 + int(rng.expovariate(1 / 20))
        known[rider] += 1
        rng = dice.stream("unlock", rental.number)
        zone, model = rental.zone.code, rental.vehicle.model.code
        requests: list[UnlockRequest] = []
        at = rental.started_ms - rng.randrange(3, 12) * 1000
        while rng.random() < 0.09:
            outcome: Outcome = "failed" if rng.random() < 0.6 else "abandoned"
            requests.insert(
                0, UnlockRequest(at - (1 + len(requests)) * rng.randrange(20, 60) * 1000, zone, model, outcome)
            )
        requests.append(UnlockRequest(at, zone, model, "ride"))
        refused = int(dice.stream("charge", rental.number).random() < 0.03)
        found[rental.number] = AppRecords(known[rider], tuple(requests), refused)
    return found

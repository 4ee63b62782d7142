"""From one vehicle's reports and trips to its episodes. Pure: what a run reads and what tests make up go this way."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleetgauge.fleet.points import Episode, Weights, counts, episode
from fleetgauge.fleet.standstill import Standing, standing
from fleetgauge.fleet.trip_reports import DeviceReport, Trip, by_trip, rhythm, skew_ms

_SOON_MS = 1_800_000
"""A vehicle that is taken out of service so soon after a trip was taken out because of it."""
_CHARGED_MS = 600_000
"""A reading so long after the last movement still tells with which charge it stopped."""


@dataclass(frozen=True)
class Rules:
    """What a team says of its fleet: which codes mean a fault, and the weights."""

    fault_codes: frozenset[str]
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True)
class Candidates:
    """One vehicle's standstills that are long enough, and its clock, by which its batteries are looked up."""

    ahead_ms: int
    standings: tuple[Standing, ...]


def candidates(reports: Sequence[DeviceReport], trips: Mapping[str, Trip], rules: Rules) -> Candidates:
    """Standstills at the end of one vehicle's trips. `reports`: those with a trip, in any order, all its trips."""
    ahead = skew_ms(reports, trips)
    own = by_trip(reports, trips, ahead)
    usual = rhythm(own.values())
    found = (standing(trips[trip], known, usual, rules.fault_codes) for trip, known in sorted(own.items()))
    return Candidates(ahead, tuple(s for s in found if s is not None and counts(s, rules.weights)))


def episodes(
    found: Candidates, batteries: Sequence[DeviceReport], out_of_service: Sequence[int], rules: Rules
) -> tuple[Episode, ...]:
    """The standstills with their points.

    `batteries`: the vehicle's battery reports, by its own clock, in any order. `out_of_service`: when it was taken out
    of service (ms), ascending.
    """
    charge = sorted(
        (r.timestamp - found.ahead_ms, r.battery_percent) for r in batteries if r.battery_percent is not None
    )
    told = []
    for stood in found.standings:
        before = [
            percent
            for at, percent in charge
            if stood.trip.started_ms <= at <= min(stood.since_ms + _CHARGED_MS, stood.trip.ended_ms)
        ]
        at = bisect_left(out_of_service, stood.since_ms)
        taken = out_of_service[at] if at < len(out_of_service) else None
        soon = taken is not None and taken <= stood.trip.ended_ms + _SOON_MS
        told.append(
            replace(stood, battery_percent=before[-1] if before else None, out_of_service_ms=taken if soon else None)
        )
    return tuple(episode(stood, rules.weights) for stood in sorted(told, key=lambda s: s.since_ms))

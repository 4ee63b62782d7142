"""Points for what speaks for or against a sudden stop: additive log-odds, each with its reason in words. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fleetgauge.fleet.standstill import Heard, Standing

_MINUTE_MS = 60_000


@dataclass(frozen=True)
class Weights:
    """Points (natural log-odds) and limits. docs/suspects.md says what each means and where it comes from."""

    prior: float = -5.3
    """Of a vehicle of which nothing is known: one in two hundred stops while riding."""
    stood: float = 1.8
    stood_min: float = 10.0
    """Minutes at the trip's end from which on standing counts."""
    short: float = -1.5
    short_min: float = 18.0
    """Below so many minutes the standstill was short: people end trips late."""
    long: float = -1.5
    long_min: float = 100.0
    """Above so many minutes: more often a rider who forgot to end the trip."""
    fault: float = 6.8
    no_fault: float = -1.0
    tip_over: float = 3.0
    silent_later: float = 5.5
    silent_at_once: float = 1.0
    settled_min: float = 1.0
    """Minutes after it has surely stopped: who is still heard then stands where there is network."""
    heard: float = -1.2
    unheard_end: float = 5.5
    unheard_min: float = 5.0
    """Minutes before the trip's end in which a vehicle that works would have been heard: it is locked then."""
    silent_ratio: float = 4.0
    """Silence is what lasts so many times the vehicle's own interval while standing."""
    silent_share: float = 0.5
    """… and so much of the standstill."""
    empty: float = -12.0
    empty_percent: int = 5
    out_of_service: float = 1.5
    stayed: float = -0.7
    refunded: float = 2.5
    paid: float = -1.0


@dataclass(frozen=True)
class Reason:
    """One summand of a score. `code` is stable, `words` are for people."""

    code: str
    points: float
    words: str
    evidence: tuple[Heard, ...] = ()


@dataclass(frozen=True)
class Episode:
    """A trip at whose end the vehicle stood for long, with all that speaks for or against a sudden stop."""

    standing: Standing
    reasons: tuple[Reason, ...]

    @property
    def points(self) -> float:
        """The sum of the reasons, or 0: riders walk away from sound and unsound vehicles alike, so that a standstill
        which was probably that says nothing of the vehicle."""
        return max(0.0, sum(reason.points for reason in self.reasons))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ids and times, no position and no rider."""
        stood = self.standing
        return {
            "trip": stood.trip.id,
            "trip_started_ms": stood.trip.started_ms,
            "trip_ended_ms": None if stood.trip.is_open else stood.trip.ended_ms,
            "stood_since_ms": stood.since_ms,
            "stood_s": stood.lasted_ms // 1000,
            "quiet_s": stood.quiet_ms // 1000,
            "usually_quiet_s": stood.expected_ms // 1000,
            "battery_percent": stood.battery_percent,
            "points": round(self.points, 2),
            "reasons": [
                {
                    "code": r.code,
                    "points": r.points,
                    "words": r.words,
                    "events": [{"id": h.event_id, "at_ms": h.at_ms, "what": h.what} for h in r.evidence],
                }
                for r in self.reasons
            ],
        }


def counts(stood: Standing, weights: Weights) -> bool:
    """Whether the standstill is long enough to be judged at all."""
    return stood.lasted_ms >= weights.stood_min * _MINUTE_MS


def episode(stood: Standing, weights: Weights) -> Episode:
    """The points of one standstill."""
    minutes = stood.lasted_ms / _MINUTE_MS
    last = () if stood.last is None else (stood.last,)
    until = "and still is in its trip" if stood.trip.is_open else "before its trip ended"
    found = [Reason("stood", weights.stood, f"stood still for {minutes:.0f} min {until}", last)]
    if minutes < weights.short_min:
        found.append(Reason("short", weights.short, "the standstill was short"))
    elif minutes > weights.long_min:
        found.append(Reason("long", weights.long, "so long that the rider may have forgotten to end the trip"))
    if stood.faults:
        codes = ", ".join(sorted({one.what for one in stood.faults}))
        found.append(Reason("fault", weights.fault, f"fault code {codes} at the moment it stopped", stood.faults))
    else:
        found.append(Reason("no_fault", weights.no_fault, "no fault code at the moment it stopped"))
    if stood.tips:
        found.append(Reason("tip_over", weights.tip_over, "fell over at the moment it stopped", stood.tips))
    found += _silence(stood, weights)
    if stood.battery_percent is not None and stood.battery_percent <= weights.empty_percent:
        found.append(Reason("empty", weights.empty, f"its battery was empty ({stood.battery_percent} %)"))
    if stood.out_of_service_ms is not None:
        found.append(Reason("out_of_service", weights.out_of_service, "taken out of service right after the trip"))
    else:
        found.append(Reason("stayed", weights.stayed, "stayed in service after the trip"))
    if stood.trip.refunded:
        found.append(Reason("refunded", weights.refunded, "the rider got the money back"))
    else:
        found.append(Reason("paid", weights.paid, "the rider did not get the money back"))
    return Episode(stood, tuple(found))


def _silence(stood: Standing, weights: Weights) -> Iterable[Reason]:
    unheard_ms = stood.trip.ended_ms - stood.last_heard_ms
    if not stood.trip.is_open and unheard_ms >= max(weights.unheard_min * _MINUTE_MS, 2 * stood.moving_ms):
        yield Reason("unheard_end", weights.unheard_end, "its trip ended without a word from it")
    limit = weights.silent_ratio * stood.expected_ms
    told = f"silent for {stood.quiet_ms / _MINUTE_MS:.0f} min, usually {stood.expected_ms / _MINUTE_MS:.1f} min"
    if stood.quiet_ms >= limit and stood.quiet_ms >= weights.silent_share * stood.lasted_ms:
        settled = stood.since_ms + stood.moving_ms * 4 // 3 + int(weights.settled_min * _MINUTE_MS)
        if stood.quiet_from_ms > settled:
            yield Reason("silent_later", weights.silent_later, f"{told}, where it had been heard while it stood")
        else:
            yield Reason("silent_at_once", weights.silent_at_once, f"{told}, from the moment it stopped")
    elif stood.lasted_ms >= limit:  # else it could not have been silent for long: nothing is known
        yield Reason("heard", weights.heard, "went on to report while it stood")


@dataclass(frozen=True)
class VehicleDay:
    """One vehicle on one day: the episodes of the trips that began then."""

    vehicle: str
    episodes: tuple[Episode, ...]

    @property
    def points(self) -> float:
        """What the day adds to the vehicle's score."""
        return sum(one.points for one in self.episodes)

    @property
    def reasons(self) -> list[str]:
        """In words, what speaks for a stop first."""
        found = sorted((r for one in self.episodes for r in one.reasons), key=lambda r: -r.points)
        return [f"{r.points:+.1f} {r.words}" for r in found]


def score(days: Iterable[VehicleDay], weights: Weights) -> float:
    """A vehicle's score over days: log-odds that it stops while riding. From 0 on it is a suspect."""
    return weights.prior + sum(day.points for day in days)

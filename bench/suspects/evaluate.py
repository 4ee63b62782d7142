"""Precision and recall of suspects over companies, and of the best plain rule beside them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.suspects.company import RULES, Size, look, planted
from fleetgauge.fleet.points import Episode, VehicleDay, Weights, score

_MINUTE_MS = 60_000
PLAIN_MINUTES = range(10, 181, 2)


@dataclass(frozen=True)
class Company:
    """What is known of one seed: who stopped, and what was seen of each vehicle."""

    seed: int
    stopped: frozenset[str]
    seen: Mapping[str, tuple[VehicleDay, ...]]


@dataclass(frozen=True)
class Verdict:
    """Vehicles, pooled over companies."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Of the suspects, those that stop."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Of those that stop, the suspects."""
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


@dataclass(frozen=True)
class PlainRule:
    """A vehicle is a suspect if in one trip `what` lasted so many minutes at its end."""

    what: str
    minutes: int
    verdict: Verdict


def gather(seed: int, size: Size) -> Company:
    """Simulate a seed and look at it; takes a minute or two for 2,000 vehicles and a week."""
    plan = size.company(seed)
    seen: dict[str, list[VehicleDay]] = {}
    for one in look(plan):
        seen.setdefault(one.vehicle, []).append(VehicleDay(one.vehicle, one.episodes))
    return Company(seed, planted(plan), {vehicle: tuple(days) for vehicle, days in seen.items()})


def judged(companies: Iterable[Company], weights: Weights = RULES.weights) -> Verdict:
    """The method's verdict: who has a score of 0 or more at the end."""
    return _pooled(companies, lambda days: score(days, weights) >= 0)


def best_plain_rule(companies: Sequence[Company]) -> PlainRule:
    """The threshold that is best for these very companies, which no real one could know; by F1."""
    measures: dict[str, Callable[[Episode], int]] = {
        "standing": lambda one: one.standing.lasted_ms,
        "silence": lambda one: one.standing.quiet_ms,
    }
    rules = [
        PlainRule(what, minutes, _pooled(companies, _over(measure, minutes)))
        for what, measure in measures.items()
        for minutes in PLAIN_MINUTES
    ]
    return max(rules, key=lambda rule: rule.verdict.f1)


def _over(measure: Callable[[Episode], int], minutes: int) -> Callable[[Sequence[VehicleDay]], bool]:
    return lambda days: any(measure(one) >= minutes * _MINUTE_MS for day in days for one in day.episodes)


def _pooled(companies: Iterable[Company], suspected: Callable[[Sequence[VehicleDay]], bool]) -> Verdict:
    right = wrong = missed = 0
    for company in companies:
        found = {vehicle for vehicle, days in company.seen.items() if suspected(days)}
        right += len(found & company.stopped)
        wrong += len(found - company.stopped)
        missed += len(company.stopped - found)
    return Verdict(right, wrong, missed)

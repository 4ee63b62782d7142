"""How sure a share is, and whether two shares differ: pure functions on counts.

Counts are of commands or rentals; a share is between 0 and 1, and so is a probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, erfc, exp, lgamma, log, log1p, sqrt
from statistics import NormalDist

_NORMAL = NormalDist()
FEWEST_EXPECTED = 5.0
"""With fewer expected failures than these the normal approximation says nothing (the rule of Mantel and Fleiss)."""
_FEWEST_FOR_SPREAD = 30


def z_of(level: float, comparisons: int = 1) -> float:
    """The normal quantile of a two-sided interval of that level, or of so many that hold all together (Bonferroni)."""
    return _NORMAL.inv_cdf(1 - (1 - level) / 2 / max(1, comparisons))


def wilson(bad: int, of: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of the share `bad / of`; (0, 1) of nothing."""
    if of <= 0:
        return 0.0, 1.0
    share, square = bad / of, z * z
    centre = share + square / (2 * of)
    half = z * sqrt(share * (1 - share) / of + square / (4 * of * of))
    low, high = (centre - half) / (1 + square / of), (centre + half) / (1 + square / of)
    return (0.0 if bad == 0 else max(0.0, low)), (1.0 if bad == of else min(1.0, high))


@dataclass(frozen=True)
class Stratum:
    """One kind of command on one kind of vehicle, under the version in question and under the one before it."""

    bad: int
    of: int
    bad_before: int
    of_before: int


@dataclass(frozen=True)
class Stratified:
    """Two versions compared within strata, so that another mix of commands or vehicles is no difference."""

    of: int
    of_before: int
    rate: float
    """What the version fails at, on the common mix (weights of Mantel and Haenszel)."""
    rate_before: float
    difference: float
    low: float
    """The 95 % interval of the difference; of this comparison alone."""
    high: float
    p_value: float | None
    """Two-sided, of Cochran, Mantel and Haenszel's test; None where there are too few failures for one."""


def stratified(strata: Sequence[Stratum], spread: float = 1.0) -> Stratified | None:
    """The comparison over all strata that both versions have; None if they share none.

    `spread` is how much more the counts vary than chance alone would have them (see `spread_of`), 1 or more.
    """
    common = [one for one in strata if one.of > 0 and one.of_before > 0]
    if not common:
        return None
    total = sum(one.of * one.of_before / (one.of + one.of_before) for one in common)
    rate = before = variance = observed = expected = chance = lowest = highest = 0.0
    for one in common:
        both, bad = one.of + one.of_before, one.bad + one.bad_before
        weight = one.of * one.of_before / both / total
        own, other = one.bad / one.of, one.bad_before / one.of_before
        rate += weight * own
        before += weight * other
        # a share of no failure in few commands is not known exactly: half a failure and half a success are added
        for share, of in (
            ((one.bad + 0.5) / (one.of + 1), one.of),
            ((one.bad_before + 0.5) / (one.of_before + 1), one.of_before),
        ):
            variance += weight * weight * share * (1 - share) / of
        observed += one.bad
        expected += one.of * bad / both
        lowest += max(0, bad - one.of_before)
        highest += min(one.of, bad)
        if both > 1:
            chance += one.of * one.of_before * bad * (both - bad) / (both * both * (both - 1))
    enough = min(expected - lowest, highest - expected) >= FEWEST_EXPECTED and chance > 0
    half = z_of(0.95) * sqrt(variance * spread)
    difference = rate - before
    p_value = two_sided((observed - expected) / sqrt(chance * spread)) if enough else None
    return Stratified(
        sum(one.of for one in common),
        sum(one.of_before for one in common),
        rate,
        before,
        difference,
        max(-1.0, difference - half),
        min(1.0, difference + half),
        p_value,
    )


def tail(bad: int, of: int, share: float) -> float:
    """The probability of `bad` or more among `of` if each had that share: exact, also where there are few."""
    if bad <= 0:
        return 1.0
    if share <= 0 or share >= 1:
        return float(share >= 1)
    odds = log(share / (1 - share))
    term = lgamma(of + 1) - lgamma(bad + 1) - lgamma(of - bad + 1) + bad * log(share) + (of - bad) * log1p(-share)
    total = 0.0
    for count in range(bad, of + 1):
        part = exp(term)
        total += part
        if part < total * 1e-12 and count > of * share:
            break
        if count < of:
            term += log((of - count) / (count + 1)) + odds
    return min(1.0, total)


def two_sided(z: float) -> float:
    """The probability of a normal deviate at least as far from 0."""
    return erfc(abs(z) / sqrt(2))


@dataclass(frozen=True)
class Spread:
    """One share observed in several windows: for `spread_of`."""

    bad: int
    of: int
    windows: int
    squares: float
    """Σ bad² / of over the windows."""


def spread_of(observed: Sequence[Spread]) -> float:
    """How much more counts vary from window to window than chance would have them: 1 or more.

    Pearson's statistic over its degrees of freedom; an outage that lasts an hour makes failures come in heaps, and
    then a hundred of them say less than a hundred that are independent. 1 where there are too few windows to know.
    """
    statistic = freedom = 0.0
    for one in observed:
        if one.windows > 1 and 0 < one.bad < one.of:
            share = one.bad / one.of
            statistic += (one.squares - one.bad * share) / (share * (1 - share))
            freedom += one.windows - 1
    return max(1.0, statistic / freedom) if freedom >= _FEWEST_FOR_SPREAD else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value corrected for having looked at all: below α, at most a share α of reports accuses wrongly."""
    adjusted = [1.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def sample_size(rate: float, other: float, alpha: float, power: float) -> int | None:
    """So many commands of *each* of two versions show such a difference with that power; None if there is none."""
    if rate == other:
        return None
    mean = (rate + other) / 2
    needed = _NORMAL.inv_cdf(1 - alpha / 2) * sqrt(2 * mean * (1 - mean)) + _NORMAL.inv_cdf(power) * sqrt(
        rate * (1 - rate) + other * (1 - other)
    )
    return ceil((needed / (rate - other)) ** 2)

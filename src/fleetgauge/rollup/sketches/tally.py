"""Tallies: how often each whole number occurs. The twin of the functions in the metrics database (migration 0014).

A tally is stored like a sketch: its values, ascending, then their counts in the same order. It is exact, and merges by
adding up the counts of equal values.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

from fleetgauge.rollup.sketches.sketch import flat


def tally(values: Iterable[int]) -> list[int]:
    """Tally of whole numbers."""
    return flat(Counter(values))


def counts(one: Sequence[int]) -> dict[int, int]:
    """How often each value occurs, by ascending value."""
    half = len(one) // 2
    return dict(zip(one[:half], one[half:], strict=True))


def merge(tallies: Iterable[Sequence[int]]) -> list[int]:
    """Tally of all values of all tallies."""
    total: Counter[int] = Counter()
    for one in tallies:
        total.update(counts(one))
    return flat(total)


def quantile(one: Sequence[int], q: float) -> int | None:
    """Nearest-rank quantile, 0 ≤ q ≤ 1: the value of rank max(1, ⌈q·n⌉), exact; None of an empty tally."""
    known = counts(one)
    rank = max(1, math.ceil(Fraction(str(q)) * sum(known.values())))
    for value, n in known.items():
        rank -= n
        if rank <= 0:
            return value
    return None


def billed_steps(one: Sequence[int], overhead: int, step: int) -> int:
    """Σ n · ⌈(value + overhead) / step⌉: what is billed of messages of these sizes, in whole steps each."""
    return sum(n * -(-(value + overhead) // step) for value, n in counts(one).items())

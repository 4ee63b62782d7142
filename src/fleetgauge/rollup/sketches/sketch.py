"""Quantile sketches: sparse counts of logarithmic buckets, mergeable and exact in count, within 1 % in value.

DDSketch: Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB
2019, doi:10.14778/3352063.3352135. The pipeline's own sketches are made and read in SQL (migration 0001 and
`source_sql`); this is their twin for analysts and tests, held equal by a test.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

ALPHA = 0.0099
"""Bound of the relative error; below 1 % by what the rounding of a logarithm may add."""

GAMMA = (1 + ALPHA) / (1 - ALPHA)
LN_GAMMA = math.log(GAMMA)

ORIGIN = 100_000
"""Stored bucket of k = 0: beyond any |k| of a double, so that bucket numbers rise with the values."""


def bucket(value: float) -> int:
    """Stored bucket number of a finite value."""
    if value == 0:
        return 0
    k = ORIGIN + math.ceil(math.log(abs(value)) / LN_GAMMA)
    return k if value > 0 else -k


def estimate(number: int) -> float:
    """The value that stands for a stored bucket: within `ALPHA` of everything in it."""
    if number == 0:
        return 0.0
    size = math.exp(min(max((abs(number) - ORIGIN) * LN_GAMMA, -708.0), 709.0)) * (2 / (GAMMA + 1))
    return size if number > 0 else -size


def sketch(values: Iterable[float]) -> list[int]:
    """Sketch of finite values: the numbers of its buckets, ascending, then their counts in the same order."""
    return flat(Counter(bucket(v) for v in values))


def merge(sketches: Iterable[Sequence[int]]) -> list[int]:
    """Sketch of all values of all sketches."""
    counts: Counter[int] = Counter()
    for one in sketches:
        for number, n in _pairs(one):
            counts[number] += n
    return flat(counts)


def quantile(one: Sequence[int], q: float) -> float | None:
    """Nearest-rank quantile, 0 ≤ q ≤ 1: the value of rank max(1, ⌈q·n⌉), within 1 %; None of an empty sketch."""
    n = sum(count for _, count in _pairs(one))
    rank = max(1, math.ceil(Fraction(str(q)) * n))
    for number, count in _pairs(one):
        rank -= count
        if rank <= 0:
            return estimate(number)
    return None


def flat(counts: Mapping[int, int]) -> list[int]:
    """Sketch of so many values in each stored bucket."""
    numbers = sorted(counts)
    return [*numbers, *(counts[number] for number in numbers)]


def _pairs(one: Sequence[int]) -> Iterator[tuple[int, int]]:
    half = len(one) // 2
    return zip(one[:half], one[half:], strict=True)

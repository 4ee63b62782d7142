"""Sketches of sets: small sets by a fingerprint of each value, larger ones by HyperLogLog registers; both merge.

- Up to 1,024 fingerprints a set is counted exactly but for values that share one, which at 1,024 happens to one set in
  two hundred. The idea is the sparse form of Heule, Nunkesser, Hall, "HyperLogLog in practice", EDBT 2013: registers
  alone would count two of thirteen values as one in one set of fifty.
- Above, 4,096 registers: Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog: the analysis of a near-optimal cardinality
  estimation algorithm", AofA 2007, standard error 1.6 % (1.04 / sqrt(4096)). Estimator: Ertl, "New cardinality
  estimation algorithms for HyperLogLog sketches", 2017, arXiv:1702.01284, algorithm 6: no tables, no bias at small or
  middle sizes.

Which form a set has depends on the set alone, so that sketches of parts merge to the sketch of the whole. The
pipeline's own sketches are made and read in SQL (migration 0010 and `sources/postgres_measures`); this is their twin
for Elasticsearch, analysts and tests, held equal by a test.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable

BITS = 12
"""2^12 registers."""

REGISTERS = 1 << BITS
TOP = 64 - BITS + 1
"""Greatest rank: that of a rest of zeros."""

FINER = 13
"""Bits of a hash that a fingerprint holds beside register and rank: all three fill 31."""

EXACT = 1024
"""So many fingerprints at most."""


def hashed(value: object) -> int:
    """The first 64 bits of the SHA-256 of a value's text: a hash that every database can compute."""
    return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8], "big")


def fingerprint(value: object) -> int:
    """Register number, rank (the place of the first one in the bits that the number leaves) and the last 13 bits.

    As a negative number, its complement, which tells it from the register * 64 + rank of a larger set.
    """
    number = hashed(value)
    rest = number & ((1 << 64 - BITS) - 1)
    register = (number >> (64 - BITS)) * 64 + TOP - rest.bit_length()
    return ~(register << FINER | number & ((1 << FINER) - 1))


def sketch(values: Iterable[object]) -> list[int]:
    """Sketch of values: their fingerprints, or the greatest rank of each register that has one; rising."""
    return merge([map(fingerprint, values)])


def merge(sketches: Iterable[Iterable[int]]) -> list[int]:
    """Sketch of the union."""
    together = sorted({number for one in sketches for number in one})
    if len(together) <= EXACT and (not together or together[-1] < 0):
        return together
    best: dict[int, int] = {}
    for number in together:
        register = ~number >> FINER if number < 0 else number
        best[register // 64] = max(best.get(register // 64, 0), register)
    return sorted(best.values())


def estimate(one: Iterable[int]) -> int:
    """How many different values, rounded."""
    numbers = list(one)
    if numbers and numbers[0] < 0:
        return len(numbers)
    ranks = Counter(number % 64 for number in numbers)
    empty = REGISTERS - ranks.total()
    if empty == REGISTERS:
        return 0
    z = REGISTERS * _tau(1 - ranks[TOP] / REGISTERS)
    for rank in range(TOP - 1, 0, -1):
        z = 0.5 * (z + ranks[rank])
    z += REGISTERS * _sigma(empty / REGISTERS)
    return round(REGISTERS * REGISTERS / (2 * math.log(2)) / z)


def _sigma(x: float) -> float:
    power, total, before = 1.0, x, -1.0
    while total != before:
        x *= x
        before = total
        total += x * power
        power += power
    return total


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    power, total, before = 1.0, 1 - x, -1.0
    while total != before:
        x = math.sqrt(x)
        before = total
        power *= 0.5
        total -= (1 - x) ** 2 * power
    return total / 3

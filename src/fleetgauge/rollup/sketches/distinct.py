"""Sketches of sets, as text of bits: of few values a fingerprint each, of more a bitmap of coupons; both merge.

- Up to 128 fingerprints a set is counted exactly, but for values that share one: of sets of 128, one in 25,000.
- Above, each value draws a coupon: one of 2,048 registers, and a rank that halves in likelihood with each step. The
  bitmap of Flajolet and Martin, "Probabilistic counting algorithms for data base applications", JCSS 31, 1985, keeps
  which were drawn; how many values drew them is the number of which so many coupons are expected: Lang, "Back to the
  future: an even more nearly optimal cardinality estimation algorithm", 2017, arXiv:1708.06839 (ICON). Its standard
  error is at most 0.693 / sqrt(2048) = 1.5 %. HyperLogLog keeps of each register the greatest rank alone and merges
  number by number; bitmaps merge by OR, which Postgres does by the machine word.

Which form a set has depends on the set alone, so that sketches of parts merge to the sketch of the whole. The
pipeline's own sketches are made and read in SQL (migration 0010 and `sources/postgres_measures`); this is their twin
for Elasticsearch, analysts and tests, held equal by a test.
"""

import hashlib
import math
from collections.abc import Iterable

from fleetgauge.privacy.distinct_key import DistinctKey

EXACT = 128
"""So many fingerprints at most."""
PRINT = 32
"""Bits of a fingerprint in a sketch."""
FINER = 15
"""Bits of the hash that a fingerprint has beside its coupon."""

REGISTERS = 2048
RANKS = 21
"""The last one stands for all above it: numbers up to 2^31 are told apart."""
COUPONS = REGISTERS * RANKS
"""Bits of a bitmap: more than of 128 fingerprints, which tells the forms apart."""

REST = 64 - 11
"""Bits of a hash that its register leaves."""
_MANY = 0.5772156649015329 / math.log(2) - 0.5
"""Of x values a register has log2(x) + this coupons, when x is large."""


def hashed(value: object, key: DistinctKey | None = None) -> int:
    """The first 64 bits of the HMAC-SHA-256 of a value's text, or without a key of its SHA-256.

    Hashes that every database can compute.
    """
    text = str(value).encode()
    return int.from_bytes((hashlib.sha256(text).digest() if key is None else key.digest(text))[:8], "big")


def fingerprint(value: object, key: DistinctKey | None = None) -> int:
    """31 bits: the coupon, (rank - 1) * 2048 + register, and the last 15 bits of the hash.

    The rank is the position of the first one in the bits that the register leaves.
    """
    number = hashed(value, key)
    rest = number & ((1 << REST) - 1)
    rank = min(REST + 1 - rest.bit_length(), RANKS)
    return ((rank - 1) * REGISTERS + (number >> REST)) << FINER | number & ((1 << FINER) - 1)


def of_fingerprints(prints: Iterable[int]) -> str:
    """Sketch of the values that have these fingerprints."""
    different = sorted(set(prints))
    if len(different) <= EXACT:
        return "".join(f"{one:0{PRINT}b}" for one in different)
    return _bitmap(one >> FINER for one in different)


def sketch(values: Iterable[object], key: DistinctKey | None = None) -> str:
    """Sketch of values, as Postgres shows a `bit varying`."""
    return of_fingerprints(fingerprint(value, key) for value in values)


def merge(sketches: Iterable[str]) -> str:
    """Sketch of the union."""
    parts = list(sketches)
    prints = {int(part[i : i + PRINT], 2) for part in parts if len(part) < COUPONS for i in range(0, len(part), PRINT)}
    bitmaps = [part for part in parts if len(part) == COUPONS]
    if not bitmaps:
        return of_fingerprints(prints)
    drawn = {i for part in bitmaps for i, bit in enumerate(part) if bit == "1"}
    return _bitmap(drawn | {one >> FINER for one in prints})


def short(bits: str) -> str:
    """The same sketch as a literal of a quarter the length."""
    return f"x{int(bits, 2):0{len(bits) // 4}x}" if bits else ""


def estimate(bits: str) -> int:
    """How many different values, rounded."""
    if len(bits) < COUPONS:
        return len(bits) // PRINT
    drawn = bits.count("1") / REGISTERS
    if drawn >= RANKS:
        return REGISTERS << RANKS  # all of them: so many or more
    # Newton on the logarithm: the expected number of coupons is almost straight over it.
    x = drawn * (1 + drawn / 6) if drawn < 1.5 else 2 ** (drawn - _MANY)
    for _ in range(20):
        shares = [x / 2 ** min(k, RANKS - 1) for k in range(1, RANKS + 1)]
        step = (sum(1 - math.exp(-s) for s in shares) - drawn) / sum(s * math.exp(-s) for s in shares)
        x *= math.exp(-step)
        if abs(step) < 1e-10:
            break
    return round(x * REGISTERS)


def _bitmap(coupons: Iterable[int]) -> str:
    bits = ["0"] * COUPONS
    for coupon in coupons:
        bits[coupon] = "1"
    return "".join(bits)

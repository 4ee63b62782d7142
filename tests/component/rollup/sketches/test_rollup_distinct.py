"""Laws of the sketches of sets."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.rollup.sketches import distinct


@given(st.lists(st.sets(st.integers(0, 400), max_size=200), max_size=5))
def test_sketches_of_parts_merge_to_the_sketch_of_the_whole(parts: list[set[int]]) -> None:
    whole = set[int]().union(*parts)
    merged = distinct.merge(map(distinct.sketch, parts))
    assert merged == distinct.sketch(whole)
    assert len(whole) > distinct.EXACT or distinct.estimate(merged) == len(whole)


@given(st.lists(st.text(), max_size=150))
def test_the_short_form_holds_the_same_bits(values: list[str]) -> None:
    bits = distinct.sketch(values)
    short = distinct.short(bits)
    assert "".join(f"{int(digit, 16):04b}" for digit in short[1:]) == bits


@pytest.mark.parametrize("size", [129, 500, 2_000, 10_000, 100_000])
def test_the_standard_error_of_large_sets_is_below_two_percent(size: int) -> None:
    """Drawn from a seeded generator in place of hashes, which would take most of the time."""
    draw = random.Random(size)
    rounds = max(10, 60_000 // size)
    errors = []
    for _ in range(rounds):
        drawn = ["0"] * distinct.COUPONS
        for _ in range(size):
            rest = draw.getrandbits(distinct.REST)
            rank = min(distinct.REST - rest.bit_length(), distinct.RANKS - 1)
            drawn[rank * distinct.REGISTERS + draw.getrandbits(11)] = "1"
        errors.append(distinct.estimate("".join(drawn)) / size - 1)
    assert math.sqrt(sum(e * e for e in errors) / rounds) <= 0.02


def test_the_estimate_is_the_number_whose_expected_coupons_were_drawn() -> None:
    """Against the formula, solved by bisection, over eight powers of ten."""
    for drawn in (123, 700, 2_000, 5_000, 14_000, 30_000, 42_000):
        low, high = 0.0, 2.0**33
        while high - low > 1e-7 * high:
            middle = (low + high) / 2
            shares = [middle / distinct.REGISTERS / 2 ** min(k, 20) for k in range(1, 22)]
            low, high = (
                (middle, high) if sum(1 - math.exp(-s) for s in shares) * distinct.REGISTERS < drawn else (low, middle)
            )
        bits = "1" * drawn + "0" * (distinct.COUPONS - drawn)
        assert distinct.estimate(bits) == pytest.approx(low, rel=1e-6, abs=1)

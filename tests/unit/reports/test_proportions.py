"""Intervals and tests on shares: against published values, and against chance."""

import random
from math import comb
from statistics import NormalDist

import pytest

from fleetgauge.reports.proportions import (
    Spread,
    Stratum,
    holm,
    sample_size,
    spread_of,
    stratified,
    tail,
    two_sided,
    wilson,
    z_of,
)


@pytest.mark.parametrize(
    ("bad", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(bad: int, of: int, low: float, high: float) -> None:
    assert wilson(bad, of, z_of(0.95)) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("bad", "of", "share"), [(2, 3, 0.05), (0, 9, 0.2), (9, 9, 0.2), (40, 600, 0.05), (3, 50, 0.9)]
)
def test_the_tail_is_the_exact_one(bad: int, of: int, share: float) -> None:
    exact = sum(comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(bad, of + 1))
    assert tail(bad, of, share) == pytest.approx(exact, rel=1e-9)


def test_of_nothing_everything_is_possible() -> None:
    assert wilson(0, 0, 2) == (0, 1)
    assert wilson(3, 3, 2)[1] == 1


def test_more_comparisons_make_wider_intervals() -> None:
    assert z_of(0.95) == pytest.approx(1.95996, abs=1e-4)
    assert z_of(0.95, 100) == pytest.approx(NormalDist().inv_cdf(1 - 0.00025))


def test_a_mix_of_commands_is_no_difference() -> None:
    """Simpson's paradox: alike in both strata, worse in the sum, since it got the harder commands."""
    found = stratified([Stratum(90, 900, 10, 100), Stratum(2, 100, 18, 900)])
    assert found is not None
    assert found.difference == pytest.approx(0)
    assert found.p_value is not None and found.p_value > 0.9


def test_cochran_mantel_and_haenszel_is_the_textbooks() -> None:
    """R's `mantelhaen.test(UCBAdmissions, correct = FALSE)`: X² = 1.5246, p = 0.2169."""
    departments = [
        (512, 825, 89, 108),
        (353, 560, 17, 25),
        (120, 325, 202, 593),
        (138, 417, 131, 375),
        (53, 191, 94, 393),
        (22, 373, 24, 341),
    ]
    found = stratified([Stratum(*one) for one in departments])
    assert found is not None and found.p_value == pytest.approx(0.2169, abs=2e-4)


def test_too_few_failures_are_no_test() -> None:
    found = stratified([Stratum(3, 3, 0, 40)])
    assert found is not None and found.p_value is None
    assert stratified([Stratum(3, 3, 0, 0)]) is None


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_number_of_commands_is_the_published_one() -> None:
    """Fleiss, table A.3 without continuity correction: 0.1 against 0.2 takes 199 of each at 80 %."""
    assert sample_size(0.1, 0.2, 0.05, 0.8) == 199
    assert sample_size(0.1, 0.1, 0.05, 0.8) is None


def test_the_number_of_commands_has_the_power_that_it_promises() -> None:
    rng, needed = random.Random(5), sample_size(0.05, 0.10, 0.05, 0.8)
    assert needed is not None
    seen = 0
    for _ in range(400):
        bad, before = (sum(rng.random() < rate for _ in range(needed)) for rate in (0.10, 0.05))
        found = stratified([Stratum(bad, needed, before, needed)])
        seen += found is not None and found.p_value is not None and found.p_value <= 0.05
    assert 0.74 <= seen / 400 <= 0.87


def test_failures_that_come_in_heaps_count_for_less() -> None:
    even = [Spread(50, 1000, 50, sum([1 / 20] * 50))]
    assert spread_of(even) == 1.0
    heaps = [Spread(50, 1000, 50, 20**2 / 20 * 2 + 10**2 / 20)]  # all in three of fifty windows
    assert spread_of(heaps) > 10
    strata = [Stratum(80, 1000, 50, 1000)]
    plain, allowed = stratified(strata), stratified(strata, 10)
    assert plain is not None and allowed is not None
    assert plain.p_value is not None and allowed.p_value is not None
    assert plain.p_value < 0.05 < allowed.p_value
    assert allowed.high - allowed.low > 3 * (plain.high - plain.low)


def test_a_normal_deviate_of_196_is_five_percent() -> None:
    assert two_sided(-1.95996) == pytest.approx(0.05, abs=1e-5)

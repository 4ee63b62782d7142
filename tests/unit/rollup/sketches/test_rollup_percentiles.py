"""Laws of the sketches of percentiles."""

import math

from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.rollup.sketches import sketch

NORMAL = st.floats(min_value=1e-300, max_value=1e300)
VALUES = st.one_of(NORMAL, NORMAL.map(lambda x: -x), st.just(0.0), st.integers(-1000, 1000).map(float))


@given(st.lists(VALUES, min_size=1, max_size=200), st.integers(0, 1000))
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(values: list[float], thousandths: int) -> None:
    rank = max(1, -(-thousandths * len(values) // 1000))
    exact = sorted(values)[rank - 1]
    found = sketch.quantile(sketch.sketch(values), thousandths / 1000)
    assert found is not None
    assert abs(found - exact) <= 0.01 * abs(exact)


@given(st.lists(st.lists(VALUES, max_size=30), max_size=6))
def test_merging_equals_sketching_all(parts: list[list[float]]) -> None:
    merged = sketch.merge(sketch.sketch(p) for p in parts)
    assert merged == sketch.sketch([v for p in parts for v in p])
    half = len(merged) // 2
    assert merged[:half] == sorted(set(merged[:half]))


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_buckets_rise_with_values(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert sketch.bucket(low) <= sketch.bucket(high)
    assert math.isfinite(sketch.estimate(sketch.bucket(a)))


def test_an_empty_sketch_has_no_quantile() -> None:
    assert sketch.quantile(sketch.sketch([]), 0.5) is None

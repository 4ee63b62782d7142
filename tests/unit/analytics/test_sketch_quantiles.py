"""Many sketches at once give what each gives by itself."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.analytics.sketch_quantiles import Sketches
from fleetgauge.rollup.sketches import sketch, tally


def sent(numbers: list[int]) -> bytes:
    """A bigint[] as Postgres sends it."""
    if not numbers:
        return struct.pack(">iiI", 0, 0, 20)
    return struct.pack(">iiIii", 1, 0, 20, len(numbers), 1) + b"".join(struct.pack(">iq", 8, n) for n in numbers)


whole = st.integers(-(2**40), 2**40)


@given(
    st.lists(st.none() | st.lists(whole, max_size=30), max_size=12),
    st.sampled_from([0, 0.5, 0.95, 0.99, 0.999, 1, 1 / 3]),
)
def test_quantiles_are_those_of_the_twins(given_values: list[list[int] | None], q: float) -> None:
    sketches = [None if one is None else sketch.sketch(one) for one in given_values]
    found = Sketches.of([None if one is None else sent(one) for one in sketches])
    assert found.values(q) == [None if one is None else sketch.quantile(one, q) for one in sketches]
    tallies = [None if one is None else tally.tally(one) for one in given_values]
    counted = Sketches.of([None if one is None else sent(one) for one in tallies])
    assert counted.positions(q) == [None if one is None else tally.quantile(one, q) for one in tallies]


@pytest.mark.parametrize("arrays", [[], [None], [sent([])]])
def test_nothing_has_no_quantile(arrays: list[bytes | None]) -> None:
    assert Sketches.of(arrays).values(0.5) == [None] * len(arrays)

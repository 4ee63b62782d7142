"""How long changes waited until they could be read, from watermarks alone."""

import math
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.rollup.execute.delay import BOUNDS, Delay, delay_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_minute_schedule_waits_from_its_own_time_to_a_minute_more() -> None:
    known, watermark, readable = NOON, NOON + timedelta(seconds=60), NOON + timedelta(seconds=63)
    assert delay_of(known, watermark, readable) == Delay(3, 63)


def test_nothing_new_is_no_delay() -> None:
    second = timedelta(seconds=1)
    assert delay_of(None, NOON, NOON) is None, "before a first run everything is history"
    assert delay_of(NOON, NOON, NOON + second) is None
    assert delay_of(NOON, NOON - second, NOON + second) is None, "a clock was set back"
    assert delay_of(NOON - second, NOON, NOON - second) == Delay(0, 1), "the source's clock is ahead"


@given(st.floats(0, 5000), st.floats(0.001, 5000))
def test_each_second_of_the_source_is_in_the_buckets_that_it_would_fall_into(least: float, length: float) -> None:
    delay = Delay(least, least + length)
    buckets = delay.buckets()
    assert math.isclose(sum(buckets.values()), delay.seconds, rel_tol=1e-9, abs_tol=1e-9)
    assert set(buckets) <= set(BOUNDS)
    steps = 200
    samples = [least + length * (i + 0.5) / steps for i in range(steps)]
    for bound, below in zip(BOUNDS, (0.0, *BOUNDS), strict=False):
        counted = sum(below < one <= bound for one in samples) * length / steps
        assert abs(counted - buckets.get(bound, 0.0)) <= 2 * length / steps
    assert math.isclose(delay.sum_s, sum(samples) * length / steps, rel_tol=1e-6)

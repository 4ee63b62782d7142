"""Spans against plain sets of minutes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.rollup.spans import MINUTE, Span, clip, inside, join, subtract

BASE = datetime(2026, 11, 21, tzinfo=UTC)
SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda t: (BASE + t[0] * MINUTE, BASE + sum(t) * MINUTE)),
    max_size=5,
)


def minutes(spans: list[Span]) -> set[datetime]:
    return {BASE + i * MINUTE for i in range(60) if inside(BASE + i * MINUTE, spans)}


@given(SPANS, SPANS)
def test_subtract(spans: list[Span], others: list[Span]) -> None:
    left = subtract(spans, others)
    assert minutes(left) == minutes(spans) - minutes(others)
    assert all(begin < end for begin, end in left)


@given(st.sets(st.integers(0, 59)))
def test_join(windows: set[int]) -> None:
    found = {BASE + i * MINUTE for i in windows}
    spans = join(sorted(found))
    assert minutes(spans) == found
    assert all(a[1] < b[0] for a, b in pairwise(spans))


def test_clip_takes_whole_minutes_before_the_watermark() -> None:
    odd = timedelta(seconds=7)
    watermark = BASE + 3 * MINUTE
    assert clip((BASE + odd, BASE + 9 * MINUTE), watermark) == [(BASE, watermark)]
    assert clip((BASE, BASE + odd), watermark) == [(BASE, BASE + MINUTE)]
    assert clip((BASE, BASE + MINUTE), watermark) == [(BASE, BASE + MINUTE)]
    assert clip((watermark, watermark + MINUTE), watermark) == []

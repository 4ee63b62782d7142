"""Changes that appear behind the cursor are seen by how many there are, and that rows leave is no news."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Count
from fleetgauge.rollup.sources.late_changes import EPOCH, LATE, REACH, STRETCH_US, TOLD, LateChanges, late_changes
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import Cursor

ONE = Definition(
    metric="m",
    source="s",
    event_time="at",
    measures={"n": Count(agg="count")},
    source_sql="SELECT 1",
    change_time="changed_at",
)
NOW = datetime(2026, 11, 29, 12, 0, 3, tzinfo=UTC)
US = timedelta(microseconds=1)


def look(
    changes: Sequence[datetime],
    now: datetime = NOW,
    before: LateChanges | None = None,
    cursor: datetime = NOW - timedelta(seconds=5),
) -> LateChanges:
    """One look at a table whose rows changed then; `cursor`: of the look before."""

    def ask(spans: Sequence[Span], upto: datetime) -> list[tuple[int, bool, int, int]]:
        found: dict[tuple[int, bool], list[int]] = defaultdict(lambda: [0, 0])
        for at in changes:
            if any(begin <= at < end for begin, end in spans):
                stretch, rest = divmod((at - EPOCH) // US, STRETCH_US)
                found[stretch, at < upto][0] += 1
                found[stretch, at < upto][1] += rest
        return [(stretch, early, n, check) for (stretch, early), (n, check) in found.items()]

    since = None if before is None else Cursor(cursor, before.token)
    return late_changes(ONE, since, SourceWatermark(now, now), ask)


AGO = st.integers(25_000_000, 590_000_000).map(lambda us: NOW - us * US)
"""Well behind the cursor, and within reach."""


@given(before=st.lists(AGO, max_size=20), late=st.lists(AGO, min_size=1, max_size=5), later=st.integers(0, 300))
def test_what_comes_late_is_seen(before: list[datetime], late: list[datetime], later: int) -> None:
    first = look(before)
    assert first.since is None
    found = look([*before, *late], NOW + timedelta(seconds=later), first)
    assert found.since is not None
    assert found.since <= min(late) < found.since + timedelta(microseconds=STRETCH_US)
    assert found.token[LATE]["changes"] == len(late)
    again = look([*before, *late], NOW + timedelta(seconds=later + 5), found)
    assert (again.since, again.token[LATE]) == (None, found.token[LATE])


@given(before=st.lists(AGO, max_size=20), leave=st.integers(0, 20), later=st.integers(0, 3600))
def test_rows_that_leave_are_no_news(before: list[datetime], leave: int, later: int) -> None:
    now = NOW + timedelta(seconds=later)
    found = look([*before[leave:], *([now] * leave)], now, look(before))
    assert found.since is None
    assert LATE not in found.token


def test_what_the_cursor_reads_anyway_is_no_news_and_its_own_seconds_are_read_again() -> None:
    """A clock that lags by less than the cursor does is not worth a word."""
    cursor, before = NOW - timedelta(seconds=25), look([])
    assert look([NOW - timedelta(seconds=12)], before=before, cursor=cursor).since is None
    found = look([cursor - US], before=before, cursor=cursor)
    assert found.since is not None and found.since < cursor
    assert LATE not in found.token


def test_the_seconds_at_hand_are_compared_as_far_as_they_were_counted() -> None:
    """The watermark lay in the midst of ten seconds, and the cursor behind their beginning."""
    then, cursor = NOW + timedelta(seconds=6), NOW + timedelta(seconds=1)
    before = look([], then)
    for at in (then, then + timedelta(seconds=1)):
        assert look([at], NOW + timedelta(minutes=1), before, cursor).since is None
    found = look([NOW], NOW + timedelta(minutes=1), before, cursor)
    assert (found.since, LATE in found.token) == (NOW.replace(second=0), False)


def test_another_row_in_the_same_seconds_is_seen() -> None:
    at = NOW - timedelta(minutes=2)
    assert look([at + 5 * US], before=look([at])).since is not None


def test_a_watermark_that_goes_back_or_far_on_compares_what_was_counted() -> None:
    at = NOW - timedelta(minutes=4)
    first = look([at])
    for now in (NOW - timedelta(minutes=1), NOW + timedelta(days=3)):
        assert look([at], now, first).since is None
        assert look([at, at], now, first).since is not None


def test_it_is_told_for_a_day() -> None:
    at = NOW - timedelta(minutes=4)
    late = look([at], before=look([]))
    assert LATE in look([at], NOW + TOLD - timedelta(seconds=1), late).token
    assert LATE not in look([at], NOW + TOLD, late).token


def test_another_version_counts_other_rows() -> None:
    counted: Any = look([]).token
    (version, *rest) = counted["changes"]
    assert version == ONE.version
    assert look([NOW - REACH / 2], before=LateChanges(token={"changes": ["older", *rest]})).since is None


def test_without_a_change_time_or_a_watermark_nothing_is_asked() -> None:
    def never(_: Sequence[Span], __: datetime) -> list[Any]:
        raise AssertionError

    assert late_changes(replace(ONE, change_time=None), None, SourceWatermark(NOW, NOW), never) == LateChanges()
    assert late_changes(ONE, None, None, never) == LateChanges()

"""What is taken for lost facts, and what for corrected ones."""

from datetime import UTC, datetime, timedelta

import pytest

from fleetgauge.rollup.plan.emptied import Before, Weighed, emptied

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def hours(*facts: tuple[int, int]) -> list[Weighed]:
    begins = [DAY + n * timedelta(hours=1) for n in range(len(facts))]
    return [Weighed(at, at + timedelta(hours=1), *one) for at, one in zip(begins, facts, strict=True)]


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        ([], []),
        ([(1, 0)], []),  # one rider is erased
        ([(9, 0)], []),
        ([(10, 0)], [0]),
        ([(10, 5)], []),
        ([(10, 4)], [0]),
        ([(0, 10)], []),
        ([(100, 100), (12, 3)], [1]),  # an hour alone
        ([(3, 0), (3, 0), (3, 0), (3, 0)], [0, 1, 2, 3]),  # few in each hour, many in the day
        ([(3, 0), (3, 3), (3, 0), (3, 0)], [0, 2, 3]),  # which has lost nothing may be computed
        ([(3, 0), (3, 3), (3, 3), (3, 3)], []),
    ],
)
def test_many_facts_gone_at_once_are_lost(facts: list[tuple[int, int]], kept: list[int]) -> None:
    found = hours(*facts)
    assert emptied(found, "UTC") == [found[n] for n in kept]


def test_days_are_those_of_the_zone() -> None:
    found = hours(*[(9, 4)] * 2)
    late = [Weighed(one.window_start - timedelta(hours=1), one.window_start, 9, 4) for one in found]
    full = {DAY: Before(22, 0), DAY - timedelta(days=1): Before(9, 0)}
    assert emptied(late, "UTC", days_before=full) == []  # nine of one day, and not most of the other
    assert emptied(late, "Asia/Seoul") == late


@pytest.mark.parametrize(
    ("facts", "hour", "day", "kept"),
    [
        ((4, 0), 0, Before(20, 0), False),  # the rest of its day is there
        ((4, 0), 0, Before(4, 16), True),  # which was lost before
        ((4, 0), 0, Before(4, -16), False),  # or came late
        ((6, 4), 5, Before(100, 0), True),  # most of what the hour once had
        ((6, 4), 2, Before(100, 0), False),
        ((4, 4), 90, Before(4, 90), False),  # loses nothing now
    ],
)
def test_what_goes_little_by_little_is_judged_by_what_there_was(
    facts: tuple[int, int], hour: int, day: Before, kept: bool
) -> None:
    found = hours(facts)
    assert emptied(found, "UTC", {DAY: Before(0, hour)}, {DAY: day}) == found * kept


def test_small_days_are_judged_together() -> None:
    days = [Weighed(DAY + n * timedelta(days=1), DAY + n * timedelta(days=1, hours=1), 3, 0) for n in range(4)]
    assert emptied(days[:3], "UTC") == []
    assert emptied(days, "UTC") == days
    before = {DAY - timedelta(days=1): Before(0, 7), DAY: Before(3, 0)}
    assert emptied(days[:1], "UTC", days_before=before) == days[:1]
    before = {DAY - timedelta(days=1): Before(0, 6), DAY: Before(3, 0)}
    assert emptied(days[:1], "UTC", days_before=before) == []

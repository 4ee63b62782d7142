"""What is taken for lost facts, and what for corrected ones."""

from datetime import UTC, datetime, timedelta

import pytest

from fleetgauge.rollup.plan.emptied import Weighed, emptied

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
    found = hours(*[(5, 0)] * 2)
    late = [Weighed(one.window_start - timedelta(hours=1), one.window_start, 5, 0) for one in found]
    assert emptied(late, "UTC") == []  # five of each day
    assert emptied(late, "Asia/Seoul") == late

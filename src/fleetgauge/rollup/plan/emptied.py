"""Whether a source has lost the facts of a final window, rather than corrected some: pure.

Rows go one by one when they are corrected, and all at once when a table is emptied, an old partition is detached or a
copy is restored in part. What was computed of such hours is right; computed anew, it would be nothing. What goes little
by little is judged by what there once was.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetgauge.rollup.windows import window_start

MANY = 10
"""Of fewer facts, in an hour, its day, or all small days that lose most of theirs, any number may be deleted."""


@dataclass(frozen=True)
class Weighed:
    """A final hour (of a metric without hours: a day), its facts as they were counted, and as the source has them."""

    window_start: datetime
    window_end: datetime
    counted: int
    found: int


@dataclass(frozen=True)
class Before:
    """What is known of a window beside what is weighed now."""

    counted: int
    """Its facts by the tables."""
    lost: int
    """By how much it was restated downwards already, on balance; not counting losses that somebody has accepted."""


def emptied(
    hours: Iterable[Weighed],
    zone: str,
    hours_before: Mapping[datetime, Before] | None = None,
    days_before: Mapping[datetime, Before] | None = None,
) -> list[Weighed]:
    """Those that have lost facts, where more than half of `MANY` or more are gone: of the hour, or of its day.

    Or of all days together that had fewer and have lost most of them; `days_before` has those of other times too.
    """
    found = list(hours)
    known = days_before or {}
    counted, there = Counter[datetime](), Counter[datetime]()
    for one in found:
        day = window_start(one.window_start, "day", zone)
        counted[day] += one.counted
        there[day] += one.found
    gone, small = set[datetime](), dict[datetime, int]()
    for day in {*counted, *known}:
        before = known.get(day, Before(0, 0))
        now = max(counted[day], before.counted)
        once, left = now + max(before.lost, 0), now - counted[day] + there[day]
        if _gone(once, left) or _gone(counted[day], there[day]):
            gone.add(day)
        elif left * 2 < once < MANY:
            small[day] = once - left
    if sum(small.values()) >= MANY:
        gone |= set(small)
    earlier = {at: max(before.lost, 0) for at, before in (hours_before or {}).items()}
    return [
        one
        for one in found
        if one.found < one.counted
        and (
            _gone(one.counted + earlier.get(one.window_start, 0), one.found)
            or window_start(one.window_start, "day", zone) in gone
        )
    ]


def _gone(counted: int, found: int) -> bool:
    return counted >= MANY and found * 2 < counted

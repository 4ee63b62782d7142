"""Whether a source has lost the facts of a final window, rather than corrected some: pure.

Rows go one by one when they are corrected, and all at once when a table is emptied, an old partition is detached or a
copy is restored in part. What was computed of such hours is right; computed anew, it would be nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fleetgauge.rollup.windows import window_start

MANY = 10
"""Of fewer facts, in an hour and in its day, any number may be deleted at once."""


@dataclass(frozen=True)
class Weighed:
    """A final hour (of a metric without hours: a day), its facts as they were counted, and as the source has them."""

    window_start: datetime
    window_end: datetime
    counted: int
    found: int


def emptied(hours: Iterable[Weighed], zone: str) -> list[Weighed]:
    """Those that have lost facts, where more than half of `MANY` or more are gone: of the hour, or of its day."""
    found = list(hours)
    counted, there = Counter[datetime](), Counter[datetime]()
    for one in found:
        day = window_start(one.window_start, "day", zone)
        counted[day] += one.counted
        there[day] += one.found
    gone = {day for day in counted if _gone(counted[day], there[day])}
    return [
        one
        for one in found
        if one.found < one.counted
        and (_gone(one.counted, one.found) or window_start(one.window_start, "day", zone) in gone)
    ]


def _gone(counted: int, found: int) -> bool:
    return counted >= MANY and found * 2 < counted

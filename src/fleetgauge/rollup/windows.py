"""Windows of minutes, hours and days in a time zone: the twin of the functions `fleetgauge.window_start` and the like.

An hour is the interval between consecutive local full hours or offset changes, so that a local day is a union of hours
in every zone. A local midnight that happens twice counts from the first, one that is skipped from the first instant
after it. Instants are UTC. A test compares all of it with the functions in the metrics database.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from fleetgauge.rollup.definitions.levels import GRAINS, PARTITIONS, Grain
from fleetgauge.rollup.spans import HOUR, MINUTE, TICK, Span, floor, union

BEGINNING = datetime.min.replace(tzinfo=UTC)
"""Stands for a span without a beginning."""
FOREVER = datetime.max.replace(tzinfo=UTC)
"""Stands for a span without an end."""

_SECOND = timedelta(seconds=1)


def window_start(at: datetime, grain: Grain, zone: str) -> datetime:
    """Where the window that holds `at` begins; the ends of time stay what they are."""
    if at in (BEGINNING, FOREVER):
        return at
    if grain == "minute":
        return floor(at)
    tz = ZoneInfo(zone)
    return _hour_start(at.astimezone(UTC), tz) if grain == "hour" else _date_start(at.astimezone(tz).date(), tz)


def window_end(at: datetime, grain: Grain, zone: str) -> datetime:
    """Where the window that holds `at` ends, which is where the next one begins."""
    if at in (BEGINNING, FOREVER):
        return at
    if grain == "minute":
        return floor(at) + MINUTE
    tz = ZoneInfo(zone)
    if grain == "hour":
        return _hour_end(at.astimezone(UTC), tz)
    return _date_start(at.astimezone(tz).date() + timedelta(days=1), tz)


def widen(span: Span, grain: Grain, zone: str) -> Span:
    """`span` (not empty) grown to whole windows of the grain."""
    return window_start(span[0], grain, zone), window_end(span[1] - TICK, grain, zone)


def widened(span: Span, zone: str) -> dict[Grain, Span]:
    """`span` (not empty) grown to whole windows of each grain."""
    return {grain: widen(span, grain, zone) for grain in GRAINS}


def whole_windows(spans: Iterable[Span], grain: Grain, zone: str) -> list[Span]:
    """The part of the spans that consists of complete windows; open ends stay open."""
    found = []
    for begin, end in spans:
        start = window_start(begin, grain, zone)
        first = begin if start == begin else window_end(begin, grain, zone)
        last = window_start(end, grain, zone)
        if first < last:
            found.append((first, last))
    return union(found)


def windows(span: Span, grain: Grain, zone: str) -> list[Span]:
    """The windows of the grain that `span` (not empty) touches, in order."""
    found, at = [], window_start(span[0], grain, zone)
    while at < span[1]:
        end = window_end(at, grain, zone)
        found.append((at, end))
        at = end
    return found


def days(span: Span, zone: str) -> list[Span]:
    """`span` (not empty) cut at local midnights."""
    found, at = [], span[0]
    while at < span[1]:
        end = min(span[1], window_end(at, "day", zone))
        found.append((at, end))
        at = end
    return found


def partition_start(at: datetime, grain: Grain, zone: str) -> datetime:
    """Where the partition of the grain's tables that holds `at` begins."""
    tz = ZoneInfo(zone)
    local = at.astimezone(tz).date().replace(day=1)
    return _date_start(local if PARTITIONS[grain] == "month" else local.replace(month=1), tz)


def count(spans: Iterable[Span], grain: Grain, zone: str) -> int:
    """How many windows the spans touch; of hours those that are as long as most are."""
    touched = union(widen(span, grain, zone) for span in spans if span[0] < span[1])
    if grain == "day":
        tz = ZoneInfo(zone)
        return sum(
            ((end - TICK).astimezone(tz).date() - begin.astimezone(tz).date()).days + 1 for begin, end in touched
        )
    length = MINUTE if grain == "minute" else HOUR
    return sum(-((begin - end) // length) for begin, end in touched)


def _hour_start(at: datetime, tz: ZoneInfo) -> datetime:
    full = at - _past_the_hour(at, tz)
    return full if _offset(full, tz) == _offset(at, tz) else _offset_change(full, at, tz)


def _hour_end(at: datetime, tz: ZoneInfo) -> datetime:
    following = at - _past_the_hour(at, tz) + HOUR
    last = following - _SECOND
    return following if _offset(last, tz) == _offset(at, tz) else _offset_change(at, last, tz)


def _past_the_hour(at: datetime, tz: ZoneInfo) -> timedelta:
    local = at.astimezone(tz)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _date_start(local: date, tz: ZoneInfo) -> datetime:
    return datetime(local.year, local.month, local.day, tzinfo=tz).astimezone(UTC)


def _offset(at: datetime, tz: ZoneInfo) -> timedelta | None:
    return at.astimezone(tz).utcoffset()


def _offset_change(after: datetime, upto: datetime, tz: ZoneInfo) -> datetime:
    """The second at which the offset that holds at `upto` came in; it holds not yet at `after`."""
    low, high = after.replace(microsecond=0), upto.replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        low, high = (low, middle) if _offset(middle, tz) == _offset(high, tz) else (middle, high)
    return high

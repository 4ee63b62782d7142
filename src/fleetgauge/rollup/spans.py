"""Stretches of time, [begin, end), and sets of them as lists."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

Span = tuple[datetime, datetime]
"""[begin, end)"""

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
"""Between two instants that follow each other: Postgres knows no finer ones."""


def floor(instant: datetime) -> datetime:
    """The minute that an instant lies in, UTC."""
    return instant.astimezone(UTC).replace(second=0, microsecond=0)


def clip(span: Span, limit: datetime) -> list[Span]:
    """The whole minutes that `span` touches before `limit`."""
    begin = floor(span[0])
    end = min(floor(span[1] + MINUTE - timedelta(microseconds=1)), limit)
    return [(begin, end)] if begin < end else []


def inside(instant: datetime, spans: Sequence[Span]) -> bool:
    """Whether one of the spans holds the instant."""
    return any(begin <= instant < end for begin, end in spans)


def covers(spans: Sequence[Span]) -> Callable[[datetime], bool]:
    """The same question for many instants: whether one of the spans holds it."""
    merged = union(spans)
    begins = [begin for begin, _ in merged]

    def holds(instant: datetime) -> bool:
        index = bisect_right(begins, instant) - 1
        return index >= 0 and instant < merged[index][1]

    return holds


def subtract(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What of `spans` lies in none of `others`, as sorted spans that neither overlap nor touch."""
    holes = union(others)
    found: list[Span] = []
    index = 0
    for begin, end in union(spans):
        at = begin
        while index < len(holes) and holes[index][1] <= at:
            index += 1
        following = index
        while following < len(holes) and holes[following][0] < end:
            if at < holes[following][0]:
                found.append((at, holes[following][0]))
            at = holes[following][1]
            following += 1
        if at < end:
            found.append((at, end))
    return found


def intersect(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """The time that lies in both."""
    one = union(spans)
    return subtract(one, subtract(one, others))


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time as sorted spans that neither overlap nor touch."""
    found: list[Span] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def join(windows: Sequence[datetime]) -> list[Span]:
    """Sorted minute windows as spans."""
    spans: list[Span] = []
    for window in windows:
        if spans and spans[-1][1] == window:
            spans[-1] = (spans[-1][0], window + MINUTE)
        else:
            spans.append((window, window + MINUTE))
    return spans

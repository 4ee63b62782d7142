"""Stretches of time, [begin, end), and sets of them as lists."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

Span = tuple[datetime, datetime]
"""[begin, end)"""

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def floor(instant: datetime) -> datetime:
    """The minute that an instant lies in, UTC."""
    return instant.astimezone(UTC).replace(second=0, microsecond=0)


def clip(span: Span, frontier: datetime) -> list[Span]:
    """The whole minutes that `span` touches before the frontier."""
    begin = floor(span[0])
    end = min(floor(span[1] + MINUTE - timedelta(microseconds=1)), frontier)
    return [(begin, end)] if begin < end else []


def inside(instant: datetime, spans: Sequence[Span]) -> bool:
    """Whether one of the spans holds the instant."""
    return any(begin <= instant < end for begin, end in spans)


def subtract(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """What of `spans` lies in none of `others`."""
    left = list(spans)
    for begin, end in others:
        left = [part for a, b in left for part in ((a, min(b, begin)), (max(a, end), b)) if part[0] < part[1]]
    return left


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time as sorted spans that neither overlap nor touch."""
    found: list[Span] = []
    for begin, end in sorted(spans):
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

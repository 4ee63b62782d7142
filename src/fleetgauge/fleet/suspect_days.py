"""Which days are judged, and why. Pure: known days and a look at the sources go in, work comes out."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

WINDOW_DAYS = 14
"""So many days of points make a score; older ones are forgotten. The view in the metrics database has the same."""


@dataclass(frozen=True)
class DayState:
    """What a day's result was, or would be, made from: when it differs, the day is judged anew."""

    documents: int
    trips: int
    trips_changed_at: datetime | None
    method: str


@dataclass(frozen=True)
class Work:
    """One day to be judged."""

    date: date
    why: str


@dataclass(frozen=True)
class Deferred:
    """One day that cannot be judged yet, since silence would be taken for a stop."""

    date: date
    why: str


def bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The day's instants in UTC, end exclusive."""
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (day, day + timedelta(days=1)))
    return begin.astimezone(UTC), end.astimezone(UTC)


def reachable(now: datetime, zone: ZoneInfo) -> list[date]:
    """The days that a run looks at: those that make the score of the last full one. Ascending."""
    today = now.astimezone(zone).date()
    return [today - timedelta(days=back) for back in range(WINDOW_DAYS, 0, -1)]


def plan(
    days: Collection[date],
    zone: ZoneInfo,
    known: Mapping[date, DayState],
    now: Mapping[date, DayState],
    finished: Mapping[str, datetime],
    *,
    asked: bool = False,
) -> list[Work | Deferred]:
    """What to do with each of these days, ascending.

    `finished`: up to when each source is complete. `asked`: somebody named the days, so they are judged in any case.
    """
    return list(_each(sorted(days), zone, known, now, finished, asked=asked))


def _each(
    days: list[date],
    zone: ZoneInfo,
    known: Mapping[date, DayState],
    now: Mapping[date, DayState],
    finished: Mapping[str, datetime],
    *,
    asked: bool,
) -> Iterator[Work | Deferred]:
    for day in days:
        _, end = bounds(day, zone)
        behind = [f"{source} are complete up to {at:%Y-%m-%d %H:%M}Z" for source, at in finished.items() if at < end]
        if behind:
            yield Deferred(day, f"the day ends at {end:%Y-%m-%d %H:%M}Z, and {', '.join(behind)}")
        elif day not in known:
            # Without a single trip there is nothing to say; a source that keeps less than two weeks looks like that.
            if asked or now[day].trips:
                yield Work(day, "not judged yet")
        elif why := _changed(known[day], now[day]):
            # What was found while the documents were there stays once they have expired.
            if asked or now[day].documents >= known[day].documents:
                yield Work(day, why)
        elif asked:
            yield Work(day, "asked for")


def _changed(before: DayState, after: DayState) -> str:
    if before.documents != after.documents:
        return f"documents: {before.documents} then, {after.documents} now"
    if (before.trips, before.trips_changed_at) != (after.trips, after.trips_changed_at):
        return "trips have changed since"
    return "the method has changed" if before.method != after.method else ""

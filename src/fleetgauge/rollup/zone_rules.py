"""Whether this worker and a server know the same rules of a time zone.

Worker and metrics database cut time into hours and days, each by its own copy of the zone database, and governments
change zones. Where the copies differ, a day of the one is no day of the other: rows would be written twice, or not at
all. A source whose source.sql names a zone makes instants by a copy of its own.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, array_text

PAST = timedelta(days=3 * 365)
"""How far back rules are compared."""
AHEAD = timedelta(days=2)
"""How far ahead: windows that are computed soon."""
_STEP = timedelta(days=1)
_FINE = timedelta(hours=1)

_DIFFERS = f"""
SELECT to_timestamp(min(second)) FROM unnest(%s::bigint[], %s::bigint[], %s::integer[]) AS _(first, last, here)
CROSS JOIN LATERAL generate_series(first, last, {round(_STEP.total_seconds())}) AS known(second)
WHERE date_part('epoch', to_timestamp(second) AT TIME ZONE %s) <> second + here
"""  # noqa: S608


def differing(connection: Connection[Any], zone: str, today: datetime, ahead: timedelta = AHEAD) -> datetime | None:
    """From when on, to the hour, the server has another offset of the zone; None while they agree."""
    known = offsets(zone, today.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0), ahead)
    row = connection.execute(_DIFFERS, [*known, zone]).fetchone()
    return None if row is None or row[0] is None else row[0].astimezone(UTC)


def refuse_differing(connection: Connection[Any], metric: str, zone: str, today: datetime) -> None:
    """Raise `Terminal` where a metric's windows would be cut in two ways."""
    since = differing(connection, zone, today)
    if since is not None:
        raise Terminal(f"metric {metric}: {said(zone, since)}; {REMEDY}")


def said(zone: str, since: datetime, server: str = "the metrics database") -> str:
    """What is so."""
    return f"this worker and {server} have different rules of time zone {zone} from {since:%Y-%m-%d} on"


REMEDY = (
    "bring both to the newest zone database: the system's tzdata here (or the package tzdata with PYTHONTZPATH empty), "
    "Postgres by its latest minor release; then backfill from that day on"
)


@lru_cache(maxsize=64)
def offsets(zone: str, today: datetime, ahead: timedelta) -> tuple[str, str, str]:
    """Stretches in which this worker knows one offset of the zone: first instant, last instant, offset in seconds.

    Instants in seconds since the epoch, a whole number of steps apart. Arrays as Postgres reads them, written once a
    day and not for each of thousands of runs.
    """
    tz = ZoneInfo(zone)
    found = [
        (part[0][0], part[-1][0], offset)
        for offset, stretch in groupby(_samples(tz, today - PAST, today + ahead), itemgetter(1))
        if (part := list(stretch))
    ]
    found += [(at, at, offset) for at, offset in _changes(tz, today - PAST, today + ahead)]
    first, last, here = zip(*found, strict=True)
    return array_text(first), array_text(last), array_text(here)


def _samples(tz: ZoneInfo, begin: datetime, end: datetime) -> Iterator[tuple[int, int]]:
    """Each day, in seconds since the epoch, and the zone's offset."""
    for n in range((end - begin) // _STEP + 1):
        at = begin + n * _STEP
        yield round(at.timestamp()), _offset(tz, at)


def _changes(tz: ZoneInfo, begin: datetime, end: datetime) -> Iterator[tuple[int, int]]:
    """The same of each hour within the days in which the offset changes."""
    for (one, before), (_, after) in pairwise(_samples(tz, begin, end)):
        if before != after:
            for n in range(1, _STEP // _FINE):
                at = datetime.fromtimestamp(one, UTC) + n * _FINE
                yield round(at.timestamp()), _offset(tz, at)


def _offset(tz: ZoneInfo, at: datetime) -> int:
    offset = at.astimezone(tz).utcoffset() or timedelta()
    return round(offset.total_seconds())

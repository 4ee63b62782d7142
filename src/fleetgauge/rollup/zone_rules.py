"""Whether this worker and a server know the same rules of a time zone.

Worker and metrics database cut time into hours and days, each by its own copy of the zone database, and governments
change zones. Where the copies differ, a day of the one is no day of the other: rows would be written twice, or not at
all. A source whose source.sql names a zone makes instants by a copy of its own.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection

PAST = timedelta(days=3 * 365)
"""How far back rules are compared."""
AHEAD = timedelta(days=2)
"""How far ahead: windows that are computed soon."""
_STEP = timedelta(hours=12)
_FINE = timedelta(hours=1)

_DIFFERS = """
SELECT min(at)
FROM (SELECT to_timestamp(second), here FROM unnest(%s::bigint[], %s::integer[]) AS _(second, here)) AS known(at, here)
WHERE extract(epoch FROM (at AT TIME ZONE %s) - (at AT TIME ZONE 'UTC')) <> here
"""


def differing(connection: Connection[Any], zone: str, today: datetime, ahead: timedelta = AHEAD) -> datetime | None:
    """From when on, to the hour, the server has another offset of the zone; None while they agree."""
    at, here = offsets(zone, today.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0), ahead)
    row = connection.execute(_DIFFERS, [at, here, zone]).fetchone()
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
def offsets(zone: str, today: datetime, ahead: timedelta) -> tuple[str, str]:
    """Instants in seconds since the epoch, and the zone's offset in seconds at each, as this worker knows it.

    Arrays as Postgres reads them: thousands of values, written once a day and not for each of thousands of runs.
    """
    tz = ZoneInfo(zone)
    at = list(_samples(tz, today - PAST, today + ahead))
    return _array(round(one.timestamp()) for one in at), _array(_offset(tz, one) for one in at)


def _array(numbers: Iterable[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


def _samples(tz: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Each half day, and each hour of those in which the offset changes."""
    coarse = [begin + n * _STEP for n in range((end - begin) // _STEP + 1)]
    yield from coarse
    for one, other in pairwise(coarse):
        if _offset(tz, one) != _offset(tz, other):
            yield from (one + n * _FINE for n in range(1, _STEP // _FINE))


def _offset(tz: ZoneInfo, at: datetime) -> int:
    offset = at.astimezone(tz).utcoffset() or timedelta()
    return round(offset.total_seconds())

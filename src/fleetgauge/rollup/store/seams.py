"""Where the windows of two versions in different time zones do not fit together.

The last whole day of the older zone ends before the first one of the newer zone begins, so no day holds what lies
between. A range reads the hours there; and the minutes, where the offsets of two zones differ by a part of an hour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from fleetgauge.postgres import Connection, only_row
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.spans import Span, intersect, subtract
from fleetgauge.rollup.store.versions import Share, Version, shares, versions


@dataclass(frozen=True)
class Seam:
    """A stretch in which no window of a grain is, and what is read there instead."""

    grain: Grain
    begin: datetime
    end: datetime
    hours: tuple[Span, ...] = ()
    """Of a seam of days: what whole hours cover of it."""
    minutes: tuple[Span, ...] = ()
    """What they do not, since no hours are there either."""
    edge: tuple[Span, ...] = ()
    """What they do not at its beginning, since the hours there are of the newer zone: one lies across it."""


def seams(connection: Connection, metric: str, shown: Sequence[Version] | None = None) -> tuple[Seam, ...]:
    """Those of a metric's views. `shown`: the versions that they are made of, the newest first; by default those that
    are published."""
    known = versions(connection, metric) if shown is None else shown
    kept = [one for one in known if shown is not None or one.published_at is not None]
    if len({zone_of(one) for one in kept}) < 2:
        return ()
    hours = _cut(connection, kept, "hour")
    holes = _holes(hours)
    found = [Seam("hour", begin, end, minutes=((begin, end),)) for begin, end in holes]
    for begin, end in _holes(_cut(connection, kept, "day")):
        within = [Share(share.version, max(share.begin or begin, begin), min(share.end or end, end)) for share in hours]
        there = _spans(_whole(connection, share, "hour") for share in within)
        left = subtract([(begin, end)], there)
        found.append(Seam("day", begin, end, tuple(there), tuple(intersect(left, holes)), tuple(subtract(left, holes))))
    return tuple(found)


def zone_of(version: Version) -> str:
    """The time zone that the version's windows are of."""
    return str((version.plain or {}).get("time_zone", Definition.time_zone))


def whole(connection: Connection, share: Share, grain: Grain, zone: str) -> tuple[datetime | None, datetime | None]:
    """The share cut to whole windows of the version's own zone, so that none overlaps what a neighbour shows."""
    found = connection.execute(
        "SELECT CASE WHEN fleetgauge.window_start(b, g, z) = b THEN b ELSE fleetgauge.window_end(b, g, z) END,"
        " fleetgauge.window_start(e, g, z)"
        " FROM (SELECT %s::timestamptz, %s::timestamptz, %s::text, %s::text) AS s(b, e, g, z)",
        [share.begin, share.end, grain, zone],
    )
    begin, end = only_row(found)
    return begin, end


def _cut(connection: Connection, shown: Sequence[Version], grain: Grain) -> list[Share]:
    """Who shows what of a grain, in whole windows."""
    return [share if share.version is shown[0] else _whole(connection, share, grain) for share in shares(shown, grain)]


def _whole(connection: Connection, share: Share, grain: Grain) -> Share:
    return Share(share.version, *whole(connection, share, grain, zone_of(share.version)))


def _holes(cut: Sequence[Share]) -> list[Span]:
    return _spans(Share(later.version, one.end, later.begin) for one, later in pairwise(cut))


def _spans(found: Iterable[Share]) -> list[Span]:
    """Those that have any time and no open end."""
    return [
        (one.begin, one.end) for one in found if one.begin is not None and one.end is not None and one.begin < one.end
    ]

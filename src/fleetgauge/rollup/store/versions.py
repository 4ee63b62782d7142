"""The versions of a metric, and which of them shows a window: the newest that can compute it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetgauge.postgres import Connection, TimestamptzMultirange
from fleetgauge.rollup.definitions.definition import Definition, of_plain
from fleetgauge.rollup.definitions.levels import Grain

Stretch = tuple[datetime | None, datetime | None]
"""Instants (UTC) between which a version is shown; None: open."""

_ALWAYS: Stretch = (None, None)

_VERSIONS = """
SELECT v.version, v.created_at, v.published_at, v.definition, v.shape, v.label_format,
    array_agg(l.grain ORDER BY l.grain), array_agg(l.unavailable ORDER BY l.grain),
    coalesce(bool_or(NOT isempty(l.closed)) FILTER (WHERE l.grain = 'minute'), false), max(l.beat_at)
FROM fleetgauge.metric_version AS v LEFT JOIN fleetgauge.ledger AS l USING (metric, version)
WHERE v.metric = %s GROUP BY v.metric, v.version ORDER BY v.published_at DESC NULLS LAST, v.created_at DESC
"""


@dataclass(frozen=True)
class Version:
    """One version that has tables."""

    version: str
    created_at: datetime
    published_at: datetime | None
    """When the views began to show it; None: never."""
    plain: Mapping[str, Any] | None
    """Its definition as `Definition.plain` tells it; None: made before definitions were kept."""
    shape: str | None
    label_format: int
    """Of its tables' dimensions: see `fleetgauge.rollup.labels`."""
    unavailable: Mapping[Grain, tuple[Stretch, ...]]
    """By grain, the windows that it cannot compute."""
    filled: bool
    """Whether a run has ever come to its end."""
    beat_at: datetime | None = None
    """When its source was last seen alive, all changes before which are in its tables; None before the first run."""

    def is_behind(self, other: "Version") -> bool:
        """Whether `other` has taken in later changes, as it has where a definition goes back to an earlier version."""
        return other.beat_at is not None and (self.beat_at is None or self.beat_at < other.beat_at)

    @property
    def definition(self) -> Definition | None:
        """As far as today's rules still take it."""
        return None if self.plain is None else of_plain(self.plain, self.version)


@dataclass(frozen=True)
class Share:
    """A stretch of time that a version shows."""

    version: Version
    begin: datetime | None
    end: datetime | None


def versions(connection: Connection, metric: str) -> list[Version]:
    """All of them, the one published last first, those that were never published at the end."""
    rows = connection.execute(_VERSIONS, [metric]).fetchall()
    return [
        Version(
            version,
            created,
            published,
            plain,
            shape,
            label_format,
            {grain: _stretches(found) for grain, found in zip(grains, unavailable, strict=True) if grain is not None},
            filled,
            beat_at,
        )
        for version, created, published, plain, shape, label_format, grains, unavailable, filled, beat_at in rows
    ]


def shares(newest_first: Sequence[Version], grain: Grain) -> list[Share]:
    """Who shows what, by ascending time: each window belongs to the first version that can compute it.

    What none can is left to the newest: of an hour or a day that it could not compute as a whole, a part, never final.
    """
    found: list[Share] = []
    left: list[Stretch] = [_ALWAYS]
    for version in newest_first:
        holes = version.unavailable.get(grain, ())
        found += [Share(version, begin, end) for begin, end in _without(left, holes)]
        left = [both for one in left for other in holes if (both := _common(one, other)) is not None]
    found += [Share(newest_first[0], begin, end) for begin, end in left] if newest_first else []
    return sorted(found, key=lambda share: (share.begin is not None, share.begin or share.version.created_at))


def _without(stretches: Sequence[Stretch], holes: Sequence[Stretch]) -> list[Stretch]:
    found = list(stretches)
    for low, high in holes:
        pieces: list[Stretch | None] = []
        for one in found:
            pieces.append(_common(one, (None, low)) if low is not None else None)
            pieces.append(_common(one, (high, None)) if high is not None else None)
        found = [piece for piece in pieces if piece is not None]
    return found


def _common(one: Stretch, other: Stretch) -> Stretch | None:
    begins = [at for at in (one[0], other[0]) if at is not None]
    ends = [at for at in (one[1], other[1]) if at is not None]
    begin, end = max(begins, default=None), min(ends, default=None)
    return None if begin is not None and end is not None and begin >= end else (begin, end)


def _stretches(found: TimestamptzMultirange | None) -> tuple[Stretch, ...]:
    return tuple((one.lower, one.upper) for one in found or ())

"""What the metrics database says of one metric beside its clocks, asked once for all that tell it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fleetgauge.postgres import Connection, only_row
from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.operating import repeated_events
from fleetgauge.rollup.sources.late_changes import LATE
from fleetgauge.rollup.store import emptied_hours
from fleetgauge.rollup.store.emptied_partitions import EmptiedPartition, emptied_partitions
from fleetgauge.rollup.store.partitions import detached
from fleetgauge.rollup.store.publish import current_publication, planned, refusal
from fleetgauge.rollup.store.state_reader import blocked
from fleetgauge.rollup.store.unused import leftovers
from fleetgauge.rollup.store.versions import versions
from fleetgauge.rollup.values import BlockedCell, Emptied, Repeated, Unfollowed

_CUT = """
SELECT d.since, d.until, o.version FROM fleetgauge.ledger AS l
CROSS JOIN LATERAL (SELECT upper(r) AS until FROM unnest(l.unavailable) AS r WHERE lower_inf(r)) AS e
CROSS JOIN LATERAL (SELECT fleetgauge.window_start(e.until - interval '1 microsecond', 'day', %(zone)s), e.until)
    AS d(since, until)
JOIN fleetgauge.ledger AS o ON o.metric = l.metric AND o.version <> l.version AND o.grain = l.grain
JOIN fleetgauge.ledger AS m ON m.metric = o.metric AND m.version = o.version AND m.grain = 'minute'
    AND m.done && tstzrange(d.since, d.until)
WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = 'day'
AND d.until > clock_timestamp() - interval '7 days' AND NOT EXISTS (SELECT FROM fleetgauge.ledger AS c
    WHERE c.metric = l.metric AND c.grain = 'day' AND c.closed @> tstzrange(d.since, d.until))
ORDER BY m.beat_at DESC NULLS LAST LIMIT 1
"""
_ACTIVITY = """
SELECT a.error, a.deferred, r.at, clock_timestamp() - coalesce(r.at, v.since)
FROM (SELECT min(published_at) AS since FROM fleetgauge.metric_version WHERE metric = %(metric)s) AS v
LEFT JOIN fleetgauge.activity AS a ON a.metric = %(metric)s
-- What a clock that was wrong has put into the future is no comparison.
CROSS JOIN LATERAL (SELECT CASE WHEN a.reconciled_at <= clock_timestamp() THEN a.reconciled_at END AS at) AS r
"""
NEARLY_FULL = 0.8
"""The share of a dimension's limit from which on it is told."""
FEW = 10
"""A smaller limit says that the values are known, so that all of them being there is no news."""


@dataclass(frozen=True)
class Omission:
    """Facts that are in no number, for one reason."""

    reason: str
    count: int
    keys: Sequence[str]
    """What tells some of them."""

    def __str__(self) -> str:
        return f"{self.count} row(s) are in no number, {self.reason}: {', '.join(self.keys)}"


@dataclass(frozen=True)
class Filling:
    """How many distinct values a dimension may have."""

    dimension: str
    values: int
    limit: int

    @property
    def full(self) -> bool:
        """Whether every further value is counted together with others."""
        return self.values >= self.limit

    @property
    def matters(self) -> bool:
        """Whether it is nearly full. A dimension of a few known values, such as a direction, may be."""
        return self.limit >= FEW and self.values >= NEARLY_FULL * self.limit

    def __str__(self) -> str:
        what = "further values are counted together" if self.full else "beyond it, values are counted together"
        return f"dimension {self.dimension} has {self.values} of {self.limit} values; {what}"


@dataclass(frozen=True)
class Waiting:
    """The views do not show what is computed."""

    why: str
    """And what to do about it."""
    by_itself: bool
    """Whether a run ends it."""


@dataclass(frozen=True)
class Cut:
    """The day, in the metric's time zone, in which a version began whose source had lost the day's beginning."""

    begin: datetime
    end: datetime
    """From here on days are whole again."""
    version: str
    """The one that counted it before."""


@dataclass(frozen=True)
class MetricStatus:
    """All of it, for one metric."""

    metric: str
    blocked: Sequence[BlockedCell] = ()
    omissions: Sequence[Omission] = ()
    fillings: Sequence[Filling] = ()
    waiting: Waiting | None = None
    closed: Sequence[str] = ()
    """Daily indices that were closed when its source was last read."""
    lost: Sequence[str] = ()
    """Daily indices that held fewer documents then than they had before."""
    foreign: Mapping[str, int] = field(default_factory=dict)
    """Indices behind the alias that are none of its days, with their documents, which are in no number."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Records that Kafka's retention deleted before they were read, by partition, as far as the last look told."""
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Daily indices that did not map fields then which the metric reads, and which fields."""
    repeated: Repeated | None = None
    """Events that are stored twice, by the last comparison's sample."""
    error: str | None = None
    """Why the last run failed."""
    deferred: str | None = None
    """Why the last run was put off."""
    undefined: bool = False
    """Whether no definition makes its views any more."""
    unread: str | None = None
    """Why its definition cannot be read."""
    unfollowed: Unfollowed | None = None
    """Source rows whose changes no run sees."""
    emptied: Sequence[Emptied] = ()
    """Final hours whose facts the source has lost, and nobody has accepted that."""
    mistyped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Daily indices that are not read, since they map fields of the metric to another type, and which fields."""
    cut: Cut | None = None
    """A day that no version has whole."""
    removed: Sequence[EmptiedPartition] = ()
    """Partitions of its own tables whose rows somebody has removed."""
    late_changes: Mapping[str, Any] | None = None
    """When changes last appeared behind the cursor, how many, and by how much: see `sources.late_changes`."""
    detached: Sequence[str] = ()
    """Partitions of its own tables that somebody has detached, so that their rows are not shown."""
    reconciled_at: datetime | None = None
    """When the last comparison of all that is reconciled daily began (UTC); None: none came to its end."""
    unreconciled: timedelta | None = None
    """How long ago that was, or else, since the metric is shown; None: it is not."""


def status_of(connection: Connection[Any], definition: Definition, *, undefined: bool = False) -> MetricStatus:
    """Blocks for some short questions; reads the catalogue where it must. `undefined`: `definition` is the last one."""
    error, deferred, reconciled_at, unreconciled = only_row(
        connection.execute(_ACTIVITY, {"metric": definition.metric})
    )
    days = {} if undefined else noted_days(connection, definition)
    mistyped = days.get("mistyped", {})
    return MetricStatus(
        definition.metric,
        blocked(connection, definition),
        omissions(connection, definition),
        fillings(connection, definition),
        None if undefined else waiting(connection, definition),
        () if undefined else [one for one in closed(connection, definition, days) if one not in mistyped],
        sorted(days.get("short", {})),
        days.get("foreign", {}),
        days.get("missed", {}),
        days.get("lacking", {}),
        None if undefined or definition.documents is None else repeated_events.known(connection, definition.metric),
        error,
        deferred,
        undefined,
        unfollowed=None if undefined else unfollowed(connection, definition),
        late_changes=None if undefined else late_changes(connection, definition),
        cut=None if undefined else cut(connection, definition),
        removed=() if undefined else emptied_partitions(connection, definition),
        detached=() if undefined else detached(connection, definition),
        mistyped=mistyped,
        reconciled_at=reconciled_at,
        unreconciled=None if undefined else unreconciled,
        emptied=[one for one in emptied_hours.known(connection, definition.metric) if one.accepted is None],
    )


def forgotten(
    connection: Connection[Any], definitions: Mapping[str, Definition], defined: Collection[str]
) -> Iterator[tuple[Definition | None, MetricStatus]]:
    """The metrics that no definition makes any more and whose views are still there, with the last definition kept."""
    for one in leftovers(connection, definitions, defined):
        if not one.metric or not one.views:
            continue
        last = next((v.definition for v in versions(connection, one.name) if v.definition is not None), None)
        yield (
            last,
            (MetricStatus(one.name, undefined=True) if last is None else status_of(connection, last, undefined=True)),
        )


def waiting(connection: Connection[Any], definition: Definition) -> Waiting | None:
    """Why the views do not show this version as it is, if they do not. Reads the catalogue where it must."""
    known = versions(connection, definition.metric)
    now = current_publication(definition, known)
    if now.state == "current":
        return None
    shown = known[0].version if known and known[0].published_at is not None else None
    before = "" if shown in (None, definition.version) else f"the views show version {shown}; "
    if now.state == "waiting":
        return Waiting(f"{before}{now.why or 'a run has to fill this one first'}", by_itself=True)
    why = refusal(connection, planned(connection, definition, known), None)
    if why is not None:
        said = f"{before}version {definition.version} is filled, but not shown: {why}"
        return Waiting(said, by_itself=False)
    return Waiting(f"{before}the next run makes them anew", by_itself=True)


def noted_days(connection: Connection[Any], definition: Definition) -> Mapping[str, Any]:
    """What the last look at the metric's documents noted of the daily indices; empty of other sources."""
    if definition.source == COMMANDS:
        rows = connection.execute("SELECT days FROM fleetgauge.command_cursor").fetchall()
        return {
            part: {name: value for (days,) in rows for name, value in days.get(part, {}).items()}
            for part in ("short", "missed", "foreign")
        }
    row = connection.execute(
        "SELECT cursor_token -> '' FROM fleetgauge.ledger WHERE metric = %s AND version = %s AND grain = 'minute'",
        [definition.metric, definition.version],
    ).fetchone()
    return row[0] or {} if row else {}


def closed(connection: Connection[Any], definition: Definition, days: Mapping[str, Any]) -> list[str]:
    """The daily indices that were closed when the metric's source was last read, oldest first."""
    if definition.source != COMMANDS:
        return sorted(days.get("closed", {}))
    rows = connection.execute("SELECT DISTINCT unnest(closed) FROM fleetgauge.command_cursor ORDER BY 1").fetchall()
    return [index for (index,) in rows]


def cut(connection: Connection[Any], definition: Definition) -> Cut | None:
    """For a week: the day in which this version began, if it can't compute it and no other has finished it."""
    if "day" not in definition.grains:
        return None
    values = {"metric": definition.metric, "version": definition.version, "zone": definition.time_zone}
    row = connection.execute(_CUT, values).fetchone()
    zone = ZoneInfo(definition.time_zone)
    return None if row is None else Cut(row[0].astimezone(zone), row[1].astimezone(zone), row[2])


def omissions(connection: Connection[Any], definition: Definition) -> list[Omission]:
    """By reason, the largest first."""
    rows = connection.execute(
        "SELECT reason, sum(count)::bigint, (array_agg(key ORDER BY seen_at DESC, key))[1:5] FROM ("
        " SELECT reason, CASE WHEN n = 1 THEN count ELSE 0 END AS count, key, seen_at FROM fleetgauge.left_out,"
        " unnest(keys) WITH ORDINALITY AS k(key, n) WHERE metric = %s AND version = %s) AS found"
        " GROUP BY reason ORDER BY 2 DESC, 1",
        [definition.metric, definition.version],
    ).fetchall()
    return [Omission(*row) for row in rows]


def unfollowed(connection: Connection[Any], definition: Definition) -> Unfollowed | None:
    """What the last run found; None if that was none."""
    row = connection.execute(
        "SELECT count, keys FROM fleetgauge.unfollowed WHERE metric = %s AND version = %s",
        [definition.metric, definition.version],
    ).fetchone()
    return None if row is None else Unfollowed(*row)


def late_changes(connection: Connection[Any], definition: Definition) -> Mapping[str, Any] | None:
    """What the last look noted of changes that came after their change time; None if it was long ago, or never."""
    row = connection.execute(
        "SELECT cursor_token -> %s FROM fleetgauge.ledger WHERE metric = %s AND version = %s AND grain = 'minute'",
        [LATE, definition.metric, definition.version],
    ).fetchone()
    return None if row is None else row[0]


def fillings(connection: Connection[Any], definition: Definition) -> list[Filling]:
    """Of each dimension, in the definition's order."""
    known = dict(
        connection.execute(
            "SELECT dimension, count(*) FROM fleetgauge.dimension_value WHERE metric = %s AND version = %s GROUP BY 1",
            [definition.metric, definition.version],
        ).fetchall()
    )
    return [Filling(name, known.get(name, 0), one.limit) for name, one in definition.dimensions.items()]

"""The ledger of one metric: what is done, what is closed, and from where changes are read next.

All instants are UTC. Runs inside the caller's transaction, under the metric's lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetgauge import postgres
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, Jsonb, TimestamptzMultirange
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.sources.port import Cursor
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.ages import Ages


@dataclass(frozen=True)
class State:
    """The ledger as one transaction sees it."""

    begun: bool
    """Whether a first pass laid down where history begins."""
    complete: bool
    """Whether a pass has ever reached its end."""
    cursor: Cursor | None
    """Changes before it are in the tables, for windows that are done."""
    beat_at: datetime | None
    """The newest heartbeat that rows were computed under."""
    ages: Ages
    """What is still kept."""


class Ledger:
    """Reads and writes the rows of one metric's version; `connection` is inside a transaction."""

    def __init__(self, connection: Connection[Any], definition: Definition) -> None:
        self._connection = connection
        self._key = {"metric": definition.metric, "version": definition.version, "zone": definition.time_zone}
        self._name = f"{definition.metric} version {definition.version}"
        self._source_kept = definition.source_kept

    def lock(self) -> None:
        """Wait until no other worker computes this metric, whatever its version; held until the transaction ends."""
        self._run("SELECT pg_advisory_xact_lock(hashtextextended('fleetgauge rollup ' || %(metric)s, 0))")

    def state(self) -> State:
        """Raises `Terminal` when `fleetgauge migrate` has not made this version's tables."""
        row = self._run(
            "SELECT NOT isempty(done), NOT isempty(closed), cursor_at, cursor_token, beat_at,"
            " fleetgauge.day_end(beat_at - %(source_kept)s::interval, %(zone)s), kept.*"
            " FROM fleetgauge.ledger, (SELECT min(kept_from) FILTER (WHERE grain = 'minute'),"
            " min(kept_from) FILTER (WHERE grain = 'hour'), min(kept_from) FILTER (WHERE grain = 'day')"
            " FROM fleetgauge.ledger WHERE metric = %(metric)s AND version = %(version)s) AS kept"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            source_kept=self._source_kept,
        ).fetchone()
        if row is None:
            raise Terminal(f"metric {self._name} has no tables; run fleetgauge migrate")
        begun, complete, at, token, beat_at, whole_from, minute, hour, day = row
        ages = Ages({"minute": minute, "hour": hour, "day": day}, whole_from)
        return State(begun, complete, None if at is None else Cursor(at, token), beat_at, ages)

    def begin(self, begin: datetime, cursor: Cursor, beat_at: datetime) -> None:
        """Lay down, once, that nothing happened before `begin`, and that changes are read from `cursor_at` on."""
        self._run(
            "UPDATE fleetgauge.ledger SET done = tstzmultirange(tstzrange(NULL,"
            " fleetgauge.window_start(%(begin)s, grain, %(zone)s))),"
            " cursor_at = CASE WHEN grain = 'minute' THEN %(cursor)s::timestamptz END,"
            " cursor_token = CASE WHEN grain = 'minute' THEN %(token)s::jsonb END,"
            " beat_at = CASE WHEN grain = 'minute' THEN %(beat)s::timestamptz END, updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND isempty(done)",
            begin=begin,
            cursor=cursor.at,
            token=_json(cursor),
            beat=beat_at,
        )

    def missing(self, end: datetime) -> list[Span]:
        """Minutes before `end` that were never computed, and blocked ones, which are tried again."""
        return self._spans(
            f"SELECT tstzmultirange(tstzrange(NULL, %(end)s)) - done + {_BLOCKED} FROM fleetgauge.ledger"  # noqa: S608
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            end=end,
        )

    def covers(self, span: Span) -> bool:
        """Whether all of `span` is done and none of it blocked."""
        row = self._run(
            f"SELECT (done - {_BLOCKED}) @> tstzrange(%(begin)s, %(end)s) FROM fleetgauge.ledger"  # noqa: S608
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            begin=span[0],
            end=span[1],
        ).fetchone()
        return bool(row and row[0])

    def missing_above(self, grain: Grain) -> list[Span]:
        """Whole windows of `grain` whose minutes are done while they themselves are not."""
        return self._spans(
            "SELECT fleetgauge.whole_windows(m.done, l.grain, %(zone)s) - l.done"
            " FROM fleetgauge.ledger AS l JOIN fleetgauge.ledger AS m USING (metric, version)"
            " WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = %(grain)s AND m.grain = 'minute'",
            grain=grain,
        )

    def widen(self, span: Span, grain: Grain) -> Span:
        """`span` grown to whole windows of `grain`."""
        row = self._run(
            "SELECT fleetgauge.window_start(%(begin)s, %(grain)s, %(zone)s),"
            " fleetgauge.window_end(%(end)s - interval '1 microsecond', %(grain)s, %(zone)s)",
            begin=span[0],
            end=span[1],
            grain=grain,
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    def widened(self, span: Span) -> dict[Grain, Span]:
        """`span` (whole minutes) grown to whole windows of each grain."""
        rows = self._run(
            "SELECT g, fleetgauge.window_start(%(begin)s, g, %(zone)s),"
            " fleetgauge.window_end(%(end)s - interval '1 microsecond', g, %(zone)s)"
            " FROM unnest(ARRAY['minute', 'hour', 'day']) AS g",
            begin=span[0],
            end=span[1],
        ).fetchall()
        return {grain: (begin, end) for grain, begin, end in rows}

    def hours(self, span: Span, *, done: bool = False) -> list[Span]:
        """The hours that `span` touches, in order; with `done` only those that are computed."""
        return self._run(
            "WITH RECURSIVE h(b, e) AS (SELECT fleetgauge.hour_start(%(begin)s, %(zone)s),"
            " fleetgauge.hour_end(%(begin)s, %(zone)s) UNION ALL"
            " SELECT e, fleetgauge.hour_end(e, %(zone)s) FROM h WHERE e < %(end)s)"
            " SELECT b, e FROM h WHERE NOT %(done)s OR tstzrange(b, e) <@ (SELECT done FROM fleetgauge.ledger"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'hour') ORDER BY b",
            begin=span[0],
            end=span[1],
            done=done,
        ).fetchall()

    def minutes_done(self, span: Span, frontier: datetime, except_windows: list[datetime]) -> None:
        """Mark what of `span` lies before the frontier, save newly blocked windows (those done before stay done)."""
        self._run(
            "UPDATE fleetgauge.ledger SET done = done + (tstzmultirange(tstzrange(%(begin)s, greatest(%(begin)s,"
            " least(%(end)s, %(frontier)s::timestamptz))))"
            " - (SELECT coalesce(range_agg(tstzrange(w, w + interval '1 minute')), '{}')"
            " FROM unnest(%(windows)s::timestamptz[]) AS w)), updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            begin=span[0],
            end=span[1],
            frontier=frontier,
            windows=except_windows,
        )

    def done_above(self, grain: Grain, span: Span) -> None:
        """Mark the windows of `grain` in `span` (whole windows, just computed) whose minutes are all done."""
        self._run(
            "UPDATE fleetgauge.ledger AS l SET done = l.done + fleetgauge.whole_windows("
            "m.done * tstzmultirange(tstzrange(%(begin)s, %(end)s)), l.grain, %(zone)s), updated_at = clock_timestamp()"
            " FROM fleetgauge.ledger AS m"
            " WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = %(grain)s"
            " AND m.metric = l.metric AND m.version = l.version AND m.grain = 'minute'",
            grain=grain,
            begin=span[0],
            end=span[1],
        )

    def keep_from(self, grain: Grain, kept_from: datetime) -> None:
        """Rows of earlier windows of the grain are let go, and not written any more. Never goes back."""
        self._run(
            "UPDATE fleetgauge.ledger SET kept_from = greatest(kept_from, %(kept)s), updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = %(grain)s",
            grain=grain,
            kept=kept_from,
        )

    def late(self, cells: int) -> None:
        """Count touched cells that cannot be recomputed any more."""
        self._run(
            "UPDATE fleetgauge.ledger SET late_unapplied = late_unapplied + %(cells)s, updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            cells=cells,
        )

    def minutes_closed(self, span: Span) -> int:
        """How many closed minutes lie in the span."""
        row = self._run(
            "SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r)) / 60), 0)::bigint FROM fleetgauge.ledger,"
            " unnest(closed * tstzmultirange(tstzrange(%(begin)s, %(end)s))) AS r"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            begin=span[0],
            end=span[1],
        ).fetchone()
        return int(row[0]) if row else 0

    def saw(self, beat_at: datetime) -> None:
        """Note the heartbeat that rows were just computed under: none may be computed under an older one afterwards."""
        self._run(
            "UPDATE fleetgauge.ledger SET beat_at = greatest(beat_at, %(beat)s), updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            beat=beat_at,
        )

    def touched_closed(self) -> int:
        """How many of the `touched` minute cells lie in closed windows."""
        row = self._run(
            "SELECT count(*) FROM touched AS t JOIN fleetgauge.ledger AS l ON l.closed @> t.window_start"
            " WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = 'minute' AND t.level = 'minute'"
        ).fetchone()
        return int(row[0]) if row else 0

    def admitted(self) -> list[tuple[str, str]]:
        """Dimension values that are kept apart: (dimension, value)."""
        return self._run(
            "SELECT dimension, value FROM fleetgauge.dimension_value"
            " WHERE metric = %(metric)s AND version = %(version)s"
        ).fetchall()

    def admit(self, values: list[tuple[str, str]]) -> None:
        """Keep these dimension values apart from now on."""
        self._connection.cursor().executemany(
            "INSERT INTO fleetgauge.dimension_value (metric, version, dimension, value) VALUES (%s, %s, %s, %s)",
            [(self._key["metric"], self._key["version"], *v) for v in values],
        )

    def block(self, reasons: Mapping[datetime, str]) -> None:
        """Note windows that broke a check; they are not closed until they pass."""
        self._connection.cursor().executemany(
            "INSERT INTO fleetgauge.blocked (metric, version, window_start, reason) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (metric, version, window_start) DO UPDATE SET reason = excluded.reason",
            [(self._key["metric"], self._key["version"], w, reason) for w, reason in reasons.items()],
        )

    def unblock(self, span: Span, except_windows: list[datetime]) -> None:
        """Forget the blocked windows of `span` that were computed without a fault."""
        self._run(
            "DELETE FROM fleetgauge.blocked WHERE metric = %(metric)s AND version = %(version)s"
            " AND window_start >= %(begin)s AND window_start < %(end)s"
            " AND window_start <> ALL (%(windows)s::timestamptz[])",
            begin=span[0],
            end=span[1],
            windows=except_windows,
        )

    def advance(self, cursor: Cursor, beat_at: datetime, closed_until: datetime) -> None:
        """End of a pass: every change before `cursor_at` is applied, windows that end by `closed_until` close."""
        self._run(
            "UPDATE fleetgauge.ledger SET"
            " cursor_token = CASE WHEN %(cursor)s >= cursor_at THEN %(token)s::jsonb ELSE cursor_token END,"
            " cursor_at = greatest(cursor_at, %(cursor)s),"
            " beat_at = greatest(beat_at, %(beat)s),"
            " closed = closed + tstzmultirange(tstzrange(NULL, fleetgauge.window_start(%(until)s, 'minute', 'UTC')))"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            cursor=cursor.at,
            token=_json(cursor),
            beat=beat_at,
            until=closed_until,
        )
        self.settle()

    def settle(self) -> None:
        """Bring `closed` in line: never beyond done, no blocked minute, above only what consists of closed minutes."""
        self._run(
            f"UPDATE fleetgauge.ledger SET closed = closed * done - {_BLOCKED}, updated_at = clock_timestamp()"  # noqa: S608
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'"
        )
        self._run(
            "UPDATE fleetgauge.ledger AS l SET closed = l.done * fleetgauge.whole_windows(m.closed, l.grain, %(zone)s),"
            " updated_at = clock_timestamp() FROM fleetgauge.ledger AS m"
            " WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain <> 'minute'"
            " AND m.metric = l.metric AND m.version = l.version AND m.grain = 'minute'"
        )

    def closed_until(self) -> dict[str, datetime | None]:
        """By grain, the end of what is closed without a break; None before the first pass."""
        rows = self._run(
            "SELECT grain, (SELECT upper(r) FROM unnest(closed) AS r ORDER BY r LIMIT 1) FROM fleetgauge.ledger"
            " WHERE metric = %(metric)s AND version = %(version)s"
        ).fetchall()
        return dict(rows)

    def blocked(self) -> list[tuple[datetime, str]]:
        """Blocked minutes with the check that each broke, oldest first."""
        return self._run(
            "SELECT window_start, reason FROM fleetgauge.blocked WHERE metric = %(metric)s AND version = %(version)s"
            " ORDER BY window_start"
        ).fetchall()

    def _spans(self, query: str, **more: object) -> list[Span]:
        row = self._run(query, **more).fetchone()
        found: TimestamptzMultirange = row[0] if row else TimestamptzMultirange()
        return [(r.lower, r.upper) for r in found if r.lower is not None and r.upper is not None]

    def _run(self, query: str, **more: object) -> postgres.Cursor[Any]:
        return self._connection.execute(query, {**self._key, **more})


def _json(cursor: Cursor) -> Jsonb | None:
    return None if cursor.token is None else Jsonb(dict(cursor.token))


_BLOCKED = (
    "(SELECT coalesce(range_agg(tstzrange(b.window_start, b.window_start + interval '1 minute')), '{}')"
    " FROM fleetgauge.blocked AS b WHERE b.metric = %(metric)s AND b.version = %(version)s)"
)

"""The writing side of one metric's ledger, for the executor alone, and what it checks again before it writes.

All instants are UTC. Runs inside the caller's transaction, under the metric's lock. Reading a state to plan from is
`store.state_reader`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from fleetgauge import postgres
from fleetgauge.postgres import Connection, Jsonb, only_row
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import BlockedCell, Cell, Cursor, LeftOut, Unfollowed
from fleetgauge.rollup.windows import BEGINNING


@dataclass(frozen=True)
class Noted:
    """Of a metric's version."""

    heartbeat_at: datetime | None
    """The newest heartbeat that rows were computed under."""
    has_other: bool
    """Whether values were ever counted together in `(other)`."""
    now: datetime
    """What this server's clock says."""
    left_out: bool
    """Whether facts are noted that cannot be counted."""
    unfollowed: bool
    """Whether facts are noted that have no time of change."""
    blocked: bool
    """Whether any cell is blocked."""


class LedgerWriter:
    """Of one metric's version; `connection` is inside a transaction."""

    def __init__(self, connection: Connection[Any], definition: Definition) -> None:
        self._connection = connection
        self._key = {"metric": definition.metric, "version": definition.version, "zone": definition.time_zone}

    def begin(self, begin: datetime, unavailable: Iterable[Span], cursor: Cursor, heartbeat_at: datetime) -> bool:
        """Lay down, once, that nothing happened before `begin`, and that changes are read from the cursor on.

        The `unavailable` minutes cannot be computed. False if another worker has meanwhile.
        """
        written = self._run(
            "UPDATE fleetgauge.ledger AS l SET unavailable = '{}', done = tstzmultirange(tstzrange(NULL,"
            " fleetgauge.window_start(%(begin)s, grain, %(zone)s))),"
            " cursor_at = CASE WHEN grain = 'minute' THEN %(cursor)s::timestamptz END,"
            " cursor_token = CASE WHEN grain = 'minute' THEN %(token)s::jsonb END,"
            " beat_at = CASE WHEN grain = 'minute' THEN %(heartbeat_at)s::timestamptz END,"
            " updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND isempty(done) AND NOT EXISTS (SELECT"
            " FROM fleetgauge.ledger AS m WHERE m.metric = l.metric AND m.version = l.version"
            " AND m.cursor_at IS NOT NULL)",
            begin=begin,
            cursor=cursor.at,
            token=_json(cursor),
            heartbeat_at=heartbeat_at,
        )
        if written.rowcount > 0:
            self.forgo(unavailable)
        return written.rowcount > 0

    def forgo(self, spans: Iterable[Span]) -> None:
        """These minutes cannot be computed; nor can the hours and days that they lie in."""
        for begin, end in spans:
            self._run(
                "UPDATE fleetgauge.ledger AS l SET unavailable = unavailable + w.lost, done = done - w.lost,"
                " closed = closed - w.lost, updated_at = clock_timestamp()"
                " FROM (SELECT g AS grain, tstzmultirange(tstzrange(CASE WHEN %(begin)s::timestamptz IS NOT NULL"
                " THEN fleetgauge.window_start(%(begin)s::timestamptz, g, %(zone)s) END,"
                " fleetgauge.window_end(%(end)s::timestamptz - interval '1 microsecond', g, %(zone)s))) AS lost"
                " FROM unnest(ARRAY['minute', 'hour', 'day']) AS g) AS w"
                " WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = w.grain",
                begin=None if begin == BEGINNING else begin,
                end=end,
            )

    def take_back(self, since: datetime, cursor: Cursor, heartbeat_at: datetime) -> None:
        """Nothing from `since` on is done or closed any more, and changes are read from the cursor on again."""
        self._run(
            "UPDATE fleetgauge.ledger SET done = done - gone, closed = closed - gone,"
            " reopened = reopened + closed * gone,"
            " cursor_at = CASE WHEN grain = 'minute' THEN %(cursor)s::timestamptz END,"
            " beat_at = CASE WHEN grain = 'minute' THEN %(heartbeat_at)s::timestamptz END,"
            " updated_at = clock_timestamp()"
            " FROM (SELECT grain AS of, tstzmultirange(tstzrange(fleetgauge.window_start(%(since)s, grain, %(zone)s),"
            " NULL)) AS gone FROM unnest(ARRAY['minute', 'hour', 'day']) AS grain) AS cut"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = of",
            since=since,
            cursor=cursor.at,
            heartbeat_at=heartbeat_at,
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

    def minutes_done(self, span: Span, watermark: datetime) -> None:
        """Mark what of `span` lies before the watermark."""
        self._run(
            "UPDATE fleetgauge.ledger SET done = done + tstzmultirange(tstzrange(%(begin)s, greatest(%(begin)s,"
            " least(%(end)s, %(watermark)s::timestamptz)))), updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            begin=span[0],
            end=span[1],
            watermark=watermark,
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
        """Rows of earlier windows of the grain expire, and are not written any more. Never goes back."""
        self._run(
            "UPDATE fleetgauge.ledger SET kept_from = greatest(kept_from, %(kept)s), updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = %(grain)s",
            grain=grain,
            kept=kept_from,
        )

    def left_out(self, spans: Sequence[Span], found: Sequence[LeftOut]) -> None:
        """Replace what is noted about facts of these spans that cannot be counted; none: those of absurd times."""
        if spans:
            self._run(
                "DELETE FROM fleetgauge.left_out AS l USING unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[])"
                " AS s(b, e) WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.window_start >= s.b"
                " AND l.window_start < s.e",
                begins=[span[0] for span in spans],
                ends=[span[1] for span in spans],
            )
        else:
            self._run(
                "DELETE FROM fleetgauge.left_out WHERE metric = %(metric)s AND version = %(version)s"
                " AND window_start = '-infinity'"
            )
        key = (self._key["metric"], self._key["version"])
        self._each(
            "INSERT INTO fleetgauge.left_out (metric, version, window_start, reason, count, keys)"
            " VALUES (%s, %s, coalesce(%s::timestamptz, '-infinity'), %s, %s, %s)",
            [(*key, one.window, one.reason, one.count, list(one.keys)) for one in found if one.count],
        )

    def unfollowed(self, found: Unfollowed) -> None:
        """Replace what is noted about facts without a time of change."""
        self._run("DELETE FROM fleetgauge.unfollowed WHERE metric = %(metric)s AND version = %(version)s")
        if found.count:
            self._run(
                "INSERT INTO fleetgauge.unfollowed (metric, version, count, keys)"
                " VALUES (%(metric)s, %(version)s, %(count)s, %(keys)s)",
                count=found.count,
                keys=list(found.keys),
            )

    def late(self, cells: int) -> None:
        """Count touched cells that cannot be recomputed any more."""
        self._run(
            "UPDATE fleetgauge.ledger SET late_unapplied = late_unapplied + %(cells)s, updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            cells=cells,
        )

    def saw(self, heartbeat_at: datetime) -> None:
        """Note the heartbeat that rows were just computed under: none may be computed under an older one afterwards."""
        self._run(
            "UPDATE fleetgauge.ledger SET beat_at = greatest(beat_at, %(heartbeat_at)s), updated_at = clock_timestamp()"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'",
            heartbeat_at=heartbeat_at,
        )

    def note_other(self) -> None:
        """Values are counted together in `(other)` from now on."""
        self._run(
            "UPDATE fleetgauge.ledger SET has_other = true"
            " WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute'"
        )

    def noted(self) -> "Noted":
        """What is known before the source is read."""
        of_version = "WHERE metric = %(metric)s AND version = %(version)s"
        row = only_row(
            self._run(
                "SELECT beat_at, has_other, clock_timestamp(),"  # noqa: S608
                f" EXISTS (SELECT FROM fleetgauge.left_out {of_version}),"
                f" EXISTS (SELECT FROM fleetgauge.unfollowed {of_version}),"
                f" EXISTS (SELECT FROM fleetgauge.blocked {of_version})"
                f" FROM fleetgauge.ledger {of_version} AND grain = 'minute'"
            )
        )
        return Noted(*row)

    def admitted(self) -> list[tuple[str, str]]:
        """Dimension values that have rows of their own: (dimension, value)."""
        return self._run(
            "SELECT dimension, value FROM fleetgauge.dimension_value"
            " WHERE metric = %(metric)s AND version = %(version)s"
        ).fetchall()

    def admit(self, values: list[tuple[str, str]]) -> None:
        """Give these dimension values rows of their own from now on."""
        self._each(
            "INSERT INTO fleetgauge.dimension_value (metric, version, dimension, value) VALUES (%s, %s, %s, %s)",
            [(self._key["metric"], self._key["version"], *v) for v in values],
        )

    def update_blocked(
        self, computed: Callable[[Cell], bool], broken: Sequence[BlockedCell], source_watermark: datetime | None
    ) -> bool:
        """Of the cells that were `computed`, block the broken ones and forget the others; whether anything changed.

        A cell that stays broken is tried again after one, two, four … minutes of the source watermark, six hours at
        most. Blocked windows of an earlier release are told apart by having no dimensions: they are forgotten with any
        cell of their minute.
        """
        key = [self._key["metric"], self._key["version"]]
        known = self._run(
            "SELECT window_start, dimensions FROM fleetgauge.blocked"
            " WHERE metric = %(metric)s AND version = %(version)s"
        ).fetchall()
        still = {(b.window_start, tuple(value for _, value in b.dimensions)) for b in broken}
        freed = [cell for cell in ((window, tuple(values)) for window, values in known) if computed(cell)]
        freed = [cell for cell in freed if cell not in still]
        self._each(
            "DELETE FROM fleetgauge.blocked"
            " WHERE metric = %s AND version = %s AND window_start = %s AND dimensions = %s",
            [(*key, window, list(values)) for window, values in freed],
        )
        self._each(
            "INSERT INTO fleetgauge.blocked AS b (metric, version, window_start, dimensions, reason, retry_at)"
            " VALUES (%s, %s, %s, %s, %s, %s::timestamptz + interval '1 minute')"
            " ON CONFLICT (metric, version, window_start, dimensions) DO UPDATE SET reason = excluded.reason,"
            " tries = b.tries + 1, retry_at = excluded.retry_at - interval '1 minute'"
            " + least(interval '1 minute' * 2 ^ least(b.tries, 20), interval '6 hours')",
            [(*key, b.window_start, [value for _, value in b.dimensions], b.check, source_watermark) for b in broken],
        )
        return bool(freed or broken)

    def advance(self, cursor: Cursor, heartbeat_at: datetime, closed_until: datetime) -> None:
        """End of a run: every change before `cursor_at` is applied, windows that end by `closed_until` close."""
        self._run(
            _ADVANCE,
            until=closed_until,
            cursor=cursor.at,
            token=_json(cursor),
            heartbeat_at=heartbeat_at,
        )

    def settle(self) -> None:
        """Bring `closed` in line: never beyond done, no minute that is blocked or unavailable (a coarser window may be
        computed around it), above only what consists of closed minutes.

        What was closed and is not any more is `reopened`, until it closes again.
        """
        self._run(_SETTLE, until=None)

    def _each(self, query: LiteralString, rows: Sequence[Sequence[Any]]) -> None:
        """Once for each of the rows; the driver would ask the server even for none."""
        if rows:
            self._connection.cursor().executemany(query, rows)

    def _run(self, query: str, **more: object) -> postgres.Cursor[Any]:
        return self._connection.execute(query, {**self._key, **more})


def _json(cursor: Cursor) -> Jsonb | None:
    return None if cursor.token is None else Jsonb(dict(cursor.token))


_BLOCKED = (
    "(SELECT coalesce(range_agg(tstzrange(b.window_start, b.window_start + interval '1 minute')), '{}')"
    " FROM fleetgauge.blocked AS b WHERE b.metric = %(metric)s AND b.version = %(version)s)"
)
# What is read from has OFFSET 0: `now.closed` would else be computed three times.
_CLOSE = (
    "closed = now.closed, updated_at = clock_timestamp(), reopened = l.reopened + (l.closed - now.closed) - now.closed"
)


def _settling(also: str = "") -> str:
    """One statement for all grains; `also`: what else is set of the minute's row."""
    return f"""
WITH minute AS (
    UPDATE fleetgauge.ledger AS l SET {also}{_CLOSE} FROM (
        SELECT (closed + CASE WHEN %(until)s::timestamptz IS NULL THEN '{{}}' ELSE
            tstzmultirange(tstzrange(NULL, fleetgauge.window_start(%(until)s::timestamptz, 'minute', 'UTC'))) END)
            * done - unavailable - {_BLOCKED} AS closed
        FROM fleetgauge.ledger WHERE metric = %(metric)s AND version = %(version)s AND grain = 'minute' OFFSET 0
    ) AS now WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = 'minute' RETURNING l.closed
)
UPDATE fleetgauge.ledger AS l SET {_CLOSE} FROM (
    SELECT g.grain, g.done * fleetgauge.whole_windows(minute.closed, g.grain, %(zone)s) AS closed
    FROM fleetgauge.ledger AS g CROSS JOIN minute
    WHERE metric = %(metric)s AND version = %(version)s AND grain <> 'minute' OFFSET 0
) AS now WHERE l.metric = %(metric)s AND l.version = %(version)s AND l.grain = now.grain
"""  # noqa: S608


_SETTLE = _settling()
_ADVANCE = _settling(
    "cursor_token = CASE WHEN %(cursor)s >= cursor_at THEN %(token)s::jsonb ELSE cursor_token END,"
    " cursor_at = greatest(cursor_at, %(cursor)s), beat_at = greatest(beat_at, %(heartbeat_at)s), "
)

"""The record of backfills: what was asked for and why, how far it is, and what is left to do."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError, Terminal, Transient
from fleetgauge.postgres import Connection, dict_row
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.execute.options import RunOptions, connect_metrics
from fleetgauge.rollup.execute.report import plain
from fleetgauge.rollup.plan.describe import to_dict
from fleetgauge.rollup.plan.planner import Plan, makeable
from fleetgauge.rollup.plan.state import Spans, State
from fleetgauge.rollup.sources.port import Row
from fleetgauge.rollup.spans import Span, subtract
from fleetgauge.rollup.store.state_reader import blocked
from fleetgauge.rollup.values import BlockedCell
from fleetgauge.rollup.windows import days
from fleetgauge.settings import Settings

_MINE = "metric = %(metric)s AND version = %(version)s AND grain = %(grain)s AND span = tstzrange(%(begin)s, %(end)s)"


LONGEST = timedelta(days=36_525)
"""A century; what is asked for beyond is a slip."""


@dataclass(frozen=True)
class BackfillOrder:
    """What an operator asks for. Asked again, it goes on where an unfinished one of the same metric and span stood."""

    begin: datetime
    """An instant without an offset is local time of each metric."""
    end: datetime
    """Exclusive."""
    grain: Grain = "minute"
    """`minute` reads the source; `hour` and `day` are made anew from the grain below."""
    reason: str = ""
    who: str = ""
    backwards: bool = False
    """Newest day first."""
    max_lag: timedelta | None = timedelta(seconds=60)
    """How far the source's newest heartbeat may be behind before a next piece waits; None: never wait."""

    def span(self, definition: Definition) -> Span:
        """What it means for a metric (UTC). Raises `Terminal` when nothing lies between its ends."""
        zone = ZoneInfo(definition.time_zone)
        begin, end = (
            (at if at.tzinfo is not None else at.replace(tzinfo=zone)).astimezone(UTC) for at in (self.begin, self.end)
        )
        if begin == end:
            raise Terminal(f"the span to compute is empty: it begins and ends at {self.begin}; --to is exclusive")
        if begin > end:
            raise Terminal(f"the span to compute ends ({self.end}) before it begins ({self.begin}); turn it round")
        if end - begin > LONGEST:
            raise Terminal(f"the span to compute is longer than {LONGEST.days} days; give a shorter one")
        if begin > datetime.now(UTC):
            raise Terminal(f"the span to compute begins in the future ({self.begin}); there is nothing to compute yet")
        return begin, end


@dataclass(frozen=True)
class Outline:
    """What is to be done for one metric."""

    metric: str
    version: str
    pieces: tuple[Span, ...] = ()
    """A local day each, or less."""
    frozen: tuple[Span, ...] = ()
    """Left as it is, since its source is not whole any more, or the rows that it is made from have expired."""
    done: tuple[Span, ...] = ()
    """What an unfinished backfill has done already."""
    plans: tuple[Plan, ...] = ()
    """For each piece, in the order in which they are done, what will be executed."""
    facts: int | None = None
    """About how many facts of the source will be read; None if that is not known."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found: dict[str, Any] = plain(asdict(replace(self, plans=())))
        return found | {"plans": [to_dict(one) for one in self.plans]}


def requests(settings: Settings, limit: int = 50) -> list[dict[str, Any]]:
    """The latest backfills, newest first: plain columns, `begin` and `end` of the span, `done_s` and `span_s`."""
    with postgres.metrics(settings.metrics).session("backfills") as connection:
        return (
            connection.cursor(row_factory=dict_row)
            .execute(
                "SELECT id, metric, version, grain, lower(span) AS begin, upper(span) AS end, reason, who,"
                " requested_at, status, error, finished_at,"
                " extract(epoch FROM upper(span) - lower(span))::float8 AS span_s,"
                " (SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0) FROM unnest(done) AS r)::float8"
                " AS done_s FROM fleetgauge.backfill ORDER BY id DESC LIMIT %s",
                [limit],
            )
            .fetchall()
        )


@dataclass
class BackfillRecord:
    """The rows of one metric in `fleetgauge.backfill`; a connection of its own, so that it outlives each piece."""

    connection: Connection[Row]
    definition: Definition
    _id: int | None = field(default=None, init=False)

    def outline(self, order: BackfillOrder, state: State) -> Outline:
        """What is left to do, without plans and facts."""
        span = order.span(self.definition)
        done = self._resume(order)
        parts = state.ages.split(subtract([span], done))
        frozen = tuple(part for part in parts if not makeable(state, order.grain, part[0]))
        left = [*done, *frozen]
        pieces = tuple(piece for day in days(span, self.definition.time_zone) for piece in subtract([day], left))
        return Outline(self.definition.metric, self.definition.version, pieces, frozen, done)

    def begin(self, order: BackfillOrder) -> None:
        """Take the metric's backfills for this process, and write the order down unless it goes on with one."""
        row = self.connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended('fleetgauge backfill ' || %s, 0))", [self.definition.metric]
        ).fetchone()
        if not (row and row[0]):
            raise Transient(f"another backfill of metric {self.definition.metric} is running; wait until it has ended")
        self._resume(order)
        if self._id is not None:
            self._set("status = 'open', error = NULL")
            return
        written = self.connection.execute(
            "INSERT INTO fleetgauge.backfill (metric, version, grain, span, reason, who) VALUES"
            " (%(metric)s, %(version)s, %(grain)s, tstzrange(%(begin)s, %(end)s), %(reason)s, %(who)s) RETURNING id",
            {**self._key(order), "reason": order.reason, "who": order.who},
        )
        self._id = postgres.only_row(written)[0]

    def _resume(self, order: BackfillOrder) -> Spans:
        """Find the unfinished one of the same order; returns what of it is done."""
        row = self.connection.execute(
            f"SELECT id, done FROM fleetgauge.backfill WHERE {_MINE} AND status <> 'finished'"  # noqa: S608
            " ORDER BY id DESC LIMIT 1",
            self._key(order),
        ).fetchone()
        self._id = row[0] if row else None
        return tuple((r.lower, r.upper) for r in row[1]) if row else ()

    def done(self, piece: Span) -> None:
        """The piece is computed and need not be again."""
        self._set("done = done + tstzmultirange(tstzrange(%(begin)s, %(end)s))", begin=piece[0], end=piece[1])

    def failed(self, error: FleetgaugeError) -> None:
        """It ended here; the same request goes on."""
        self._set("status = 'failed', error = %(error)s", error=str(error))

    def finished(self) -> None:
        """Nothing is left."""
        self._set("status = 'finished', finished_at = clock_timestamp()")

    def blocked(self, span: Span) -> list[BlockedCell]:
        """Cells of the span that kept their old rows."""
        return [one for one in blocked(self.connection, self.definition) if span[0] <= one.window_start < span[1]]

    def _set(self, what: str, **values: object) -> None:
        self.connection.execute(f"UPDATE fleetgauge.backfill SET {what} WHERE id = %(id)s", {"id": self._id, **values})  # noqa: S608

    def _key(self, order: BackfillOrder) -> dict[str, object]:
        begin, end = order.span(self.definition)
        one = self.definition
        return {"metric": one.metric, "version": one.version, "grain": order.grain, "begin": begin, "end": end}


@contextmanager
def recording(settings: Settings, definition: Definition, options: RunOptions) -> Iterator[BackfillRecord]:
    """Opens the metric's record; a database's errors become ours. Nothing is written before `BackfillRecord.begin`."""
    with (
        closing(connect_metrics(settings.metrics, options)) as connection,
        postgres.metrics(settings.metrics).translated(),
    ):
        yield BackfillRecord(connection, definition)

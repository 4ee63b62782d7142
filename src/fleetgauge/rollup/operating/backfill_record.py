"""The record of backfills: what was asked for and why, how far it is, and what is left to do."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError, Terminal, Transient
from fleetgauge.postgres import Connection, dict_row
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.options import Options, connect_metrics
from fleetgauge.rollup.sources.port import Row
from fleetgauge.rollup.spans import Span, subtract
from fleetgauge.rollup.store.ages import Ages
from fleetgauge.rollup.store.ledger import Ledger
from fleetgauge.settings import Settings

_DAYS = """
SELECT greatest(fleetgauge.date_start(d::date, %(zone)s), %(begin)s),
    least(fleetgauge.date_start(d::date + 1, %(zone)s), %(end)s)
FROM generate_series((%(begin)s AT TIME ZONE %(zone)s)::date::timestamp,
    ((%(end)s - interval '1 microsecond') AT TIME ZONE %(zone)s)::date::timestamp, interval '1 day') AS d
"""
_MINE = "metric = %(metric)s AND version = %(version)s AND grain = %(grain)s AND span = tstzrange(%(begin)s, %(end)s)"


@dataclass(frozen=True)
class Request:
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
        if begin >= end:
            raise Terminal(f"the span to compute ends ({self.end}) before it begins ({self.begin}); turn it round")
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
    """Left as it is, since its source or the rows that it is made from are let go."""
    done: tuple[Span, ...] = ()
    """What an unfinished backfill has done already."""
    facts: int | None = None
    """About how many facts of the source will be read; None if that is not known."""


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
class Record:
    """The rows of one metric in `fleetgauge.backfill`; a connection of its own, so that it outlives each piece."""

    connection: Connection[Row]
    definition: Definition
    _id: int | None = field(default=None, init=False)

    def outline(self, request: Request) -> Outline:
        """What is left to do, without the facts."""
        span = request.span(self.definition)
        with self.connection.transaction():
            ages = Ledger(self.connection, self.definition).state().ages
        row = self.connection.execute(
            f"SELECT id, done FROM fleetgauge.backfill WHERE {_MINE} AND status <> 'finished'"  # noqa: S608
            " ORDER BY id DESC LIMIT 1",
            self._key(request),
        ).fetchone()
        self._id = row[0] if row else None
        done = tuple((r.lower, r.upper) for r in row[1]) if row else ()
        parts = ages.split(subtract([span], done))
        frozen = tuple(part for part in parts if not _possible(ages, part[0], request.grain))
        days = self.connection.execute(
            _DAYS, {"zone": self.definition.time_zone, "begin": span[0], "end": span[1]}
        ).fetchall()
        pieces = tuple(piece for day in days for piece in subtract([(day[0], day[1])], [*done, *frozen]))
        return Outline(self.definition.metric, self.definition.version, pieces, frozen, done)

    def begin(self, request: Request) -> None:
        """Take the metric's backfills for this process, and write the request down unless it goes on with one."""
        row = self.connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended('fleetgauge backfill ' || %s, 0))", [self.definition.metric]
        ).fetchone()
        if not (row and row[0]):
            raise Transient(f"another backfill of metric {self.definition.metric} is running; wait until it has ended")
        if self._id is not None:
            self._set("status = 'open', error = NULL")
            return
        written = self.connection.execute(
            "INSERT INTO fleetgauge.backfill (metric, version, grain, span, reason, who) VALUES"
            " (%(metric)s, %(version)s, %(grain)s, tstzrange(%(begin)s, %(end)s), %(reason)s, %(who)s) RETURNING id",
            {**self._key(request), "reason": request.reason, "who": request.who},
        )
        self._id = postgres.only_row(written)[0]

    def done(self, piece: Span) -> None:
        """The piece is computed and need not be again."""
        self._set("done = done + tstzmultirange(tstzrange(%(begin)s, %(end)s))", begin=piece[0], end=piece[1])

    def failed(self, error: FleetgaugeError) -> None:
        """It ended here; the same request goes on."""
        self._set("status = 'failed', error = %(error)s", error=str(error))

    def finished(self) -> None:
        """Nothing is left."""
        self._set("status = 'finished', finished_at = clock_timestamp()")

    def blocked(self, span: Span) -> list[tuple[datetime, str]]:
        """Minutes of the span that kept their old rows, each with the check that the new ones broke."""
        found = Ledger(self.connection, self.definition).blocked()
        return [(window, check) for window, check in found if span[0] <= window < span[1]]

    def _set(self, what: str, **values: object) -> None:
        self.connection.execute(f"UPDATE fleetgauge.backfill SET {what} WHERE id = %(id)s", {"id": self._id, **values})  # noqa: S608

    def _key(self, request: Request) -> dict[str, object]:
        begin, end = request.span(self.definition)
        one = self.definition
        return {"metric": one.metric, "version": one.version, "grain": request.grain, "begin": begin, "end": end}


@contextmanager
def recording(settings: Settings, definition: Definition, options: Options) -> Iterator[Record]:
    """Opens the metric's record; a database's errors become ours. Nothing is written before `Record.begin`."""
    with (
        closing(connect_metrics(settings.metrics.url.get_secret_value(), options)) as connection,
        postgres.metrics(settings.metrics).translated(),
    ):
        yield Record(connection, definition)


def _possible(ages: Ages, at: datetime, grain: Grain) -> bool:
    """Whether what the grain is made from is still there."""
    if grain == "minute":
        return not ages.frozen(at)
    finest = ages.grain(at)
    return finest is not None and GRAINS.index(finest) < GRAINS.index(grain)

"""Trips and vehicles' states out of the read replica: a short, guarded transaction for each piece of a day.

Between them nothing is open there. Judging a day waits for Elasticsearch, and a snapshot that is held meanwhile stands
in the way of replay, which breaks it off (conflict with recovery).
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from fleetgauge import postgres
from fleetgauge.errors import Conflict, Terminal, Transient
from fleetgauge.fleet.suspect_method import Method
from fleetgauge.fleet.trip_reports import Trip
from fleetgauge.postgres import Connection, IsolationLevel, sql
from fleetgauge.postgres.guard import guard
from fleetgauge.progress.heartbeat import of_snapshot
from fleetgauge.progress.pace import Pace
from fleetgauge.settings import Settings, SourceSettings

_SCHEMES = ("postgresql", "postgres")
_MINUTES = 1440
"""Of event time, in the first piece; the next are larger or smaller by the rows that come."""
_ROWS_AIMED = 20_000
_UNIT = timedelta(minutes=1)
_log = structlog.get_logger(__name__)
_Row = tuple[Any, ...]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ReplicaPatience:
    """With a replica that breaks off; a test makes it small."""

    tries: int = 6
    """Failures in a row, each followed by a quarter of the piece, after which the run gives up."""
    pause_s: float = 0.5
    """Before the first new try; doubles with each."""


@dataclass(frozen=True)
class ReplicaTrips:
    """Trips as the replica shows them. Made by `replica_trips`. What it says raises `Transient`, `Terminal` or `Stop`.

    A day's state is to be asked before its trips: what changes between the two is then seen by the next run.
    """

    method: Method
    until: datetime
    """Everything that changed before this (UTC) is seen."""
    _settings: SourceSettings = field(repr=False)
    _patience: ReplicaPatience

    def state(self, begin: datetime, end: datetime) -> tuple[int, datetime | None]:
        """How many trips began in [begin, end), and when the last of them changed."""
        query = sql.SQL("SELECT count(*), max(updated_at) FROM ({}) AS t WHERE started_at >= %s AND started_at < %s")
        rows = self._read(query.format(self._sql(self.method.trips_sql)), begin, end)
        return sum(count for count, _ in rows), max((at for _, at in rows if at is not None), default=None)

    def trips(self, begin: datetime, end: datetime) -> list[Trip]:
        """Trips that began in [begin, end), by vehicle and start. One that is open ends at `until`, for now."""
        query = sql.SQL(
            "SELECT trip, vehicle, started_at, ended_at, refunded FROM ({}) AS t"
            " WHERE started_at >= %s AND started_at < %s"
        )
        rows = self._read(query.format(self._sql(self.method.trips_sql)), begin, end)
        return [
            Trip(
                trip, vehicle, _ms(started), max(_ms(started), _ms(ended or self.until)), ended is None, bool(refunded)
            )
            for trip, vehicle, started, ended, refunded in sorted(rows, key=lambda row: (row[1], row[2], row[0]))
        ]

    def out_of_service(self, begin: datetime, end: datetime) -> dict[str, list[int]]:
        """Production's key of a vehicle → when it was taken out of service (ms), ascending."""
        query = sql.SQL("SELECT vehicle, occurred_at FROM ({}) AS t WHERE occurred_at >= %s AND occurred_at < %s")
        found: dict[str, list[int]] = {}
        rows = self._read(query.format(self._sql(self.method.out_of_service_sql)), begin, end)
        for vehicle, at in sorted(rows, key=lambda row: row[1]):
            found.setdefault(vehicle, []).append(_ms(at))
        return found

    def _read(self, query: sql.Composed, begin: datetime, end: datetime) -> list[_Row]:
        """The rows of [begin, end), which the query takes as two instants, piece by piece."""

        def piece(connection: Connection) -> list[_Row]:
            return connection.execute(query, [at, upto]).fetchall()

        pace = Pace(_MINUTES, _ROWS_AIMED, self._patience.tries, self._patience.pause_s)
        found, at = list[_Row](), begin
        while at < end:
            upto = min(end, at + pace.size * _UNIT)
            rows = _patiently(pace, lambda: self._look(piece))
            if rows is None:
                continue
            pace.succeeded(len(rows))
            found += rows
            at = upto
        return found

    def _look(self, ask: Callable[[Connection], list[_Row]]) -> list[_Row]:
        with _snapshot(self._settings, self.method) as (connection, seen_until):
            if seen_until < self.until:  # another replica behind the same address, say
                raise Conflict(
                    f"source {self.method.source} now shows less than it did: up to {seen_until.isoformat()}, not "
                    f"{self.until.isoformat()}; look whether its address leads to several replicas, of which one lags"
                )
            return ask(connection)

    @staticmethod
    def _sql(text: str) -> sql.SQL:
        # content of the repository, as sql/metrics is; a percent sign in it is no placeholder
        return sql.SQL(text.replace("%", "%%"))


@contextmanager
def replica_trips(
    settings: Settings, method: Method, patience: ReplicaPatience | None = None
) -> Iterator[ReplicaTrips]:
    """Look at it; tries again when it breaks off. Raises `Transient`, `Terminal`, or `Stop` when it is no replica."""
    configured = settings.source(method.source)
    if configured.url.scheme not in _SCHEMES:
        raise Terminal(f"source {method.source}: suspects are read from Postgres only; name another in sql/fleet")
    patience = patience or ReplicaPatience()
    pace = Pace(_MINUTES, _ROWS_AIMED, patience.tries, patience.pause_s)

    def seen() -> datetime:
        with _snapshot(configured, method) as (_, until):
            return until

    until = None
    while until is None:
        until = _patiently(pace, seen)
    yield ReplicaTrips(method, until, configured, patience)


def _patiently(pace: Pace, ask: Callable[[], _T]) -> _T | None:
    """The answer; None when the source broke off, after a pause. Raises what it said when that was once too often."""
    try:
        return ask()
    except Conflict as error:
        _log.warning("the replica broke off; a smaller piece is tried", error=str(error))
        pace.failed(error)
        return None


@contextmanager
def _snapshot(configured: SourceSettings, method: Method) -> Iterator[tuple[Connection, datetime]]:
    """One read-only transaction, and up to when everything that changed is seen in it."""
    database = postgres.source(method.source, configured)
    wanted = "any" if configured.allow_primary else "standby"
    with closing(database.connect("fleet", target_session_attrs=wanted)) as connection, database.translated():
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            guard(connection, database, configured)
            watermark = of_snapshot(connection, method.source, configured.max_transaction_age_s)
            if watermark is None:
                raise Transient(
                    f"source {method.source}: there is no heartbeat yet; production writes it (sql/source/)"
                )
            yield connection, watermark.at


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)

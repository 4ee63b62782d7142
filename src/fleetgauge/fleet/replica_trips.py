"""Trips and vehicles' states out of the read replica, guarded in every transaction."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime

from fleetgauge import postgres
from fleetgauge.errors import Terminal, Transient
from fleetgauge.fleet.suspect_method import Method
from fleetgauge.fleet.trip_reports import Trip
from fleetgauge.postgres import Connection, IsolationLevel, only_row, sql
from fleetgauge.postgres.guard import guard
from fleetgauge.progress.heartbeat import of_snapshot
from fleetgauge.settings import Settings

_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True)
class ReplicaTrips:
    """One read-only transaction on the replica. Made by `production`."""

    method: Method
    until: datetime
    """Everything that changed before this (UTC) is seen."""
    _connection: Connection

    def state(self, begin: datetime, end: datetime) -> tuple[int, datetime | None]:
        """How many trips began in [begin, end), and when the last of them changed."""
        query = sql.SQL("SELECT count(*), max(updated_at) FROM ({}) AS t WHERE started_at >= %s AND started_at < %s")
        row = only_row(self._connection.execute(query.format(self._sql(self.method.trips_sql)), [begin, end]))
        return row[0], row[1]

    def trips(self, begin: datetime, end: datetime) -> list[Trip]:
        """Trips that began in [begin, end), by vehicle and start. One that is open ends at `until`, for now."""
        query = sql.SQL(
            "SELECT trip, vehicle, started_at, ended_at, refunded FROM ({}) AS t"
            " WHERE started_at >= %s AND started_at < %s"
            ' ORDER BY vehicle COLLATE "C", started_at, trip'
        )
        rows = self._connection.execute(query.format(self._sql(self.method.trips_sql)), [begin, end])
        return [
            Trip(
                trip, vehicle, _ms(started), max(_ms(started), _ms(ended or self.until)), ended is None, bool(refunded)
            )
            for trip, vehicle, started, ended, refunded in rows
        ]

    def out_of_service(self, begin: datetime, end: datetime) -> dict[str, list[int]]:
        """Production's key of a vehicle → when it was taken out of service (ms), ascending."""
        query = sql.SQL(
            "SELECT vehicle, occurred_at FROM ({}) AS t WHERE occurred_at >= %s AND occurred_at < %s"
            " ORDER BY occurred_at"
        )
        found: dict[str, list[int]] = {}
        for vehicle, at in self._connection.execute(
            query.format(self._sql(self.method.out_of_service_sql)), [begin, end]
        ):
            found.setdefault(vehicle, []).append(_ms(at))
        return found

    @staticmethod
    def _sql(text: str) -> sql.SQL:
        # content of the repository, as sql/metrics is; a percent sign in it is no placeholder
        return sql.SQL(text.replace("%", "%%"))


@contextmanager
def replica_trips(settings: Settings, method: Method) -> Iterator[ReplicaTrips]:
    """Look at the replica in one snapshot. Raises `Transient`, `Terminal`, or `Stop` when it is none."""
    configured = settings.source(method.source)
    if configured.url.scheme not in _SCHEMES:
        raise Terminal(f"source {method.source}: suspects are read from Postgres only; name another in sql/fleet")
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
            yield ReplicaTrips(method, watermark.at, connection)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)

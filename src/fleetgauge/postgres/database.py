"""One database of the settings: the only way to connect to it, and whoever says what its errors mean."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import psycopg

from fleetgauge.addresses import POSTGRES, DatabaseUrl, hidden
from fleetgauge.errors import FleetgaugeError, Stop, Terminal
from fleetgauge.postgres.postgres_errors import not_a_standby, translate
from fleetgauge.postgres.postgres_in_time import PATIENCE_S, PROBE_S, AnswersInTime
from fleetgauge.settings import MetricsSettings, SourceSettings

Row = tuple[Any, ...]
_C = TypeVar("_C", bound=AnswersInTime)

APPLICATION = "fleetgauge"
"""How each application name begins; what follows says which part it is."""

NETWORK: Mapping[str, str] = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""How long a silent network is waited for, in libpq's words (seconds, the last in milliseconds). An address may say
otherwise. How long a *statement* may take is said by whoever runs it; see also `postgres_in_time`."""

FORMATS: Mapping[str, str] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
}
"""How values become texts, and texts in SQL values. A server, a database or a login may have other defaults: a driver
reads no other dates, and a value with fewer digits would be another label, and another number."""


@dataclass(frozen=True)
class Database:
    """One database, as messages call it, with the key of the settings that holds its address."""

    name: str
    key: str
    url: DatabaseUrl = field(repr=False)
    remedy: str
    """What to do when it lacks a table or a column that is asked for."""
    within_s: float | None = None
    """How long any answer may take, in seconds; None: as its session says, or as long as the server is at work."""

    def connect(
        self, part: str, *, session: Mapping[str, str] | None = None, **options: Any
    ) -> psycopg.Connection[Row]:
        """`connect_as` of the usual kind of connection."""
        return self.connect_as(AnswersInTime, part, session=session, **options)

    def connect_as(self, kind: type[_C], part: str, *, session: Mapping[str, str] | None = None, **options: Any) -> _C:
        """A session in autocommit; blocks. Whoever opens it closes it. Raises what `translate` says.

        `part` names the session for `pg_stat_activity`. `session`: server settings of the whole session; given, even
        empty, it also sets `FORMATS`. `options` are psycopg's and libpq's own and go before the address's.
        """
        if self.url.postgres is None:
            raise Terminal(f"{self.key}: its scheme is not one of {', '.join(POSTGRES)}; correct it")
        name = f"{APPLICATION}-{part}" if part else APPLICATION
        own = {"application_name": name, "autocommit": True, "client_encoding": "UTF8"}
        arguments = {**NETWORK, **self.url.postgres.keywords, **own, **options}
        try:
            connection = kind.connect(**arguments)
        except psycopg.Error as error:
            raise self.translate(error) from None  # the driver's own text may hold what ours may not
        connection.within_s = _limit_s(session) or self.within_s
        connection.another = partial(_another, arguments)
        connection.prepare_threshold = None  # poolers cannot follow prepared statements
        if session is not None:
            try:
                _set(connection, session)
            except BaseException as error:
                connection.close()
                if isinstance(error, psycopg.Error):
                    raise self.translate(error) from error
                raise
        return connection

    def started_with(self, values: Mapping[str, str]) -> str:
        """Libpq's `options` that start a session with these server settings, beside those of the address.

        Unlike what a statement sets, they are in no log and no statistics of a server. Values of letters and digits.
        """
        own = self.url.postgres.keywords.get("options", "") if self.url.postgres is not None else ""
        return " ".join([own, *(f"-c {name}={value}" for name, value in values.items())]).strip()

    @contextmanager
    def session(self, part: str, **options: str) -> Iterator[psycopg.Connection[Row]]:
        """`connect` for a block, in UTC, with the server settings `options`; errors inside come out translated."""
        with closing(self.connect(part, session=options)) as connection, self.translated():
            yield connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """A driver's errors inside come out as ours."""
        try:
            yield
        except psycopg.Error as error:
            raise self.translate(error) from error

    def translate(self, error: psycopg.Error, remedy: str | None = None) -> FleetgaugeError:
        """The error as `Transient`, `Terminal` or `Stop`; see `postgres_errors`."""
        found = translate(error, self.name, self.key, remedy or self.remedy)
        secrets = self.url.postgres.secrets if self.url.postgres is not None else ()
        return type(found)(hidden(str(found), secrets))

    def is_primary(self) -> FleetgaugeError:
        """What to raise when a standby was asked for and this is none."""
        return not_a_standby(self.name, self.key)


def metrics(settings: MetricsSettings) -> Database:
    """The metrics database by the pipeline's login."""
    return Database("the metrics database", "metrics.url", settings.url, "run fleetgauge migrate")


def owner(settings: MetricsSettings) -> Database:
    """The metrics database by the login that owns it. Raises `Terminal` if none is set."""
    if settings.owner_url is None:
        raise Terminal(
            "metrics.owner_url is not set; give fleetgauge migrate a login that may create schemas and roles "
            "(FLEETGAUGE_METRICS__OWNER_URL)"
        )
    return Database("the metrics database", "metrics.owner_url", settings.owner_url, "run fleetgauge migrate")


def source(name: str, settings: SourceSettings, *, itself: bool = False) -> Database:
    """A source of that name; `itself`: it is the metrics database."""
    return Database(
        f"source {name}",
        "metrics.url" if itself else f"sources.{name}.url",
        settings.url,
        "correct source.sql or the definition to what the database has now",
        settings.statement_timeout_s + PATIENCE_S if settings.statement_timeout_s > 0 else None,
    )


def only_row(cursor: psycopg.Cursor[Row]) -> Row:
    """The row of a query that always gives one. Raises `Stop` if there is none."""
    row = cursor.fetchone()
    if row is None:
        raise Stop("a database gave no row where there is always one; is it still the same server?")
    return row


def _set(connection: psycopg.Connection[Row], session: Mapping[str, str]) -> None:
    values = {**FORMATS, **session}
    connection.execute(
        f"SELECT {', '.join(['set_config(%s, %s, false)'] * len(values))}",
        [part for pair in values.items() for part in pair],
    )


def _limit_s(session: Mapping[str, str] | None) -> float | None:
    """How long an answer may take where the session limits its statements."""
    found = re.fullmatch(r"([1-9]\d*)s", (session or {}).get("statement_timeout", ""))
    return None if found is None else float(found[1]) + PATIENCE_S


def _another(arguments: Mapping[str, Any], at: psycopg.ConnectionInfo) -> AnswersInTime:
    of_server = {"host": at.host, "port": at.port, "connect_timeout": f"{PROBE_S:.0f}", "target_session_attrs": "any"}
    if at.hostaddr:
        of_server["hostaddr"] = at.hostaddr
    other = AnswersInTime.connect(**{**arguments, **of_server})
    other.within_s = PROBE_S
    return other

"""Where facts are read: a read replica, guarded in every transaction, or the metrics database itself."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg import sql

from fleetgauge.errors import FleetgaugeError, Stop, Terminal, Transient
from fleetgauge.progress.heartbeat import Horizon, of_sessions, of_snapshot
from fleetgauge.rollup.definition import COMMANDS
from fleetgauge.settings import Settings, SourceSettings

APPLICATION = "fleetgauge-rollup"
"""Application name on the sources; the writing side has it as a prefix."""

LOCK_TIMEOUT_S = 5.0

Row = tuple[Any, ...]


class Conflict(Transient):
    """The source broke off: time-out, conflict with recovery, lost connection. A smaller piece may get through."""


@dataclass
class Snapshot:
    """One read-only transaction on a source. `horizon` is None while the source has no heartbeat row yet."""

    connection: psycopg.Connection[Row]
    horizon: Horizon | None

    def fetch(self, query: sql.Composed) -> list[Row]:
        """All rows; blocks up to the statement time-out."""
        return self.connection.execute(query).fetchall()


class Source(Protocol):
    """A port, so that a test may break a connection between any two statements."""

    name: str
    seconds: float
    """Time spent in transactions on the source so far."""

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a guarded transaction; blocks. Raises `Stop` on a primary, `Conflict` when it breaks off."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class PostgresSource:
    """A Postgres database. One connection, opened when first needed and again after a failure; not thread-safe."""

    def __init__(self, name: str, settings: SourceSettings, *, itself: bool = False) -> None:
        self.name = name
        self.seconds = 0.0
        self._settings = settings
        self._itself = itself  # the metrics database: written and read in one place, so no standby is asked for
        self._connection: psycopg.Connection[Row] | None = None

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """See `Source`."""
        began = time.perf_counter()
        try:
            with self._translated():
                connection = self._connected()
                horizon = of_sessions(connection, APPLICATION) if self._itself else None
                with connection.transaction():
                    self._guard(connection)
                    if not self._itself:
                        horizon = of_snapshot(connection, self.name, self._settings.max_transaction_age_s)
                    yield Snapshot(connection, horizon)
        except BaseException:
            self.close()
            raise
        finally:
            self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """See `Source`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None or self._connection.closed:
            anything = self._itself or self._settings.allow_primary
            connection = self._connect(
                application_name=APPLICATION,
                connect_timeout=10,
                target_session_attrs="any" if anything else "standby",
            )
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.prepare_threshold = None
            self._connection = connection
        return self._connection

    def _connect(self, **options: Any) -> psycopg.Connection[Row]:
        return psycopg.connect(self._settings.url.get_secret_value(), autocommit=True, **options)

    def _guard(self, connection: psycopg.Connection[Row]) -> None:
        """First statement of every transaction: a replica may have been promoted since the last one."""
        row = connection.execute(
            "SELECT pg_is_in_recovery(),"
            " set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),"
            " set_config('TimeZone', 'UTC', true), set_config('jit', 'off', true)",
            [f"{self._settings.statement_timeout_s * 1000:.0f}ms", f"{LOCK_TIMEOUT_S * 1000:.0f}ms"],
        ).fetchone()
        if not (row and row[0]) and not self._settings.allow_primary and not self._itself:
            raise self._is_primary()

    def _is_primary(self) -> Stop:
        return Stop(
            f"source {self.name} is not a standby: it is a primary, or has been promoted; point "
            f"sources.{self.name}.url at a read replica (or, knowing what that means, set allow_primary)"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FleetgaugeError:
            raise
        except psycopg.Error as error:
            text = str(error)
            if error.sqlstate is None and ("not in hot standby mode" in text or "is not a standby" in text):
                raise self._is_primary() from None
            raise translate(error, f"source {self.name}", f"sources.{self.name}") from error


def open_source(settings: Settings, name: str) -> PostgresSource:
    """The source that a definition names. Raises `Terminal` for one that is not configured; does not connect."""
    if name == COMMANDS:
        return PostgresSource(name, SourceSettings(url=settings.metrics.url), itself=True)
    return PostgresSource(name, settings.source(name))


_REFUSED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|role .* (does not exist|is not permitted)|permission denied"
)
_ABSENT = re.compile(r"database .* does not exist|invalid connection option|could not translate host name")


def translate(
    error: psycopg.Error,
    what: str,
    setting: str,
    remedy: str = "correct source.sql or the definition to what the database has now",
) -> FleetgaugeError:
    """A database's error as one of ours: by the class of its SQLSTATE, or by its text where it has none."""
    said = (error.diag.message_primary or str(error)).strip().splitlines()[0]
    state = error.sqlstate or ""
    if state == "42501":
        return Stop(f"{what}: {said}; grant it to the login of {setting}, or name another login")
    if state in ("28000", "28P01") or (not state and _REFUSED.search(said)):
        return Stop(f"{what} refused the login: {said}; correct {setting}.url")
    if state == "3D000" or (not state and _ABSENT.search(said)):
        return Terminal(f"{what} cannot be reached as configured: {said}; correct {setting}.url")
    if state[:2] in ("42", "3F"):
        return Terminal(f"{what}: {said}; {remedy}")
    if state[:2] in ("22", "23", "21"):
        return Terminal(f"{what}: {said}; change source.sql so that every row can be counted")
    if state[:2] in ("08", "40", "53", "55", "57", "58") or isinstance(error, psycopg.OperationalError):
        return Conflict(f"{what} broke off: {said}; check that it runs (a pass tries again, in smaller pieces)")
    return Stop(f"{what} gave an answer that is not understood: {said} ({state or type(error).__name__})")

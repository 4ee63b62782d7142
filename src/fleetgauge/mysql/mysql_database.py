"""One MariaDB or MySQL of the settings: the only way to connect to it, and whoever says what its errors mean."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import FIELD_TYPE, FLAG

from fleetgauge.addresses import MYSQL, MysqlAddress, hidden
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.mysql.mysql_errors import mysql_error
from fleetgauge.mysql.mysql_in_time import Limit, dial, encrypted
from fleetgauge.settings import SourceSettings

Row = tuple[Any, ...]

MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY"
"""Whatever the server's own mode: texts in quotes of either kind, backslashes escape, no value picked at random."""
LOCK_TIMEOUT_S = 5
_CONNECT_TIMEOUT_S = 10.0
"""For the connection, and for each answer until we are in."""
_PATIENCE_S = 10
"""How much longer than a statement may take an answer is waited for."""
_SORTED_BYTES = 8_388_608
"""Of a text; the server's own 1,024 would let texts that begin alike fall apart."""
_JOINED_BYTES = 64 * 1024 * 1024
"""Of a GROUP_CONCAT in source.sql, which is otherwise cut without a word."""

_INTEGERS = {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.YEAR}
_NAMED = {
    FIELD_TYPE.DECIMAL: "decimal",
    FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.FLOAT: "double",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.GEOMETRY: "geometry",
    FIELD_TYPE.JSON: "text",
}
_BINARY = 63
"""The character set of what is no text."""


@dataclass(frozen=True)
class MysqlDatabase:
    """One database, as messages call it, with the key of the settings that holds its address."""

    name: str
    key: str
    address: MysqlAddress
    remedy: str
    """What to do when it lacks a table or a column that is asked for."""

    def connect(self, statement_timeout_s: float) -> "MysqlSession":
        """A session in UTC that only reads; blocks. Whoever opens it closes it. Raises what `translate` says."""
        at = self.address
        limit = Limit(_CONNECT_TIMEOUT_S)
        off = at.ssl_mode == "disabled"
        options: dict[str, Any] = {"ssl_disabled": True} if off else {"ssl": encrypted(self._trust(), limit)}
        try:
            driver = pymysql.connect(
                host=at.host,
                port=at.port,
                user=at.user,
                password=at.password,
                database=at.database,
                charset="utf8mb4",
                collation="utf8mb4_bin",
                sql_mode=MODE,
                autocommit=True,
                write_timeout=_PATIENCE_S,
                program_name="fleetgauge",
                read_default_file=None,
                local_infile=False,
                defer_connect=True,
                **options,
            )
            driver.connect(dial(at.host, at.port, limit))
        except pymysql.Error as error:
            raise self.translate(error) from None  # the driver's own text may hold what ours may not
        except (RuntimeError, ValueError) as error:
            raise Terminal(f"{self.name}: {hidden(str(error), at.secrets)}; correct {self.key}") from None
        limit.seconds = statement_timeout_s + _PATIENCE_S
        try:
            session = MysqlSession(driver)
            session.prepare(statement_timeout_s)
        except BaseException as error:
            driver.close()
            if isinstance(error, pymysql.Error):
                raise self.translate(error) from error
            raise
        return session

    def _trust(self) -> ssl.SSLContext:
        at = self.address
        try:
            context = ssl.create_default_context(cafile=at.ssl_ca)
            if at.ssl_cert is not None:
                context.load_cert_chain(at.ssl_cert, at.ssl_key)
        except OSError as error:
            said = f"a file of its certificates cannot be read ({error.strerror or type(error).__name__})"
            raise Terminal(f"{self.name}: {said}; correct ssl_ca, ssl_cert and ssl_key in {self.key}") from None
        context.check_hostname = at.ssl_mode == "verify_identity"
        return context

    @contextmanager
    def opened(self, statement_timeout_s: float) -> Iterator["MysqlSession"]:
        """`connect` for a block; errors inside come out translated."""
        with closing(self.connect(statement_timeout_s)) as session, self.translated():
            yield session

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The driver's errors inside come out as ours."""
        try:
            yield
        except pymysql.Error as error:
            raise self.translate(error) from error

    def translate(self, error: pymysql.Error) -> FleetgaugeError:
        """The error as `Transient`, `Terminal` or `Stop`; see `mysql_errors`."""
        found = mysql_error(error, self.name, self.key, self.remedy)
        return type(found)(hidden(str(found), self.address.secrets))


class MysqlSession:
    """One connection. Not thread-safe; every method blocks and raises the driver's errors."""

    def __init__(self, driver: "pymysql.Connection[pymysql.cursors.Cursor]") -> None:
        self._driver = driver
        ((version,),) = self.rows("SELECT VERSION()")
        self.is_mariadb = "mariadb" in str(version).lower()

    def prepare(self, statement_timeout_s: float) -> None:
        """Whatever the server's defaults are: UTC, one snapshot for a transaction, an end for every statement."""
        limit = (
            f"max_statement_time = {statement_timeout_s:.3f}"
            if self.is_mariadb
            else f"max_execution_time = {statement_timeout_s * 1000:.0f}"
        )
        self.rows(
            f"SET SESSION time_zone = '+00:00', {limit}, lock_wait_timeout = {LOCK_TIMEOUT_S},"
            f" innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}, sql_auto_is_null = 0, sql_select_limit = DEFAULT,"
            f" max_sort_length = {_SORTED_BYTES}, group_concat_max_len = {_JOINED_BYTES}"
        )
        self.rows("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A transaction that only reads, and sees one instant from its first statement on."""
        self.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            yield
        finally:
            with suppress(pymysql.Error):  # it ends with its connection too
                self.rows("ROLLBACK")

    def rows(self, query: str) -> list[Row]:
        """The answer to one statement, in which nothing is filled in."""
        with self._driver.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def named_rows(self, query: str) -> list[Mapping[str, Any]]:
        """The same by the names of columns, for what the server tells of itself."""
        with self._driver.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def columns(self, query: str) -> list[tuple[str, str]]:
        """Name and kind of the columns of an answer.

        Kinds: integer, decimal, double, text, binary, bit, geometry, date, time, timestamp (which is an instant),
        datetime (which is none).
        """
        with self._driver.cursor() as cursor:
            cursor.execute(query)
            result: Any = vars(cursor)["_result"]  # what PEP 249's description leaves out: the character set
            return [(one.name, _kind(one)) for one in result.fields]

    def close(self) -> None:
        """Give the connection back."""
        with suppress(pymysql.Error):
            self._driver.close()


def _kind(one: Any) -> str:
    if one.type_code in _INTEGERS:
        return "integer"
    if one.type_code in _NAMED:
        return _NAMED[one.type_code]
    listed = one.flags & (FLAG.ENUM | FLAG.SET)
    return "binary" if one.charsetnr == _BINARY and not listed else "text"


def mysql_source(name: str, settings: SourceSettings) -> MysqlDatabase:
    """A source of that name. Raises `Terminal` for an address of another kind of server."""
    key = f"sources.{name}.url"
    if settings.url.mysql is None:
        raise Terminal(f"{key}: its scheme is not one of {', '.join(MYSQL)}; correct it")
    return MysqlDatabase(
        f"source {name}", key, settings.url.mysql, "correct source.sql or the definition to what the database has now"
    )

"""Addresses, constants and errors of MariaDB and MySQL: parsed once, escaped, read by number, without a secret."""

import socket
import ssl
from datetime import UTC, datetime, timedelta, timezone

import pymysql
import pytest

from fleetgauge.addresses import DatabaseUrl
from fleetgauge.errors import Conflict, FleetgaugeError, Stop, Terminal
from fleetgauge.mysql import literal, mysql_source, quoted
from fleetgauge.mysql.replica_guard import Replication
from fleetgauge.settings import SourceSettings

SECRET = "tops3cret"


def test_an_address_is_parsed_once() -> None:
    at = DatabaseUrl(f"mariadb://reader:{SECRET}%40%2F@db.example:3307/shop?ssl_mode=verify_ca&ssl_ca=/ca.pem").mysql
    assert at is not None
    assert (at.host, at.port, at.user, at.password, at.database) == (
        "db.example",
        3307,
        "reader",
        f"{SECRET}@/",
        "shop",
    )
    assert (at.ssl_mode, at.ssl_ca) == ("verify_ca", "/ca.pem")
    assert SECRET not in f"{at!r} {at}"
    plain = DatabaseUrl("mysql://reader@h/shop").mysql
    assert plain is not None
    assert (plain.port, plain.ssl_mode) == (3306, "verify_identity")
    assert DatabaseUrl("postgresql://h/d").mysql is None


@pytest.mark.parametrize(
    "bad",
    [
        f"mariadb:u:{SECRET}@h/d", f"mariadb://u:{SECRET}@h", f"mariadb://u:{SECRET}@/d", f"mariadb://:{SECRET}@h/d",
        f"mariadb://u:{SECRET}@h,i/d", f"mariadb://u:{SECRET}@h:0/d", f"mariadb://u:{SECRET}@h:x/d",
        f"mariadb://u:{SECRET}%@h/d", f"mariadb://u:x@{SECRET}@h/d", f"mariadb://u:p@h/d?password={SECRET}",
        f"mariadb://u:{SECRET}@h/d?ssl_mode=preferred", f"mariadb://u:{SECRET}@h/d?ssl_mode",
    ],
)  # fmt: skip
def test_a_bad_address_is_refused_without_its_text(bad: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as told:
        DatabaseUrl(bad)
    assert SECRET not in str(told.value)


def test_constants_and_names_are_escaped() -> None:
    assert quoted("a`b") == "`a``b`"
    assert literal("it's \\ 100 %") == r"'it\'s \\ 100 %'"
    assert (literal(True), literal(7), literal(0.5), literal(1e300)) == ("TRUE", "7", "0.5e0", "1e+300")
    at = datetime(2026, 11, 21, 14, 0, tzinfo=timezone(timedelta(hours=9)))
    assert literal(at) == "TIMESTAMP'2026-11-21 05:00:00.000000'"
    assert literal(at.astimezone(UTC)) == literal(at)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (pymysql.OperationalError(1045, f"Access denied for user 'u' ({SECRET})"), Stop),
        (pymysql.OperationalError(1142, "SELECT command denied"), Stop),
        (pymysql.OperationalError(2026, "SSL is required but the server doesn't support it"), Stop),
        (pymysql.OperationalError(1049, "Unknown database"), Terminal),
        (pymysql.ProgrammingError(1146, "Table 'shop.x' doesn't exist"), Terminal),
        (pymysql.DataError(1365, "Division by 0"), Terminal),
        (pymysql.OperationalError(1792, "Cannot execute statement in a READ ONLY transaction"), Terminal),
        (pymysql.OperationalError(2013, "Lost connection"), Conflict),
        (pymysql.OperationalError(1969, "max_statement_time exceeded"), Conflict),
        (pymysql.OperationalError(1412, "Table definition has changed"), Conflict),
        (pymysql.InterfaceError(0, ""), Conflict),
        (pymysql.InternalError(9999, "what is this"), Stop),
    ],
)
def test_an_error_is_read_by_its_number(error: pymysql.Error, kind: type[FleetgaugeError]) -> None:
    settings = SourceSettings(url=DatabaseUrl(f"mysql://u:{SECRET}@h/shop"))
    found = mysql_source("shop", settings).translate(error)
    assert type(found) is kind
    assert "source shop" in str(found)
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ssl.SSLCertVerificationError("self-signed certificate"), Stop),
        (socket.gaierror("Name or service not known"), Terminal),
        (ConnectionRefusedError("refused"), Conflict),
    ],
)
def test_what_prevents_a_connection_is_told_apart(cause: Exception, kind: type[FleetgaugeError]) -> None:
    error = pymysql.OperationalError(2003, "Can't connect to MySQL server on 'h'")
    error.original_exception = cause  # type: ignore[attr-defined]
    settings = SourceSettings(url=DatabaseUrl("mysql://u@h/shop"))
    assert type(mysql_source("shop", settings).translate(error)) is kind


def test_a_replica_is_read_only_and_replicates() -> None:
    assert Replication(True, ({"Slave_IO_Running": "No"},)).is_no_replica is None
    assert "read_only is off" in (Replication(False, ({},)).is_no_replica or "")
    assert "replicates from no server" in (Replication(True, ()).is_no_replica or "")

"""What an error of MariaDB or MySQL means: by its number, as both have most of them in common."""

import socket
import ssl

import pymysql

from fleetgauge.errors import Conflict, FleetgaugeError, Stop, Terminal

_REFUSED = {1044, 1045, 1130, 1251, 1275, 1524, 1698, 1820, 1862, 3118, 3955, 4151}
"""Login unknown, locked, expired, or by a method that the server or we do not have."""
_NO_RIGHT = {1142, 1143, 1227, 1345, 1370, 1729}
_ABSENT = {1049}
_UNTRUSTED = {2026}
_WRONG = {
    *(1052, 1054, 1055, 1056, 1060, 1064, 1066, 1109, 1111, 1115, 1128, 1140, 1146, 1149, 1221, 1222, 1241),
    *(1248, 1253, 1267, 1271, 1305, 1318, 1356, 1582, 1630, 4078),
}
"""Tables, columns, functions and syntax that this database does not have."""
_VALUES = {1242, 1264, 1292, 1365, 1366, 1367, 1406, 1411, 1416, 1441, 1690, 3064, 3140, 3141, 4038}
_WRITES = {1290, 1792, 1836}
_BROKE_OFF = {
    *(1020, 1021, 1037, 1038, 1040, 1041, 1053, 1077, 1078, 1079, 1080, 1105, 1135, 1152, 1153, 1158, 1159, 1160),
    *(1161, 1184, 1203, 1205, 1206, 1213, 1226, 1317, 1412, 1613, 1614, 1637, 1927, 1969, 2002, 2003, 2006, 2012),
    *(2013, 2014, 2027, 2055, 3024, 3032, 3168, 4031),
}
"""Time-outs, lost connections, a server that stops or is full, a table that was altered since the snapshot."""


def not_a_replica(what: str, key: str, why: str) -> Stop:
    """The error of a source that would burden production."""
    return Stop(
        f"{what} is no read replica: {why}; point {key} at one (or, knowing what that means, set allow_primary)"
    )


def mysql_error(error: pymysql.Error, what: str, key: str, remedy: str) -> FleetgaugeError:
    """The one reading of an error, as `postgres_errors.translate`.

    `key` is the setting that holds the address; `remedy`: what to do when a table or column is missing.
    """
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = " ".join(str(error.args[-1] if error.args else type(error).__name__).split())
    cause = getattr(error, "original_exception", None) or error.__cause__
    if number in _REFUSED:
        return Stop(f"{what} refused the login: {said}; correct {key}")
    if number in _UNTRUSTED or isinstance(cause, ssl.SSLError | ssl.CertificateError):
        return Stop(f"{what} is not trusted as {key} has it: {said}; correct its ssl_mode, ssl_ca, ssl_cert, ssl_key")
    if number in _NO_RIGHT:
        return Stop(f"{what}: {said}; grant it to the login of {key}, or name another login")
    if number in _ABSENT or isinstance(cause, socket.gaierror):
        return Terminal(f"{what} cannot be reached as configured: {said}; correct {key}")
    if number in _WRONG:
        return Terminal(f"{what}: {said}; {remedy}")
    if number in _VALUES:
        return Terminal(f"{what}: {said}; change source.sql so that every row can be counted")
    if number in _WRITES:
        return Terminal(f"{what}: {said}; source.sql must only read")
    if number in _BROKE_OFF or isinstance(cause, OSError):
        return Conflict(f"{what} broke off: {said}; check that it runs (a run tries again, in smaller pieces)")
    if number == 0 and isinstance(error, pymysql.InterfaceError | pymysql.OperationalError):
        return Conflict(f"{what} broke off: {said}; check that it runs (a run tries again, in smaller pieces)")
    return Stop(f"{what} gave an answer that is not understood: {said} ({number or type(error).__name__})")

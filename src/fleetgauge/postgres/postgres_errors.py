"""What an error of Postgres means, for sources and the metrics database alike."""

import re

import psycopg

from fleetgauge.errors import Conflict, FleetgaugeError, Stop, Terminal

_REFUSED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|role .* (does not exist|is not permitted)|permission denied"
    r"|no password supplied"
)
_ABSENT = re.compile(r"database .* does not exist|invalid connection option|could not translate host name")
_UNTRUSTED = re.compile(
    r"certificate verify failed|does not match host name|does not support SSL|root certificate file"
    r"|(certificate|private key) file|could not (read|load) .*(certificate|key)"
)
_PRIMARY = re.compile(r"not in hot standby mode|is not a standby")
_INVALID = re.compile(r"invalid [\w-]+ value|invalid port number|invalid integer value")
_FOREIGN = re.compile(
    r"expected authentication request from server|invalid response to SSL negotiation|unsupported frontend protocol"
)


def not_a_standby(what: str, key: str) -> Stop:
    """The error of a source that would burden production."""
    return Stop(
        f"{what} is not a standby: it is a primary, or has been promoted; point {key} at a read replica (or, knowing "
        "what that means, set allow_primary)"
    )


def translate(error: psycopg.Error, what: str, key: str, remedy: str) -> FleetgaugeError:
    """The one reading of an error: by the class of its SQLSTATE, or by its text where it has none.

    Refused credentials and rights are `Stop`, as everywhere; what breaks off and may come again is `Conflict`. `key` is
    the setting that holds the address; `remedy`: what to do when a table or column is missing.
    """
    said = (error.diag.message_primary or str(error) or type(error).__name__).strip().splitlines()[0]
    state = error.sqlstate or ""
    if not state and _PRIMARY.search(said):
        return not_a_standby(what, key)
    if state == "42501":
        return Stop(f"{what}: {said}; grant it to the login of {key}, or name another login")
    if state in ("28000", "28P01") or (not state and _REFUSED.search(said)):
        return Stop(f"{what} refused the login: {said}; correct {key}")
    if not state and _UNTRUSTED.search(said):
        return Stop(f"{what} is not trusted as {key} has it: {said}; correct its sslmode, sslrootcert, sslcert, sslkey")
    if not state and (invalid := _INVALID.search(said)):
        option = invalid[0]  # what follows is the value
        return Terminal(f"{what} cannot be reached as configured: {option} in {key}; correct it")
    if state == "3D000" or (not state and _ABSENT.search(said)):
        return Terminal(f"{what} cannot be reached as configured: {said}; correct {key}")
    if not state and _FOREIGN.search(said):
        return Terminal(f"{what}: what answers does not speak Postgres's protocol; correct host and port in {key}")
    if state == "25006":
        return Terminal(f"{what} is read-only, so it is a standby or meant to be kept: {said}; correct {key}")
    if state[:2] in ("42", "3F"):
        return Terminal(f"{what}: {said}; {remedy}")
    if state == "22021":
        return Terminal(
            f"{what}: {said}, for a database of encoding SQL_ASCII takes any bytes; correct the rows, or write "
            "encode(convert_to(column, 'SQL_ASCII'), 'escape') AS column in source.sql"
        )
    if state[:2] in ("22", "23", "21"):
        return Terminal(f"{what}: {said}; change source.sql so that every row can be counted")
    if state[:2] in ("08", "40", "53", "55", "57", "58") or isinstance(error, psycopg.OperationalError):
        return Conflict(f"{what} broke off: {said}; check that it runs (a run tries again, in smaller pieces)")
    return Stop(f"{what} gave an answer that is not understood: {said} ({state or type(error).__name__})")

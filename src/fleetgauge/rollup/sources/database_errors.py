"""A database's errors as ours, for sources and the metrics database alike."""

import re

import psycopg

from fleetgauge.errors import FleetgaugeError, Stop, Terminal
from fleetgauge.rollup.sources.port import Conflict

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

"""Every error that fleetgauge raises on purpose.

Retrying is a type test, never a list of codes: `Transient` may succeed if tried again, `Terminal` never will,
`Stop` means that going on could lose or falsify data, so the process must end and say why.
A message names the thing, the cause and the fix, in one sentence, and never holds a secret.
"""

from typing import TypeVar

_T = TypeVar("_T")


class FleetgaugeError(Exception):
    """Root of all errors; the CLI prints it as one line and exits with `exit_code`."""

    exit_code = 1


class Transient(FleetgaugeError):
    """The same call may succeed later: a lost connection, a time-out, a busy server."""

    exit_code = 75  # EX_TEMPFAIL


class Conflict(Transient):
    """The server broke off: time-out, conflict, lost connection. The same in smaller pieces may get through."""


class Terminal(FleetgaugeError):
    """The same call will fail again until somebody changes something: bad configuration, a bad definition."""

    exit_code = 78  # EX_CONFIG


class Stop(FleetgaugeError):
    """Going on could lose or falsify data (refused credentials, an unknown answer): commit nothing, end the process."""

    exit_code = 70  # EX_SOFTWARE


def sure(value: _T | None, what: str) -> _T:
    """The value, which an earlier check has made sure of; `what` names it. Raises `Stop` if that check is missing."""
    if value is None:
        raise Stop(f"{what} is missing although an earlier check asked for it; this is a defect, report it")
    return value

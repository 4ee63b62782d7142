"""The fleet's health as the metrics have it: suspects, what vehicles were doing, and what mechanics found."""

from dataclasses import dataclass
from datetime import date, datetime

from fleetgauge.postgres import Connection, only_row
from fleetgauge.reports.report_range import ReportRange
from fleetgauge.rollup.labels import NOT_SET

SHOWN = 20


@dataclass(frozen=True)
class SuspectLine:
    """A vehicle that may stop while somebody rides it, as `fleetgauge fleet suspects` lists it."""

    vehicle: str
    score: float
    probability: float
    last: date
    because: str
    """The weightiest of its reasons."""


@dataclass(frozen=True)
class Precision:
    """Of the repairs of one month, how often a suspect had a fault."""

    month: date
    repaired: int
    suspects: int
    found: int
    missed: int


@dataclass(frozen=True)
class StateShare:
    """How many vehicles were in a state, on average over the range."""

    vehicle_state: str
    vehicles: float
    vehicles_before: float | None


@dataclass(frozen=True)
class SilentVehicle:
    """A vehicle that has been quiet for three times its own period, and for an hour at least."""

    vehicle: str
    heard: date
    """The day of its last report, by its own clock."""
    quiet_hours: float
    """From then to the end of the day."""
    usual_hours: float
    """For which it is usually quiet: its own period."""
    usual_reports: float
    """Of its day, before."""


@dataclass(frozen=True)
class FleetReport:
    """Everything about vehicles."""

    as_of: date | None
    """The last day up to the range's end on which a vehicle stood for long and was looked at; None if there is none."""
    suspects: tuple[SuspectLine, ...]
    suspects_in_all: int
    precision: tuple[Precision, ...]
    states: tuple[StateShare, ...]
    silent: tuple[SilentVehicle, ...]
    """The longest silent first."""
    silent_in_all: int
    silent_on: date | None
    """The day at whose end they were silent: the last final one of the range; None if there is none."""
    silence: str
    """Why there is no list of silent vehicles; empty if there is one."""


_SUSPECTS = "SELECT vehicle, score, probability, last_stop, because FROM metrics.suspects(%s)"
_SILENT = """
SELECT device, (heard_at AT TIME ZONE %(zone)s)::date, (quiet_s / 3600.0)::float8, (period_s / 3600.0)::float8,
    usual_reports::float8
FROM metrics.device_silence_day
WHERE date = %(on)s AND silent ORDER BY quiet_s DESC, usual_reports DESC, device
"""
_STATES = """
SELECT vehicle_state, sum(seconds)::float8 / extract(epoch FROM %(until)s - %(since)s)::float8
FROM metrics.vehicle_state_range(%(since)s, %(until)s) GROUP BY 1
HAVING sum(seconds) > 0 ORDER BY 2 DESC, 1
"""


def fleet_report(connection: Connection, over: ReportRange, *, states: bool, covered: bool) -> FleetReport:
    """Reads the findings; `states`: there is a metric of vehicle states, `covered`: also for the period before."""
    on = only_row(
        connection.execute(
            "SELECT max(date) FROM metrics.suspect_vehicle_day WHERE date <= ((%s - interval '1 second')"
            " AT TIME ZONE %s)::date",
            [over.until, over.time_zone],
        )
    )[0]
    found = [] if on is None else connection.execute(_SUSPECTS, [on]).fetchall()
    precision = connection.execute(
        "SELECT month, repaired, suspects, found, missed FROM metrics.suspect_precision ORDER BY month DESC LIMIT 6"
    )
    return FleetReport(
        on,
        tuple(SuspectLine(*row) for row in found[:SHOWN]),
        len(found),
        tuple(Precision(*row) for row in precision),
        _states(connection, over, covered=covered) if states else (),
        *silent_vehicles(connection, over),
    )


def silent_vehicles(
    connection: Connection, over: ReportRange
) -> tuple[tuple[SilentVehicle, ...], int, date | None, str]:
    """Those of the last final day of the range: the list, how many there are, the day, and why there is no list."""
    if only_row(connection.execute("SELECT to_regclass('metrics.device_silence_day')"))[0] is None:
        return (), 0, None, "there is no metrics.device_silence_day, which the metric device_report brings"
    on = only_row(
        connection.execute(
            "SELECT max(date) FROM metrics.device_silence_day WHERE NOT provisional"
            " AND date < (%(until)s AT TIME ZONE %(zone)s)::date AND window_start >= %(since)s - interval '1 day'",
            {"since": over.since, "until": over.until, "zone": over.time_zone},
        )
    )[0]
    if on is None:
        return (), 0, None, "no day of the range is final in the metric device_report, or none was before it"
    found = [SilentVehicle(*row) for row in connection.execute(_SILENT, {"on": on, "zone": over.time_zone})]
    return tuple(found[:SHOWN]), len(found), on, ""


def _states(connection: Connection, over: ReportRange, *, covered: bool) -> tuple[StateShare, ...]:
    now = _vehicles(connection, over.since, over.until)
    before = _vehicles(connection, over.before, over.since) if covered else None
    return tuple(StateShare(k, v, None if before is None else before.get(k, 0.0)) for k, v in now.items())


def _vehicles(connection: Connection, since: datetime, until: datetime) -> dict[str, float]:
    rows = connection.execute(_STATES, {"since": since, "until": until}).fetchall()
    return {NOT_SET if state is None else state: vehicles for state, vehicles in rows}

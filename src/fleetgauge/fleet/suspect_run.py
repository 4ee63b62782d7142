"""A run over days: which are judged and why is decided in `suspect_days`; here it is done. Blocks."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from fleetgauge import postgres
from fleetgauge.fleet import suspect_store
from fleetgauge.fleet.episodes import candidates, episodes
from fleetgauge.fleet.points import VehicleDay
from fleetgauge.fleet.replica_trips import ReplicaTrips, replica_trips
from fleetgauge.fleet.suspect_days import DayState, Deferred, Work, bounds, plan, reachable
from fleetgauge.fleet.suspect_method import Method
from fleetgauge.fleet.telemetry_documents import TripDocuments, batches, documents
from fleetgauge.fleet.trip_reports import Trip
from fleetgauge.settings import Settings

TRIPS_AT_ONCE = 1_000
"""The reports of so many trips are in memory at a time."""
_TAKEN_WITHIN = timedelta(days=2)
"""So long after a day it is asked whether its vehicles were taken out of service."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class DayReport:
    """What was done, or would be, about one day."""

    date: date
    state: str
    """`judged`, `would be judged`, `deferred`."""
    why: str
    trips: int = 0
    unheard: int = 0
    """Trips of which no device reported anything: not judged."""
    unreadable: int = 0
    """Documents without the types of their contract: left out."""
    vehicles: int = 0
    """With an episode."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON and logs."""
        return asdict(self)


@dataclass(frozen=True)
class _Judged:
    """Vehicles with an episode, and of how many trips anything was heard."""

    found: list[VehicleDay] = field(default_factory=list)
    heard: int = 0


def run_days(
    settings: Settings,
    method: Method,
    index: str,
    documents_until: datetime,
    days: Collection[date] | None = None,
    *,
    dry_run: bool = False,
) -> list[DayReport]:
    """Judge what is new or has changed among the last two weeks, or these days in any case.

    `documents_until`: all telemetry that was sent before this (UTC) can be found in `index`. A day that is not complete
    is deferred. Raises `Transient`, `Terminal` or `Stop`; days that were judged before stay judged.
    """
    zone = ZoneInfo(method.time_zone)
    with (
        postgres.metrics(settings.metrics).session("fleet", lock_timeout="60s") as metrics,
        replica_trips(settings, method) as replica,
        documents(settings, index) as telemetry,
    ):
        chosen = sorted(days) if days is not None else reachable(min(replica.until, documents_until), zone)
        now = {day: _state(replica, telemetry, *bounds(day, zone), method) for day in chosen}
        finished = {"trips": replica.until, "documents": documents_until}
        work = plan(chosen, zone, suspect_store.known(metrics, chosen), now, finished, asked=days is not None)
        reports = []
        for one in work:
            if isinstance(one, Deferred):
                report = DayReport(one.date, "deferred", one.why)
            elif dry_run:
                report = DayReport(one.date, "would be judged", one.why, now[one.date].trips)
            else:
                before = telemetry.unreadable
                judged = judge(replica, telemetry, *bounds(one.date, zone), method)
                unheard = now[one.date].trips - judged.heard
                suspect_store.replace(metrics, one.date, now[one.date], unheard, judged.found, method)
                report = _report(one, now[one.date], unheard, telemetry.unreadable - before, len(judged.found))
            reports.append(report)
            _log.info("suspects", **report.to_dict())
    return reports


def judge(replica: ReplicaTrips, telemetry: TripDocuments, begin: datetime, end: datetime, method: Method) -> _Judged:
    """The vehicles with an episode in a trip that began in [begin, end)."""
    trips = {trip.id: trip for trip in replica.trips(begin, end)}
    taken = replica.out_of_service(begin, end + _TAKEN_WITHIN)
    found, heard = list[VehicleDay](), 0
    for batch in batches(((trip.vehicle, trip.id) for trip in trips.values()), TRIPS_AT_ONCE):
        standing = {}
        for device, reports in telemetry.of_trips(batch):
            heard += len({report.trip_id for report in reports})
            if (one := candidates(reports, trips, method.rules)).standings:
                standing[device] = one
        spans = {device: _span([s.trip for s in one.standings], one.ahead_ms) for device, one in standing.items()}
        batteries = telemetry.batteries(spans)
        for device, one in sorted(standing.items()):
            own = taken.get(one.standings[0].trip.vehicle, [])
            found.append(VehicleDay(device, episodes(one, batteries.get(device, []), own, method.rules)))
    return _Judged(found, heard)


def _span(trips: list[Trip], ahead_ms: int) -> tuple[int, int]:
    return min(t.started_ms for t in trips) + ahead_ms, max(t.ended_ms for t in trips) + ahead_ms


def _state(replica: ReplicaTrips, telemetry: TripDocuments, begin: datetime, end: datetime, method: Method) -> DayState:
    trips, changed_at = replica.state(begin, end)
    return DayState(telemetry.count(begin, end), trips, changed_at, method.version)


def _report(work: Work, state: DayState, unheard: int, unreadable: int, vehicles: int) -> DayReport:
    return DayReport(work.date, "judged", work.why, state.trips, unheard, unreadable, vehicles)

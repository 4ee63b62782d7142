"""What the exporter tells of suspects: how many there are, how many are new, and as of when."""

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.fleet import suspect_store
from fleetgauge.postgres import Connection, only_row
from fleetgauge.settings import Settings

log = structlog.get_logger(__name__)

SUSPECTS = "fleetgauge_fleet_suspects"
NEW = "fleetgauge_fleet_suspects_new"
UNTIL = "fleetgauge_fleet_suspects_until_timestamp_seconds"
TRIPS = "fleetgauge_fleet_trips"
UNHEARD = "fleetgauge_fleet_trips_unheard"
MEANINGS = {
    SUSPECTS: "Vehicles that are suspects as of the newest day.",
    NEW: "Those of them that were none on the day before.",
    UNTIL: "When the newest day ended: what happened later is not looked at yet.",
    TRIPS: "Trips of the newest day.",
    UNHEARD: "Those of them of which no device reported anything, so that they say nothing about their vehicle.",
}
"""The names of all samples, with what they mean."""


class SuspectsCollector(Collector):
    """Reads at each scrape, by a connection of its own; scrapes may overlap."""

    def __init__(self, settings: Settings, time_zone: str) -> None:
        """`time_zone`: in which the days are."""
        self._settings = settings
        self._zone = ZoneInfo(time_zone)

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks no database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What is known now, nothing before the first day. Never raises; the exporter's own gauge tells of failures."""
        try:
            with postgres.metrics(self._settings.metrics).session("exporter", statement_timeout="10s") as connection:
                found = self._read(connection)
        except FleetgaugeError as error:
            log.warning("the metrics database did not answer a scrape", error=str(error))
            return
        for name, value in found.items():
            yield GaugeMetricFamily(name, MEANINGS[name], value=value)

    def _read(self, connection: Connection) -> dict[str, float]:
        day = suspect_store.newest(connection)
        if day is None:
            return {}
        now, before = ({one.vehicle for one in suspect_store.suspects(connection, on)} for on in (day, day - _DAY))
        trips, unheard = only_row(
            connection.execute("SELECT trips, unheard FROM fleetgauge.suspect_day WHERE date = %s", [day])
        )
        end = datetime.combine(day + _DAY, time(), self._zone)
        return {
            SUSPECTS: len(now),
            NEW: len(now - before),
            UNTIL: end.timestamp(),
            TRIPS: trips,
            UNHEARD: unheard,
        }


_DAY = timedelta(days=1)

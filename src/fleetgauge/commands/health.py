"""What is not as it should be about commands: read from the metrics database, for `doctor` and the exporter."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres import Connection, only_row
from fleetgauge.settings import Settings

Status = Literal["ok", "warn", "fail"]

_READ = """
SELECT
    (SELECT count(*) FROM fleetgauge.command_attempt WHERE conflicting),
    (SELECT count(*) FROM fleetgauge.command_event WHERE disagrees),
    (SELECT count(*) FROM fleetgauge.command_event WHERE event_id = '' AND counted),
    (SELECT coalesce(sum(reused_ids), 0)::bigint FROM fleetgauge.command_cursor),
    (SELECT coalesce(sum(unusable), 0)::bigint FROM fleetgauge.command_cursor),
    (SELECT coalesce(sum(expired), 0)::bigint FROM fleetgauge.command_cursor),
    (SELECT count(*) FROM fleetgauge.command_cursor WHERE rescan)
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Health:
    """Counts of what the tables hold, and, of the cursors, of all that ever came."""

    conflicting: int
    """Attempts whose events disagree about them or about the answer; the earliest is believed."""
    disagreeing: int
    """Events that are stored more than once, and not every copy says the same; the earliest is believed."""
    unseen: int
    """Messages that no event tells of, but an ack or an answer proves; they are counted without a size."""
    reused_ids: int
    """Events with an id that their device uses for another event too; both are counted."""
    unusable: int
    """Documents that were left out, since they are no command event."""
    expired: int
    """Events that were left out, since retention has dropped their month."""
    rescanning: int
    """Sources of which every stored document is being read again."""


_COUNTERS = ("reused_ids", "unusable", "expired")
_MEANINGS = {
    "conflicting": "Attempts whose events disagree about them, or about the answer.",
    "disagreeing": "Events stored more than once whose copies do not say the same.",
    "unseen": "Messages that no event tells of, but an ack or an answer proves. They have no price.",
    "reused_ids": "Events with an id that their device uses for another event too.",
    "unusable": "Documents left out, since they are no command event.",
    "expired": "Events left out, since retention has dropped their month.",
    "rescanning": "Sources of which every stored document is being read again.",
}
EXPORTED = tuple(f"fleetgauge_commands_{name}{'_total' if name in _COUNTERS else ''}" for name in _MEANINGS)
"""The names of all samples that the exporter has of commands."""
_REMEDIES = {
    "conflicting": "see what produces them: SELECT * FROM fleetgauge.command_attempt WHERE conflicting",
    "disagreeing": "an event that is sent again keeps its id, time and content: SELECT * FROM fleetgauge.command_event"
    " WHERE disagrees",
    "unseen": "let whoever sends commands publish `sent`, and look among the dead letters",
    "reused_ids": "an event id is unique within its device for ever; let devices number on after a reboot",
    "unusable": "contract and columns have drifted apart; the run's log names some, then fleetgauge commands rebuild",
    "expired": "keep command events longer (source_kept of the metrics over commands), or replay younger ones",
    "rescanning": "the next runs go on with it, or fleetgauge commands rebuild",
}


def read(connection: Connection) -> Health:
    """What is known now. Counts of the tables come from small indexes of their own."""
    return Health(*only_row(connection.execute(_READ)))


def findings(connection: Connection) -> Iterator[tuple[Status, str, str]]:
    """What `doctor` says: status, what is so, and what to do."""
    found = read(connection)
    told = False
    for field in fields(found):
        if count := getattr(found, field.name):
            told = True
            yield (
                "warn",
                f"{count} × {_MEANINGS[field.name][0].lower()}{_MEANINGS[field.name][1:-1]}",
                _REMEDIES[field.name],
            )
    if not told:
        yield "ok", "no event of a command disagrees with another, and none is missing", ""


class CommandsCollector(Collector):
    """Reads at each scrape, by a connection of its own; scrapes may overlap."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks no database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What is known now. Never raises: without the database there are no samples, and the exporter says so."""
        try:
            with postgres.metrics(self._settings.metrics).session("exporter", statement_timeout="10s") as connection:
                found = read(connection)
        except FleetgaugeError as error:
            log.warning("the metrics database did not answer a scrape", error=str(error))
            return
        for field in fields(found):
            name, value = f"fleetgauge_commands_{field.name}", float(getattr(found, field.name))
            if field.name in _COUNTERS:
                yield CounterMetricFamily(name, _MEANINGS[field.name], value=value)
            else:
                yield GaugeMetricFamily(name, _MEANINGS[field.name], value=value)

"""What `fleetgauge doctor` says: of the rollup, the consumers, the command events and suspects, put together."""

from collections.abc import Iterator

from fleetgauge import postgres
from fleetgauge.clock import SystemClock
from fleetgauge.command_attempts import COMMANDS_CONSUMER
from fleetgauge.commands import health
from fleetgauge.document_sources import event_streams
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.fleet import suspect_health, suspect_method
from fleetgauge.rollup import COMMANDS, read_definitions
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.operating.doctor import Finding
from fleetgauge.rollup.sketches.distinct_key import id_of
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.settings import Settings


def examine(settings: Settings) -> Iterator[Finding]:
    """Whether what rollup and ingest need is there, finding by finding. Changes nothing."""
    from fleetgauge.ingest.operate.examine import examine as examine_consumers

    found = read_definitions(settings.content, id_of(settings.rollup.distinct_key))
    for name, one in sorted(found.broken.items()):
        yield Finding(f"metric {name}", "fail", str(one), "correct it (fleetgauge lint); the others go on without it")
    streams: dict[str, EventStream] = {}
    for definition in found.valid.values():
        try:
            streams |= event_streams(settings.content, [definition])
        except Terminal as error:
            yield Finding(f"metric {definition.metric}", "fail", str(error))
    yield from doctor.examine(settings, found.valid, streams)
    for remark in examine_consumers(settings):
        yield Finding(remark.about, remark.status, remark.said, remark.remedy)
    if any(definition.source == COMMANDS for definition in found.valid.values()):
        yield from _commands(settings)
    if suspect_method.exists(settings.content):
        yield from _suspects(settings)


def for_production(settings: Settings) -> str:
    """SQL that the production DBA has to run."""
    return doctor.for_production(
        settings, read_definitions(settings.content, id_of(settings.rollup.distinct_key)).valid
    )


def _commands(settings: Settings) -> Iterator[Finding]:
    try:
        with postgres.metrics(settings.metrics).session("doctor") as connection:
            for status, said, remedy in health.findings(connection):
                yield Finding("commands", status, said, remedy)
    except FleetgaugeError as error:
        yield Finding("commands", "fail", str(error))
    about = f"documents of {COMMANDS_CONSUMER}"
    try:
        from fleetgauge.ingest.consumer import load_consumer

        for status, said, remedy in doctor.documents(
            settings, load_consumer(settings.content, COMMANDS_CONSUMER).index
        ):
            yield Finding(about, status, said, remedy)
    except FleetgaugeError as error:
        yield Finding(about, "fail", str(error))


def _suspects(settings: Settings) -> Iterator[Finding]:
    try:
        zone = suspect_method.load(settings.content).time_zone
        with postgres.metrics(settings.metrics).session("doctor") as connection:
            for status, said, remedy in suspect_health.findings(connection, zone, SystemClock().now()):
                yield Finding("suspects", status, said, remedy)
    except FleetgaugeError as error:
        yield Finding("suspects", "fail", str(error))

"""What `fleetgauge doctor` says: of the rollup, the consumers, the command events and suspects, put together."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from fleetgauge import postgres
from fleetgauge.clock import SystemClock
from fleetgauge.command_attempts import COMMANDS_CONSUMER
from fleetgauge.commands import health
from fleetgauge.document_sources import event_streams
from fleetgauge.errors import Terminal
from fleetgauge.fleet import suspect_health, suspect_method
from fleetgauge.privacy.distinct_key import id_of
from fleetgauge.rollup import COMMANDS, read_definitions
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.operating.findings import Finding, Question, together
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.settings import Settings

if TYPE_CHECKING:
    from fleetgauge.ingest.operate.examine import Remark


def examine(settings: Settings) -> Iterator[Finding]:
    """Whether what rollup and ingest need is there, finding by finding. Changes nothing."""
    from fleetgauge.ingest.operate import examine as consumers

    found = read_definitions(settings.content, id_of(settings.rollup.distinct_key))
    for name, one in sorted(found.broken.items()):
        yield Finding(f"metric {name}", "fail", str(one), "correct it (fleetgauge lint); the others go on without it")
    streams: dict[str, EventStream] = {}
    for definition in found.valid.values():
        try:
            streams |= event_streams(settings.content, [definition])
        except Terminal as error:
            yield Finding(f"metric {definition.metric}", "fail", str(error))
    asked = list(doctor.questions(settings, found.valid, streams))
    asked += [Question(about, partial(_remarks, ask)) for about, ask in consumers.questions(settings)]
    if any(definition.source == COMMANDS for definition in found.valid.values()):
        asked.append(Question("commands", partial(_commands, settings)))
        asked.append(Question(f"documents of {COMMANDS_CONSUMER}", partial(_command_documents, settings)))
    if suspect_method.exists(settings.content):
        asked.append(Question("suspects", partial(_suspects, settings)))
    yield from together(asked)


def for_production(settings: Settings) -> str:
    """SQL that the production DBA has to run."""
    return doctor.for_production(
        settings, read_definitions(settings.content, id_of(settings.rollup.distinct_key)).valid
    )


def _remarks(ask: "Callable[[], Iterable[Remark]]") -> Iterator[Finding]:
    for remark in ask():
        yield Finding(remark.about, remark.status, remark.said, remark.remedy)


def _commands(settings: Settings) -> Iterator[Finding]:
    with postgres.metrics(settings.metrics).session("doctor") as connection:
        for status, said, remedy in health.findings(connection):
            yield Finding("commands", status, said, remedy)


def _command_documents(settings: Settings) -> Iterator[Finding]:
    from fleetgauge.ingest.consumer import load_consumer

    index = load_consumer(settings.content, COMMANDS_CONSUMER).index
    for status, said, remedy in doctor.documents(settings, index):
        yield Finding(f"documents of {COMMANDS_CONSUMER}", status, said, remedy)


def _suspects(settings: Settings) -> Iterator[Finding]:
    zone = suspect_method.load(settings.content).time_zone
    with postgres.metrics(settings.metrics).session("doctor") as connection:
        for status, said, remedy in suspect_health.findings(connection, zone, SystemClock().now()):
            yield Finding("suspects", status, said, remedy)

"""What `fleetgauge doctor` says about consumers: topics, dead-letter limits. Looks, and changes nothing."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

from fleetgauge.clock import SystemClock
from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.ingest.check.lint_consumers import load_consumers
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters import topic_settings
from fleetgauge.ingest.deadletters.acceptance import limit_states
from fleetgauge.ingest.indices.event_indices import Indices
from fleetgauge.ingest.operate.field_retention import overdue
from fleetgauge.ingest.operate.launch import contracts_of
from fleetgauge.kafka.kafka_clients import administering, refuse_unserved, translated
from fleetgauge.settings import Settings

_TIMEOUT_S = 8.0


@dataclass(frozen=True)
class Remark:
    """One answer."""

    about: str
    status: Literal["ok", "warn", "fail"]
    said: str
    remedy: str = ""


def questions(settings: Settings) -> Iterator[tuple[str, Callable[[], Iterator[Remark]]]]:
    """What to ask about every consumer that is declared; each blocks, and raises where it cannot be asked."""
    consumers, _ = load_consumers(settings.content)  # lint tells of files that declare none
    for consumer in consumers.values():
        yield f"topics of {consumer.name}", partial(_topics, settings, consumer)
        yield f"dead letters of {consumer.name}", partial(_limit, settings, consumer)
        yield f"fields of {consumer.index}", partial(_fields, settings, consumer)
        yield f"index template of {consumer.index}", partial(_template, settings, consumer)


def _topics(settings: Settings, consumer: Consumer) -> Iterator[Remark]:
    about = f"topics of {consumer.name}"
    refuse_unserved(settings.kafka)
    with (
        translated(settings.kafka, "topics cannot be looked at", "DESCRIBE them"),
        administering(settings.kafka, "fleetgauge-doctor", _TIMEOUT_S) as admin,
    ):
        topics = admin.list_topics()
        problems = topic_settings.read(admin, consumer) if consumer.dead_letter_topic in topics else []
    if consumer.topic not in topics:
        yield Remark(about, "warn", f"{consumer.topic} does not exist", "create it before its consumer is started")
    elif consumer.dead_letter_topic not in topics:
        yield Remark(about, "ok", f"{consumer.dead_letter_topic} does not exist yet; the consumer makes it")
    for problem in problems:
        yield Remark(about, "fail", problem)
    if consumer.dead_letter_topic in topics and not problems:
        yield Remark(about, "ok", f"{consumer.dead_letter_topic} takes what {consumer.topic} takes")


def _fields(settings: Settings, consumer: Consumer) -> Iterator[Remark]:
    about = f"fields of {consumer.index}"
    fields = contracts_of(settings, consumer).short_lived
    bulk = ElasticsearchBulk(settings.elasticsearch, connections=1)
    try:  # two days of grace: the run of the night before may have met a server that was away
        late = overdue(bulk, consumer.index, fields, SystemClock().now() - timedelta(days=2))
    finally:
        bulk.close()
    for day, paths in late[:1]:
        said = f"{', '.join(paths)} should be gone from {len(late)} days, the first is {day.index}"
        yield Remark(about, "fail", said, "run fleetgauge retention, and see why the DAG fleetgauge_retention does not")
    if fields and not late:
        yield Remark(about, "ok", f"{', '.join(sorted(fields))} are gone when their time is over")


def _template(settings: Settings, consumer: Consumer) -> Iterator[Remark]:
    about = f"index template of {consumer.index}"
    bulk = ElasticsearchBulk(settings.elasticsearch, connections=1)
    try:
        indices = Indices(bulk, consumer.index, contracts_of(settings, consumer), consumer.retention)
        newer, lacking = indices.newer(), indices.lacking()
    finally:
        bulk.close()
    if newer:
        said = f"is of a newer version than this content, which lacks {', '.join(newer)}"
        yield Remark(about, "warn", said, "deploy the newer content here too")
    if lacking:
        said = f"lacks {', '.join(lacking)}: new days will not have them"
        yield Remark(about, "warn", said, "restart the consumer, or run fleetgauge indices")
    if lacking is None:
        yield Remark(about, "ok", "does not exist yet; the consumer installs it")
    elif not newer and not lacking:
        yield Remark(about, "ok", "has all fields of the contracts")


def _limit(settings: Settings, consumer: Consumer) -> Iterator[Remark]:
    about, well = f"dead letters of {consumer.name}", True
    refuse_unserved(settings.kafka)
    for one in limit_states(settings.kafka, consumer):
        if one.halted:
            well = False
            yield Remark(
                about,
                "fail",
                f"the limit was reached in partition {one.partition}: {one.halted}, the last was {one.error_type}",
                f"correct the producer or the contract, then fleetgauge dlq accept {consumer.name} --type "
                f"{one.error_type} --for 1000",
            )
        for value, count in one.quarantined.items():
            well = False
            yield Remark(
                about,
                "warn",
                f"{consumer.dead_letters.by} {value} is quarantined in partition {one.partition}: {count} of its "
                "broken records are dead letters",
                f"correct its producer, then fleetgauge dlq accept {consumer.name} --value {shlex.quote(value)} --type "
                f"{one.error_type or 'contract'} --for 0 ends the quarantine",
            )
    if well:
        yield Remark(about, "ok", "the limit was not reached")

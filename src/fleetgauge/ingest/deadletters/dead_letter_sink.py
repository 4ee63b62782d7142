"""Dead letters: where a record goes that can never be stored."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from fleetgauge.errors import Stop, Terminal
from fleetgauge.ingest.check.batch import DeadLetter
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters import topic_settings
from fleetgauge.ingest.read import record_headers as h
from fleetgauge.kafka import (
    KafkaAdminClient,
    KafkaError,
    MessageSizeTooLargeError,
    NewTopic,
    TopicAlreadyExistsError,
)
from fleetgauge.kafka.kafka_clients import TIMEOUT_S, Producer, client_options, translated
from fleetgauge.kafka.kafka_errors import translate
from fleetgauge.kafka.records import Record
from fleetgauge.settings import KafkaSettings

MAX_RECORD = 32 * 1024 * 1024
_REASON_LIMIT = 1000


class DeadLetterSink(Protocol):
    """Takes dead letters; called by worker threads."""

    def send(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Return when all of them are durable. Raises `Transient` or `Stop`; a repeated call writes them again."""
        ...


class KafkaDeadLetters:
    """The real one: `<topic>.dlq`, acknowledged by all in-sync replicas. Connects on first use."""

    def __init__(self, settings: KafkaSettings, consumer: Consumer, versions: str) -> None:
        self._settings = settings
        self._topic = consumer.dead_letter_topic
        self._versions = versions.encode()
        self._producer: Producer | None = None
        self._lock = threading.Lock()

    def send(self, dead_letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetterSink.send`."""
        try:
            producer = self._connect()
            futures = [
                producer.send(
                    self._topic,
                    key=key_of(dead_letter.record),
                    value=dead_letter.record.value,
                    headers=headers(dead_letter, self._versions),
                )
                for dead_letter in dead_letters
            ]
            for future in futures:
                future.get(timeout=TIMEOUT_S)
        except MessageSizeTooLargeError:
            raise Stop(
                f"a dead letter is too large for {self._topic}; raise its max.message.bytes above the source topic's"
            ) from None
        except KafkaError as error:
            raise translate(error, f"dead letters cannot be written to {self._topic}", "WRITE to it") from None

    def close(self) -> None:
        """Close the connection, if there is one; waits for 5 s at most.

        What Kafka has not taken by then is dropped: no offset that covers it is committed, so it comes again.
        """
        if self._producer is not None:
            with suppress(KafkaError):
                self._producer.close(timeout=5)

    def _connect(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = connect_producer(self._settings, "fleetgauge-dead-letters")
            return self._producer


def connect_producer(settings: KafkaSettings, client_id: str) -> Producer:
    """A producer for records of any size, acknowledged by all in-sync replicas. Raises `KafkaError`; blocks."""
    return Producer(
        **client_options(settings, client_id=client_id),
        acks="all",
        max_block_ms=10_000,  # a topic that is not there is told soon
        linger_ms=5,
        # A topic's limit is about compressed bytes: what came in compressed must go out again.
        compression_type="lz4",
        max_request_size=2**31 - 1,
        batch_size=256 * 1024,
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )


def key_of(record: Record) -> bytes:
    """Key of a dead letter: where the record was at its first try."""
    partition, offset = _origin(record)
    return f"{record.topic}-{partition}-{offset}".encode()


def headers(dead_letter: DeadLetter, versions: bytes) -> list[tuple[str, bytes]]:
    """What a dead letter says about itself; the record's own headers follow."""
    record = dead_letter.record
    partition, offset = _origin(record)
    ours = [
        (h.TOPIC, record.topic.encode()),
        (h.PARTITION, b"%d" % partition),
        (h.OFFSET, b"%d" % offset),
        (h.ORIGINAL_TIMESTAMP, b"%d" % h.original_timestamp(record.headers, record.timestamp)),
        (h.TRIES, b"%d" % (h.tries(record.headers) + 1)),
        (h.CLASS, dead_letter.kind.value.encode()),
        (h.ERROR_TYPE, dead_letter.error_type.encode()),
        (h.REASON, dead_letter.reason[:_REASON_LIMIT].encode("utf-8", "replace")),
        (h.CONTRACTS, versions),
    ]
    if record.key is not None:
        ours.append((h.KEY, record.key))
    return ours + [(name, value) for name, value in record.headers if value is not None and not name.startswith(h.OWN)]


def _origin(record: Record) -> tuple[int, int]:
    return h.first_try(record.topic, record.headers) or (record.partition, record.offset)


def ensure_topic(settings: KafkaSettings, consumer: Consumer) -> None:
    """Create the dead-letter topic if it is missing, and see that it can keep what must go there; blocks.

    Raises `Terminal` for a missing source topic or right, a refused login, or settings by which dead letters would be
    refused or lost; `Transient` if no broker answers.
    """
    with translated(settings, "Kafka cannot be asked for its topics", "DESCRIBE them"):
        admin = KafkaAdminClient(**client_options(settings))
    try:
        topics = set(admin.list_topics())
        if consumer.topic not in topics:
            raise Terminal(
                f"Kafka topic {consumer.topic!r} does not exist, or the login may not DESCRIBE it; create it, grant "
                "that, or correct the consumer's topic"
            )
        if consumer.dead_letter_topic in topics:
            problems = topic_settings.read(admin, consumer)
            if problems:
                raise Terminal("; ".join(problems))
            return
        admin.create_topics(
            [
                NewTopic(
                    consumer.dead_letter_topic,
                    num_partitions=1,
                    replication_factor=-1,
                    # A record as large as the source allows must fit with its headers.
                    topic_configs={"max.message.bytes": str(MAX_RECORD), "retention.ms": str(30 * 86_400_000)},
                )
            ]
        )
    except TopicAlreadyExistsError:
        pass
    except KafkaError as error:
        what = f"dead-letter topic {consumer.dead_letter_topic!r} is missing and cannot be created; create it"
        raise translate(error, what, "CREATE topics") from None
    finally:
        admin.close()

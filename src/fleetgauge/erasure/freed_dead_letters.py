"""Dead letters without a person, and until when the topics themselves may still hold a record of one.

A record in Kafka cannot be changed. So those of the dead-letter topic that name the person are produced again without
the id, with all that lie before them, and then the old ones are deleted. A dead letter stays one, under the same key.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fleetgauge.contracts import ContractSet
from fleetgauge.erasure.found import Found, Tell
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters.dead_letter_sink import connect_producer
from fleetgauge.ingest.deadletters.dead_letter_topic import DeadLetterTopic, opened
from fleetgauge.ingest.read import record_headers as h
from fleetgauge.kafka import ConfigResource, ConfigResourceType, TopicPartition
from fleetgauge.kafka.kafka_clients import TIMEOUT_S, Producer, administering, translated, whole_number
from fleetgauge.privacy.identity import Identity
from fleetgauge.privacy.redaction import decoded, redacted
from fleetgauge.settings import KafkaSettings

_WHOLE_BATCHES = (b"corrupt_batch", b"batch_too_large", b"item_too_large")
"""Error types of dead letters whose value may be compressed as it came, so that nobody can look into it."""
_FLUSH = 500


@dataclass(frozen=True)
class _Freed:
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class FreedDeadLetters:
    """Those of one consumer."""

    def __init__(
        self, settings: KafkaSettings, consumer: Consumer, contracts: ContractSet, identity: Identity, subject: str
    ) -> None:
        self.name = f"dead-letter topic {consumer.dead_letter_topic}"
        self._settings = settings
        self._topic = consumer.dead_letter_topic
        self._identity = identity
        self._paths = frozenset(
            path for one in contracts.contracts for path, of in one.subjects.items() if of == subject
        )

    def run(self, tell: Tell, *, dry_run: bool) -> None:
        """See `ErasureStep.run`. What is produced twice, after it was broken off, is the same dead letter."""
        with opened(self._settings, self._topic) as topic:
            last: dict[int, int] = {}
            named = unreadable = 0
            for record in topic.records():
                if self._freed(record) is not None:
                    named += 1
                    last[record.partition] = record.offset
                unreadable += self._is_closed(record)
            if named and not dry_run:
                self._replace(topic, last)
        tell(Found(self._topic, "dead letters", named))
        if dry_run or named:
            tell(Found(self._topic, UNREADABLE, unreadable))

    def _replace(self, topic: DeadLetterTopic, last: dict[int, int]) -> None:
        what = f"dead letters of {self._topic} cannot be written anew"
        with translated(self._settings, what, "READ, WRITE and DELETE the topic"):
            producer = connect_producer(self._settings, "fleetgauge-erase")
            try:
                old = (one for one in topic.records() if one.offset <= last.get(one.partition, -1))
                for records in _chunks(old):
                    self._produce(producer, records)
            finally:
                producer.close(timeout=5)
            with administering(self._settings, "fleetgauge-erase") as admin:
                admin.delete_records({TopicPartition(self._topic, p): offset + 1 for p, offset in last.items()})

    def _produce(self, producer: Producer, records: Sequence[Any]) -> None:
        futures = []
        for record in records:
            freed = self._freed(record) or _Freed(record.key, record.value, list(record.headers))
            futures.append(
                producer.send(
                    self._topic,
                    key=freed.key,
                    value=freed.value,
                    headers=freed.headers,
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                )
            )
        for future in futures:
            future.get(timeout=TIMEOUT_S)

    def _freed(self, record: Any) -> _Freed | None:
        """The record without the id; None if it does not name the person."""
        blot = self._identity.blotted_bytes
        key = None if record.key is None else blot(record.key)
        headers = [(name, None if said is None else blot(said)) for name, said in record.headers]
        value = self._value(record.value)
        if (key, value, headers) == (record.key, record.value, list(record.headers)):
            return None
        return _Freed(key, value, headers)

    def _value(self, value: bytes | None) -> bytes | None:
        if value is None:
            return None
        try:
            document = decoded(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._identity.blotted_bytes(value)
        left = redacted(document, self._identity, self._paths)
        if left != document:
            return msgspec.json.encode(left)
        return self._identity.blotted_bytes(value)

    @staticmethod
    def _is_closed(record: Any) -> bool:
        headers = dict(record.headers)
        if headers.get(h.ERROR_TYPE) not in _WHOLE_BATCHES or record.value is None:
            return False
        try:
            record.value.decode()
        except UnicodeDecodeError:
            return True
        return False


_LONG_MS = 100 * 365 * 86_400_000
"""Brokers take retentions of some hundred million years."""
UNREADABLE = "dead letters that are compressed, so that nobody can look into them"


def log_until(settings: KafkaSettings, topics: Sequence[str], now: datetime) -> dict[str, datetime | None]:
    """Until when each topic may still hold what was produced by now; None: for ever. Blocks.

    For ever too, where the broker does not say it. A segment goes whole, a while after its newest record has expired.
    Raises `Transient`, `Stop`, `Terminal`.
    """
    names = ("retention.ms", "cleanup.policy", "segment.ms")
    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(names)) for topic in topics]
    what = "the retention of topics cannot be read"
    with translated(settings, what, "DESCRIBE_CONFIGS"), administering(settings, "fleetgauge-erase") as admin:
        known = admin.list_topics()
        found = admin.describe_configs([one for one in wanted if one.name in known], config_filter="all")
    answer: dict[str, datetime | None] = {}
    for topic, said in found.get("topic", {}).items():
        values = {name: at["value"] for name, at in said.items()}
        kept, segment = (whole_number(values.get(name)) for name in ("retention.ms", "segment.ms"))
        policy = str(values.get("cleanup.policy"))
        if kept is None or segment is None or kept < 0 or "delete" not in policy:
            answer[topic] = None
        else:
            answer[topic] = now + timedelta(milliseconds=min(kept + segment, _LONG_MS))
    return answer


def _chunks(records: Iterator[Any]) -> Iterator[Sequence[Any]]:
    chunk: list[Any] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == _FLUSH:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

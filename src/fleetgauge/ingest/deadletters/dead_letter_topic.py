"""The dead-letter topic as a set: what lies in it, what was replayed, and what came back.

Delivery is at least once, so the position of a record's first try identifies its dead letter. A
replay leaves a mark with the dead letter's own key behind it; one that comes back afterwards has more tries.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge.errors import Transient
from fleetgauge.ingest.read import record_headers as h
from fleetgauge.kafka import KafkaConsumer, TopicPartition
from fleetgauge.kafka.kafka_clients import TIMEOUT_S, looking_into, translated
from fleetgauge.settings import KafkaSettings

REPLAYED = b"replayed"
"""The class of a mark: not a dead letter, but the word that it was produced again."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class StoredDeadLetter:
    """What is known of a dead letter without its payload."""

    topic: str
    partition: int
    offset: int
    error_type: str
    contracts: str
    tries: int
    """How often it has been dead-lettered."""
    dead_lettered_at: datetime
    """UTC."""
    at: tuple[int, int]
    """Partition and offset in the dead-letter topic."""
    replayed_at: datetime | None = None
    """UTC; None: not since it was dead-lettered last."""
    kind: str = "poison"
    """Its class: poison, quarantine or collision."""
    digest: str = ""
    """Of the payload: two records of one position and different payloads are two dead letters, whatever headers say."""
    alias: str = ""
    """How it is called when another dead letter has its key."""

    @property
    def key(self) -> str:
        """Position of the first try, `topic-partition-offset`; with the digest it identifies the dead letter."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    @property
    def came_back(self) -> bool:
        """Dead-lettered again after a replay."""
        return self.tries > 1


@dataclass(frozen=True)
class Content:
    """A dead letter with all that was in the record. Payloads are personal data."""

    dead_letter: StoredDeadLetter
    reason: str
    appended_ms: int
    """Kafka timestamp of the first try, milliseconds since the epoch; -1: none."""
    key: bytes | None
    payload: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    """The record's own."""


@dataclass(frozen=True)
class Filter:
    """Which dead letters are meant."""

    types: tuple[str, ...] = ()
    """Error types; none means all."""
    kinds: tuple[str, ...] = ()
    """Classes; none means all."""
    since: datetime | None = None
    """Dead-lettered at or after this instant."""
    until: datetime | None = None
    """Dead-lettered before this instant."""
    limit: int | None = None
    """At most so many, those first that were dead-lettered first."""

    def of(self, dead_letters: Iterable[StoredDeadLetter]) -> list[StoredDeadLetter]:
        """Those that fit, in the order in which they were dead-lettered."""
        fitting = [
            dead_letter
            for dead_letter in dead_letters
            if (not self.types or dead_letter.error_type in self.types)
            and (not self.kinds or dead_letter.kind in self.kinds)
            and (self.since is None or dead_letter.dead_lettered_at >= self.since)
            and (self.until is None or dead_letter.dead_lettered_at < self.until)
        ]
        return sorted(fitting, key=lambda dead_letter: (dead_letter.dead_lettered_at, dead_letter.at))[: self.limit]


@dataclass
class DeadLetterIndex:
    """All dead letters of a dead-letter topic by their name: the key, or where another has it, key and digest."""

    dead_letters: dict[str, StoredDeadLetter] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    """By key and digest."""
    repeats: int = 0
    """Records that only say again what an earlier one said: delivery is at least once."""
    foreign: int = 0
    """Records that are not ours."""

    def add(self, record: Any) -> None:
        """Take a record of the topic into account; in the order of their offsets."""
        headers = dict(record.headers)
        dead_letter = parse(record, headers)
        if dead_letter is None:
            self.foreign += 1
            return
        if headers[h.CLASS] == REPLAYED:
            name = self.names.get(
                (dead_letter.key, headers.get(h.DIGEST, b"").decode("ascii", "replace")), dead_letter.key
            )
            known = self.dead_letters.get(name)
            if known is not None and known.tries <= dead_letter.tries:
                self.dead_letters[name] = replace(known, replayed_at=dead_letter.dead_lettered_at)
            return
        alias = f"{dead_letter.key}#{dead_letter.digest}" if dead_letter.key in self.dead_letters else dead_letter.key
        name = self.names.setdefault((dead_letter.key, dead_letter.digest), alias)
        known = self.dead_letters.get(name)
        if known is not None and known.tries >= dead_letter.tries:
            self.repeats += 1
        else:
            self.dead_letters[name] = replace(dead_letter, alias=name)


def parse(record: Any, headers: Mapping[str, bytes]) -> StoredDeadLetter | None:
    """The dead letter or mark in a record of a dead-letter topic; None for a record that somebody else wrote."""
    if h.CLASS not in headers:
        return None
    try:
        return StoredDeadLetter(
            headers[h.TOPIC].decode(),
            int(headers[h.PARTITION]),
            int(headers[h.OFFSET]),
            headers.get(h.ERROR_TYPE, b"").decode(),
            headers.get(h.CONTRACTS, b"").decode(),
            int(headers.get(h.TRIES, b"1")),  # dead letters of older versions have no number
            _EPOCH + timedelta(milliseconds=record.timestamp),
            (record.partition, record.offset),
            kind=headers[h.CLASS].decode(),
            digest=hashlib.blake2b(record.value or b"", digest_size=6).hexdigest(),
        )
    except (KeyError, ValueError, AttributeError, OverflowError):
        return None


def content(record: Any, dead_letter: StoredDeadLetter) -> Content:
    """All of a record that `parse` understood."""
    headers = dict(record.headers)
    return Content(
        dead_letter,
        headers.get(h.REASON, b"").decode("utf-8", "replace"),
        h.original_timestamp(record.headers, -1),
        headers.get(h.KEY),
        record.value,
        tuple((name, value) for name, value in record.headers if not name.startswith(h.OWN) and value is not None),
    )


class DeadLetterTopic:
    """Reads one, from its beginning to where it ended at first sight. Use as given by `opened`; blocks."""

    def __init__(self, kafka: KafkaConsumer, topic: str) -> None:
        self._kafka = kafka
        numbers = kafka.partitions_for_topic(topic) or ()
        self._partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        self._ends: Mapping[TopicPartition, int] = kafka.end_offsets(self._partitions) if self._partitions else {}

    def index(self) -> DeadLetterIndex:
        """All dead letters; holds a few hundred bytes of each."""
        index = DeadLetterIndex()
        for record in self.records():
            index.add(record)
        return index

    def contents(self, dead_letters: Sequence[StoredDeadLetter]) -> Iterator[Content]:
        """The dead letters whole, in the order of the topic; holds only what Kafka hands out at once."""
        wanted = {dead_letter.at: dead_letter for dead_letter in dead_letters}
        first: dict[int, int] = {}
        for partition, offset in wanted:
            first[partition] = min(offset, first.get(partition, offset))
        for record in self.records(first):
            dead_letter = wanted.pop((record.partition, record.offset), None)
            if dead_letter is not None:
                yield content(record, dead_letter)
            if not wanted:
                return

    def records(self, first: Mapping[int, int] | None = None) -> Iterator[Any]:
        """As Kafka has them, from the offsets `first` on, of the partitions in it; None: all."""
        begins = self._kafka.beginning_offsets(self._partitions) if self._partitions else {}
        starts = {
            tp: max(begins[tp], 0 if first is None else first[tp.partition])
            for tp in self._partitions
            if first is None or tp.partition in first
        }
        open_ = {tp for tp, start in starts.items() if start < self._ends[tp]}
        self._kafka.assign(list(open_))
        self._kafka.resume(*open_)
        for tp in open_:
            self._kafka.seek(tp, starts[tp])
        idle = 0
        while open_:
            polled = self._kafka.poll(timeout_ms=1000)
            idle = 0 if polled else idle + 1
            if idle > TIMEOUT_S:
                raise Transient(
                    f"Kafka hands out no dead letters of {self._partitions[0].topic} for {TIMEOUT_S:.0f} s; check the "
                    "partitions' leaders and try again"
                )
            for tp, records in polled.items():
                for record in records:
                    if record.offset < self._ends[tp]:
                        yield record
            done = {tp for tp in open_ if (self._kafka.position(tp) or 0) >= self._ends[tp]}
            open_ -= done
            self._kafka.pause(*done)


@contextmanager
def opened(settings: KafkaSettings, topic: str) -> Iterator[DeadLetterTopic]:
    """The dead-letter topic for reading, empty if there is none; joins no group. Raises `Transient`, `Terminal`."""
    with (
        translated(settings, f"dead letters in {topic} cannot be read", "READ the topic"),
        looking_into(settings, "fleetgauge-dlq") as kafka,
    ):
        yield DeadLetterTopic(kafka, topic)


@dataclass
class Group:
    """Dead letters that have class, error type, partition of the first try and contract versions in common."""

    kind: str
    error_type: str
    partition: int
    contracts: str
    first: datetime
    """When it was dead-lettered, UTC."""
    last: datetime
    newest: str
    """Key of the one dead-lettered last."""
    open: int = 0
    came_back: int = 0
    """Of the open ones."""
    replayed: int = 0


def grouped(dead_letters: Iterable[StoredDeadLetter]) -> list[Group]:
    """The dead letters counted; the largest groups first."""
    groups: dict[tuple[str, str, int, str], Group] = {}
    for dead_letter in dead_letters:
        what = dead_letter.kind, dead_letter.error_type, dead_letter.partition, dead_letter.contracts
        group = groups.setdefault(
            what,
            Group(
                *what, dead_letter.dead_lettered_at, dead_letter.dead_lettered_at, dead_letter.alias or dead_letter.key
            ),
        )
        if dead_letter.replayed_at is not None:
            group.replayed += 1
        else:
            group.open += 1
            group.came_back += dead_letter.came_back
        group.first = min(group.first, dead_letter.dead_lettered_at)
        if dead_letter.dead_lettered_at >= group.last:
            group.last, group.newest = dead_letter.dead_lettered_at, dead_letter.alias or dead_letter.key
    return sorted(groups.values(), key=lambda group: (-group.open - group.replayed, group.error_type, group.partition))

"""The dead-letter topic as a set: what lies in it, what was replayed, and what came back.

Delivery is at least once, so letters are told apart by the position of their record's first try. A replay leaves a
mark with the letter's own key behind it; a letter that comes back afterwards has a higher number of tries.
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
"""The class of a mark: not a letter, but the word that it was produced again."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Letter:
    """What is known of a dead letter without its payload."""

    topic: str
    partition: int
    offset: int
    error_type: str
    contracts: str
    tries: int
    """How often it has been buried."""
    buried_at: datetime
    """UTC."""
    at: tuple[int, int]
    """Partition and offset in the dead-letter topic."""
    replayed_at: datetime | None = None
    """UTC; None: not since it was buried last."""
    kind: str = "poison"
    """Its class: poison, quarantine or collision."""
    digest: str = ""
    """Of the payload: two records of one position and different payloads are two letters, whatever a header says."""
    alias: str = ""
    """How it is called when another letter has its key."""

    @property
    def key(self) -> str:
        """Position of the first try, `topic-partition-offset`; with the digest it identifies the letter."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    @property
    def came_back(self) -> bool:
        """Buried again after a replay."""
        return self.tries > 1


@dataclass(frozen=True)
class Content:
    """A letter with all that was in the record. Payloads are personal data."""

    letter: Letter
    reason: str
    appended_ms: int
    """Kafka timestamp of the first try, milliseconds since the epoch; -1: none."""
    key: bytes | None
    payload: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    """The record's own."""


@dataclass(frozen=True)
class Filter:
    """Which letters are meant."""

    types: tuple[str, ...] = ()
    """Error types; none means all."""
    kinds: tuple[str, ...] = ()
    """Classes; none means all."""
    since: datetime | None = None
    """Buried at or after this instant."""
    until: datetime | None = None
    """Buried before this instant."""
    limit: int | None = None
    """At most so many, those first that were buried first."""

    def of(self, letters: Iterable[Letter]) -> list[Letter]:
        """Those that fit, in the order in which they were buried."""
        fitting = [
            letter
            for letter in letters
            if (not self.types or letter.error_type in self.types)
            and (not self.kinds or letter.kind in self.kinds)
            and (self.since is None or letter.buried_at >= self.since)
            and (self.until is None or letter.buried_at < self.until)
        ]
        return sorted(fitting, key=lambda letter: (letter.buried_at, letter.at))[: self.limit]


@dataclass
class Box:
    """All letters of a dead-letter topic by their name: the key, or where another has it, key and digest."""

    letters: dict[str, Letter] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    """By key and digest."""
    repeats: int = 0
    """Records that only say again what an earlier one said: delivery is at least once."""
    foreign: int = 0
    """Records that are not ours."""

    def add(self, record: Any) -> None:
        """Take a record of the topic into account; in the order of their offsets."""
        headers = dict(record.headers)
        letter = parse(record, headers)
        if letter is None:
            self.foreign += 1
            return
        if headers[h.CLASS] == REPLAYED:
            name = self.names.get((letter.key, headers.get(h.DIGEST, b"").decode("ascii", "replace")), letter.key)
            known = self.letters.get(name)
            if known is not None and known.tries <= letter.tries:
                self.letters[name] = replace(known, replayed_at=letter.buried_at)
            return
        alias = f"{letter.key}#{letter.digest}" if letter.key in self.letters else letter.key
        name = self.names.setdefault((letter.key, letter.digest), alias)
        known = self.letters.get(name)
        if known is not None and known.tries >= letter.tries:
            self.repeats += 1
        else:
            self.letters[name] = replace(letter, alias=name)


def parse(record: Any, headers: Mapping[str, bytes]) -> Letter | None:
    """The letter or mark in a record of a dead-letter topic; None for a record that somebody else wrote."""
    if h.CLASS not in headers:
        return None
    try:
        return Letter(
            headers[h.TOPIC].decode(),
            int(headers[h.PARTITION]),
            int(headers[h.OFFSET]),
            headers.get(h.ERROR_TYPE, b"").decode(),
            headers.get(h.CONTRACTS, b"").decode(),
            int(headers.get(h.TRIES, b"1")),  # letters of older versions have no number
            _EPOCH + timedelta(milliseconds=record.timestamp),
            (record.partition, record.offset),
            kind=headers[h.CLASS].decode(),
            digest=hashlib.blake2b(record.value or b"", digest_size=6).hexdigest(),
        )
    except (KeyError, ValueError, AttributeError, OverflowError):
        return None


def content(record: Any, letter: Letter) -> Content:
    """All of a record that `parse` understood."""
    headers = dict(record.headers)
    return Content(
        letter,
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
        self._places = [TopicPartition(topic, number) for number in sorted(numbers)]
        self._ends: Mapping[TopicPartition, int] = kafka.end_offsets(self._places) if self._places else {}

    def box(self) -> Box:
        """All letters; holds a few hundred bytes of each."""
        box = Box()
        for record in self._records(None):
            box.add(record)
        return box

    def contents(self, letters: Sequence[Letter]) -> Iterator[Content]:
        """The letters whole, in the order of the topic; holds only what Kafka hands out at once."""
        wanted = {letter.at: letter for letter in letters}
        first: dict[int, int] = {}
        for partition, offset in wanted:
            first[partition] = min(offset, first.get(partition, offset))
        for record in self._records(first):
            letter = wanted.pop((record.partition, record.offset), None)
            if letter is not None:
                yield content(record, letter)
            if not wanted:
                return

    def _records(self, first: Mapping[int, int] | None) -> Iterator[Any]:
        """From the offsets `first` on, of the partitions in it; None: all."""
        begins = self._kafka.beginning_offsets(self._places) if self._places else {}
        starts = {
            place: max(begins[place], 0 if first is None else first[place.partition])
            for place in self._places
            if first is None or place.partition in first
        }
        open_ = {place for place, start in starts.items() if start < self._ends[place]}
        self._kafka.assign(list(open_))
        self._kafka.resume(*open_)
        for place in open_:
            self._kafka.seek(place, starts[place])
        idle = 0
        while open_:
            polled = self._kafka.poll(timeout_ms=1000)
            idle = 0 if polled else idle + 1
            if idle > TIMEOUT_S:
                raise Transient(
                    f"Kafka hands out no dead letters of {self._places[0].topic} for {TIMEOUT_S:.0f} s; check the "
                    "partitions' leaders and try again"
                )
            for place, records in polled.items():
                for record in records:
                    if record.offset < self._ends[place]:
                        yield record
            done = {place for place in open_ if (self._kafka.position(place) or 0) >= self._ends[place]}
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
    """Letters that have class, error type, partition of the first try and contract versions in common."""

    kind: str
    error_type: str
    partition: int
    contracts: str
    first: datetime
    """Burial, UTC."""
    last: datetime
    newest: str
    """Key of the one buried last."""
    open: int = 0
    came_back: int = 0
    """Of the open ones."""
    replayed: int = 0


def grouped(letters: Iterable[Letter]) -> list[Group]:
    """The letters counted; the largest groups first."""
    groups: dict[tuple[str, str, int, str], Group] = {}
    for letter in letters:
        what = letter.kind, letter.error_type, letter.partition, letter.contracts
        group = groups.setdefault(what, Group(*what, letter.buried_at, letter.buried_at, letter.alias or letter.key))
        if letter.replayed_at is not None:
            group.replayed += 1
        else:
            group.open += 1
            group.came_back += letter.came_back
        group.first = min(group.first, letter.buried_at)
        if letter.buried_at >= group.last:
            group.last, group.newest = letter.buried_at, letter.alias or letter.key
    return sorted(groups.values(), key=lambda group: (-group.open - group.replayed, group.error_type, group.partition))

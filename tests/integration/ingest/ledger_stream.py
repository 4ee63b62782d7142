"""The numbered events of a ledger test, and what must have become of each record in the end."""

import random
import time
from collections.abc import Callable
from functools import partial

from fleetlab.simulator.publish import Publisher
from fleetlab.simulator.records import Record

PARTITIONS = 4
DAYS = 4
"""Events belong to today and the three days before; those of the last of them are the victims of a deletion."""
DUPLICATES = BROKEN = 0.01
_DAY_MS = 86_400_000


def _valid(number: int, at: int) -> bytes:
    return (
        b'{"kind":"location","version":1,"event":{"id":"e-%07d","action":"location","dataset":"device.location"},'
        b'"device":{"id":"sc-%03d","model":"m365-pro","firmware":"2.4.1"},"timestamp":%d,'
        b'"network":{"carrier":"skt","sim":"89820000000000%03d"},"message":{"bytes":96,"direction":"uplink"},'
        b'"location":{"lat":37.56%03d,"lng":126.97%03d},"speed":4.2,"heading":81,"horizontal_accuracy":6.0}'
    ) % (number, number % 97, at, number % 97, number % 1000, number % 997)


_BREAK: dict[str, Callable[[bytes, int], bytes | None]] = {
    "not_json": lambda value, at: value[:-9],
    "not_utf8": lambda value, at: value.replace(b"m365", b"m\xff65"),
    "contract": lambda value, at: value.replace(b'"speed":4.2', b'"speed":"fast"'),
    "tombstone": lambda value, at: None,
    "late": lambda value, at: value.replace(b"%d" % at, b"%d" % (at - 9 * _DAY_MS)),
    "future": lambda value, at: value.replace(b"%d" % at, b"%d" % (at + 9 * _DAY_MS)),
    "document_parsing_exception": lambda value, at: value[:-1] + b',"x":1,"x":2}',  # only Elasticsearch sees it
}
_ERROR_TYPES = {"late": "out_of_time_range", "future": "out_of_time_range"}


class Stream:
    """Produces, and remembers what was produced by partition and offset."""

    def __init__(self, bootstrap: str, topic: str, seed: int) -> None:
        self.topic = topic
        self.ids: list[list[str]] = [[] for _ in range(PARTITIONS)]
        """By partition and offset: the id of the document, or "" for a broken record."""
        self.broken: dict[tuple[int, int], str] = {}
        """(partition, offset) → error type of its dead letter."""
        self._excused = [0] * PARTITIONS
        self.victims: set[str] = set()
        """Ids of which the operator's deletion took the first copy."""
        self._numbers = 0
        self.started = int(time.time() * 1000)
        """Milliseconds since the epoch; event times count back from here."""
        self._rng = random.Random(seed)
        self._connect = partial(Publisher, bootstrap)
        self._publisher = self._connect()

    def close(self) -> None:
        self._publisher.__exit__(None, None, None)

    def reconnect(self) -> None:
        """After Kafka was away."""
        self.close()
        self._publisher = self._connect()

    @property
    def documents(self) -> set[str]:
        """The ids that must be stored in the end."""
        return {self._id(number) for number in range(self._numbers)}

    @property
    def ends(self) -> dict[int, int]:
        return {partition: len(ids) for partition, ids in enumerate(self.ids)}

    def day_of(self, number: int) -> int:
        return 3 if number % 20 == 0 else number % 3

    def produce(self, count: int, *, again: list[int] | None = None) -> None:
        """`count` new events with duplicates and broken ones among them, and old ones `again`; blocks until acked."""
        numbers = list(range(self._numbers, self._numbers + count))
        self._numbers += count
        records = [self._record(number) for number in numbers]
        records += [self._record(number) for number in again or ()]
        for _ in range(round(count * DUPLICATES)):
            # Usually in the same partition, as devices do; else it can overtake the first.
            partition = self._rng.randrange(PARTITIONS) if self._rng.random() < 0.2 else None
            records.append(self._record(self._rng.randrange(self._numbers), partition))
        records += [self._broken(self._rng.choice(numbers)) for _ in range(round(count * BROKEN))]
        self._rng.shuffle(records)
        for record, offset in zip(records, self._publisher.publish(records), strict=True):
            ids = self.ids[record.partition]
            assert offset == len(ids), "Kafka holds a record that the ledger does not know"
            ids.append("" if record.fault else record.event_id)
            if record.fault:
                self.broken[record.partition, offset] = _ERROR_TYPES.get(record.fault, record.fault)

    def lose_victims(self) -> list[int]:
        """Their index has been deleted: what was produced so far is excused; returns what to produce again."""
        numbers = [number for number in range(self._numbers) if self.day_of(number) == DAYS - 1]
        self.victims = {self._id(number) for number in numbers}
        self._excused = [len(ids) for ids in self.ids]
        return numbers

    def required(self, partition: int, begin: int, end: int) -> set[str]:
        """Ids of the records from `begin` to `end` (excluded) that must be found if `end` is committed."""
        excused = self._excused[partition]
        return {
            one
            for offset, one in enumerate(self.ids[partition][begin:end], begin)
            if one and not (offset < excused and one in self.victims)
        }

    def _id(self, number: int) -> str:
        return f"sc-{number % 97:03d}:e-{number:07d}"

    def _at(self, number: int) -> int:
        return self.started - self.day_of(number) * _DAY_MS - number % 1000

    def _record(self, number: int, partition: int | None = None) -> Record:
        return self._make(number, _valid(number, self._at(number)), "", partition)

    def _broken(self, near: int) -> Record:
        fault = self._rng.choice(sorted(_BREAK))
        at = self._at(near)
        return self._make(near, _BREAK[fault](_valid(9_000_000 + near, at), at), fault, None)

    def _make(self, number: int, value: bytes | None, fault: str, partition: int | None) -> Record:
        device = f"sc-{number % 97:03d}"
        at = number % 97 % PARTITIONS if partition is None else partition
        now = int(time.time() * 1000)
        return Record(
            append_ms=now,
            event_id=self._id(number),
            copy=0,
            topic=self.topic,
            partition=at,
            key=device.encode(),
            value=value,
            fault=fault,
            device=device,
            kind="location",
            event_ms=self._at(number),
            subject="location",
            carrier="skt",
            direction="uplink",
            nbytes=96,
            attempt=None,
            action="",
        )

"""Kafka records in columns: what a poll returns, without an object for each record.

kafka-python builds two objects and walks six layers of Python for every record, which costs more than everything else
that ingest does with it. Here batches become columns (`kafka.batches`). Fetching, positions, sessions, checksums,
control batches and aborted transactions stay kafka-python's. A property test compares both parsers.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError, RetriableError

from fleetgauge.kafka import batches
from fleetgauge.kafka.batches import Columns, Headers, UnreadableRecord
from fleetgauge.kafka.internals import Batches, PartitionFetch, RecordBatch, hand_out, next_begin, raw

CHUNK = 1_000
"""Records of one `Records` at most."""
_TRIES = 3
"""How often a damaged batch is fetched before it counts as damaged in the log, not on its way."""


class Record(NamedTuple):
    """One record, for the rare cases that look at a single one: dead letters, collisions, messages."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Append or create time as Kafka has it, milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(slots=True, eq=False)
class Records:
    """Consecutive records of one partition. The columns have the same length; a null is None."""

    topic: str
    partition: int
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: dict[int, Headers] = field(default_factory=dict)
    """By position in the columns, of those records that have any."""
    unreadable: dict[int, UnreadableRecord] = field(default_factory=dict)
    """By position: what stands for one or more records that cannot be read; its value is the whole batch, raw."""
    by_broker: bool = True
    """The timestamps are append times, by the broker's clock; else they are what a producer said."""
    size: int = 0
    """Bytes, roughly."""

    def __len__(self) -> int:
        return len(self.offsets)

    def record(self, i: int) -> Record:
        """The record at position `i`."""
        return Record(
            self.topic,
            self.partition,
            self.offsets[i],
            self.timestamps[i],
            self.keys[i],
            self.values[i],
            self.headers.get(i, []),
        )

    def split(self, at: int) -> tuple["Records", "Records"]:
        """The records before position `at`, and the others."""
        halves = []
        for begin, end in ((0, at), (at, len(self))):
            headers = {i - begin: found for i, found in self.headers.items() if begin <= i < end}
            unreadable = {i - begin: why for i, why in self.unreadable.items() if begin <= i < end}
            part = slice(begin, end)
            columns = self.offsets[part], self.timestamps[part], self.keys[part], self.values[part]
            size = self.size * (end - begin) // len(self)
            halves.append(Records(self.topic, self.partition, *columns, headers, unreadable, self.by_broker, size))
        return halves[0], halves[1]

    def append(self, columns: Columns, first: int) -> None:
        """Take over what has an offset from `first` on."""
        begin = bisect_left(columns.offsets, first)
        shift = len(self) - begin
        if any(columns.headers):
            found = enumerate(columns.headers)
            self.headers.update((i + shift, list(some)) for i, some in found if some and i >= begin)
        self.unreadable.update((i + shift, why) for i, why in columns.unreadable.items() if i >= begin)
        self.offsets += columns.offsets[begin:]
        self.timestamps += columns.timestamps[begin:]
        self.keys += columns.keys[begin:]
        self.values += columns.values[begin:]
        self.size += columns.size

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Records":
        """Columns from single records of one partition, at least one."""
        return cls(
            records[0].topic,
            records[0].partition,
            [record.offset for record in records],
            [record.timestamp for record in records],
            [record.key for record in records],
            [record.value for record in records],
            {i: record.headers for i, record in enumerate(records) if record.headers},
        )


class DamagedError(CorruptRecordError, RetriableError):  # type: ignore[misc] # kafka-python is untyped
    """A batch is not what the broker once took. Fetch it again; if it stays so, it is handed out as unreadable."""


def in_columns(kafka: KafkaConsumer) -> None:
    """From now on `kafka.poll` returns `Records` instead of records; `max_poll_records` counts them in chunks.

    It may also raise `DamagedError`: poll again.
    """
    hand_out(kafka, partial(PartitionRecords, tries=Counter()))


class PartitionRecords(PartitionFetch):
    """The records of one partition of one fetch, handed out in chunks."""

    def __init__(self, *args: Any, tries: Counter[tuple[TopicPartition, int]] | None = None, **more: Any) -> None:
        """`tries`: how often each damaged batch was seen, over all fetches of a consumer."""
        super().__init__(*args, **more)
        self._tries = Counter() if tries is None else tries

    def unpacked(self, tp: TopicPartition, fetched: Batches) -> Iterator[Records]:
        """See `PartitionFetch.unpacked`."""
        chunk = Records(tp.topic, tp.partition)
        for batch, found in self._batches(fetched):
            if isinstance(found, CorruptRecordError):
                if len(chunk):
                    yield self._handed_out(chunk)
                self.drain()  # else the library would ask this one again, for ever
                raise found
            self.bytes_read += batch.size_in_bytes
            by_broker = bool(batch.timestamp_type)
            for columns in found:
                if len(chunk) and (chunk.by_broker != by_broker or chunk.size + columns.size > batches.AT_ONCE):
                    yield self._handed_out(chunk)
                    chunk = Records(tp.topic, tp.partition)
                chunk.by_broker = by_broker
                chunk.append(columns, self.fetch_offset)
                while len(chunk) >= CHUNK:
                    full, chunk = chunk.split(CHUNK)
                    chunk.by_broker = by_broker
                    yield self._handed_out(full)
        if len(chunk):
            self._handed_out(chunk)
        # The last records of a batch may be gone by compaction, and markers are none: the batch's own end counts.
        self.next_fetch_offset = max(self.next_fetch_offset, self._end)
        if len(chunk):
            yield chunk
        self.drain()

    def _handed_out(self, chunk: Records) -> Records:
        self.records_read += len(chunk)
        self.next_fetch_offset = chunk.offsets[-1] + 1
        return chunk

    def _batches(self, fetched: Batches) -> Iterator[tuple[RecordBatch, Iterable[Columns] | CorruptRecordError]]:
        """The batches that hold data, as the library goes through them; or why there is nothing more to read."""
        self._end = self.fetch_offset
        while (batch := fetched.next_batch()) is not None:
            if batch.magic in (0, 1):
                reason = "has the format of Kafka 0.10; let the brokers write it anew"
                where = f"the record batch of {self.topic_partition} at offset {batch.base_offset}"
                yield batch, CorruptRecordError(f"{where} {reason}")
            if batch.magic != 2 or (self.check_crcs and not batch.validate_crc()):
                yield batch, self._damaged(batch, fetched)
                continue
            self._end = batch.next_offset
            if self.holds_records(batch):
                yield batch, batches.columns(batch)

    def _damaged(self, batch: RecordBatch, fetched: Batches) -> Iterable[Columns] | DamagedError:
        """Little that such a batch says is believed: the next one says where it ends, or two numbers that agree."""
        begin = max(self._end, self.fetch_offset)
        at, where = (self.topic_partition, begin), f"the record batch of {self.topic_partition} at offset {begin}"
        self._tries[at] += 1
        if self._tries[at] < _TRIES:
            return DamagedError(f"{where} failed its checksum")
        self._end = begin + 1
        if (following := next_begin(fetched)) is not None:
            self._end = max(self._end, following)
        elif batch.magic == 2 and batch.records_count == batch.last_offset_delta + 1:
            self._end = max(self._end, batch.next_offset)
        reason = f"{where} failed its checksum {_TRIES} times; {batches.KEPT}"
        return [batches.damaged(begin, raw(batch), reason)]

"""Kafka records in columns: what a poll returns, without an object for each record.

kafka-python builds two objects and walks six layers of Python for every record, which costs more than everything else
that ingest does with it. Here aiokafka's compiled parser reads a record batch, straight into columns. Fetching,
positions, sessions, checksums, decompression, control batches and aborted transactions stay kafka-python's. A property
test compares both parsers.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch as PlainBatch
from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError

Headers = list[tuple[str, bytes | None]]
CHUNK = 1_000
"""Records of one `Records` at most, unless a single batch of Kafka is larger."""

_COLUMNS = attrgetter("offset", "timestamp", "key", "value", "headers")
_CODEC = 22
"""The byte of a batch's header whose low bits name its compression."""


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
            part = slice(begin, end)
            columns = self.offsets[part], self.timestamps[part], self.keys[part], self.values[part]
            halves.append(Records(self.topic, self.partition, *columns, headers))
        return halves[0], halves[1]

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


def in_columns(kafka: KafkaConsumer) -> None:
    """From now on `kafka.poll` returns `Records` instead of records; `max_poll_records` counts them in chunks."""
    kafka._fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python is untyped
    """The records of one partition of one fetch, handed out in chunks."""

    def _maybe_skip_record(self, _chunk: Records) -> bool:
        return False  # a chunk never holds records below the fetch offset

    def _unpack_records(self, tp: Any, records: Any, _key: Any, _value: Any) -> Iterator[Records]:
        chunk = Records(tp.topic, tp.partition)
        end = self.fetch_offset
        for batch in self._batches(records):
            self.bytes_read += batch.size_in_bytes
            _append(chunk, batch, self.fetch_offset)
            end = batch.next_offset
            while len(chunk) >= CHUNK:
                full, chunk = (chunk, Records(tp.topic, tp.partition)) if len(chunk) == CHUNK else chunk.split(CHUNK)
                self.records_read += CHUNK
                self.next_fetch_offset = chunk.offsets[0] if len(chunk) else end
                yield full
        # The last records of a batch may be gone by compaction: the batch's own end is where to go on.
        self.next_fetch_offset = max(self.next_fetch_offset, end)
        if len(chunk):
            self.records_read += len(chunk)
            yield chunk
        self.drain()

    def _batches(self, records: Any) -> Iterator[Any]:
        """The batches that hold data: as the library goes through them."""
        while (batch := records.next_batch()) is not None:
            where = f"the record batch of {self.topic_partition} at offset {batch.base_offset}"
            if batch.magic != 2:
                raise CorruptRecordError(f"{where} has the format of Kafka 0.10; let the brokers write it anew")
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"{where} failed its checksum")
            self.leader_epoch = batch.leader_epoch
            if batch.has_producer_id():
                self._consume_aborted_transactions_up_to(batch.last_offset)
                if self._contains_abort_marker(batch):
                    self.aborted_producer_ids.discard(batch.producer_id)
            if batch.is_control_batch or self._is_batch_aborted(batch):
                self.next_fetch_offset = batch.next_offset
                continue
            yield batch


def _append(chunk: Records, batch: Any, first: int) -> None:
    """Parse a batch of format 2; records below the offset `first` are left out. Raises `CorruptRecordError`."""
    header = batch._buffer[: batch.HEADER_STRUCT.size]
    try:
        batch._maybe_uncompress()
        header[_CODEC] &= ~batch.CODEC_MASK  # unpacked now; the checksum has been checked
        plain = PlainBatch(b"".join((header, memoryview(batch._buffer)[batch._pos :])))
        columns = tuple(zip(*map(_COLUMNS, plain), strict=True))
    except (CorruptRecordException, ValueError, IndexError) as error:
        raise CorruptRecordError(f"the record batch at offset {batch.base_offset} cannot be read: {error}") from None
    if not columns:
        return  # compaction has left nothing but the place
    offsets, timestamps, keys, values, headers = columns
    begin = bisect_left(offsets, first)
    if any(headers):
        shift = len(chunk) - begin
        chunk.headers.update((i + shift, list(found)) for i, found in enumerate(headers) if found and i >= begin)
    chunk.offsets += offsets[begin:]
    chunk.timestamps += timestamps[begin:]
    chunk.keys += keys[begin:]
    chunk.values += values[begin:]

"""Kafka records in columns: what a poll returns, without an object for each record.

kafka-python builds two objects and walks six layers of Python for every record, which costs more than everything else
that ingest does with it. A record batch is parsed here in one loop instead. Fetching, positions, sessions, checksums,
decompression, control batches and aborted transactions stay the library's. A property test compares both parsers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError

Headers = list[tuple[str, bytes | None]]
CHUNK = 1_000
"""Records of one `Records` at most, unless a single batch of Kafka is larger."""


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
        made = cls(records[0].topic, records[0].partition)
        for record in records:
            made.append(record.offset, record.timestamp, record.key, record.value, record.headers)
        return made

    def append(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Add one record at the end."""
        if headers:
            self.headers[len(self.offsets)] = headers
        self.offsets.append(offset)
        self.timestamps.append(timestamp)
        self.keys.append(key)
        self.values.append(value)


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
    """Parse a batch of format 2; records below the offset `first` are left out. Raises `CorruptRecordError`.

    The layout of a record is https://kafka.apache.org/documentation/#record; all its numbers are zigzag varints. Two
    bytes of one are decoded in place, longer ones by a call.
    """
    try:
        batch._maybe_uncompress()
        pos = batch._pos
        buffer = bytes(memoryview(batch._buffer))
        base, count = batch.base_offset, batch.records_count
        appended = batch.max_timestamp if batch.timestamp_type == batch.LOG_APPEND_TIME else None
        created = batch.first_timestamp
        offsets, timestamps, keys, values = chunk.offsets, chunk.timestamps, chunk.keys, chunk.values
        for _ in range(count):
            number = buffer[pos]
            pos += 1
            if number > 127:
                number, pos = _varint(buffer, pos, number)
            end = pos + (number >> 1)
            pos += 1  # attributes, unused

            number = buffer[pos]
            pos += 1
            if number > 127:
                number, pos = _varint(buffer, pos, number)
            delta = (number >> 1) ^ -(number & 1)

            number = buffer[pos]
            pos += 1
            if number > 127:
                following = buffer[pos]
                if following < 128:
                    number += (following << 7) - 128
                    pos += 1
                else:
                    number, pos = _varint(buffer, pos, number)
            offset = base + (number >> 1)

            number = buffer[pos]
            pos += 1
            if number > 127:
                number, pos = _varint(buffer, pos, number)
            if number & 1:
                key = None
            else:
                begin = pos
                pos += number >> 1
                key = buffer[begin:pos]

            number = buffer[pos]
            pos += 1
            if number > 127:
                following = buffer[pos]
                if following < 128:
                    number += (following << 7) - 128
                    pos += 1
                else:
                    number, pos = _varint(buffer, pos, number)
            if number & 1:
                value = None
            else:
                begin = pos
                pos += number >> 1
                value = buffer[begin:pos]

            number = buffer[pos]
            pos += 1
            headers: Headers | None = None
            if number:
                headers, pos = _headers(buffer, pos, number)
            if pos != end:
                raise ValueError("a record does not end where it should")
            if offset >= first:
                if headers:
                    chunk.headers[len(offsets)] = headers
                offsets.append(offset)
                timestamps.append(created + delta if appended is None else appended)
                keys.append(key)
                values.append(value)
        if pos != len(buffer):
            raise ValueError("bytes are left over")
    except (ValueError, IndexError) as error:
        raise CorruptRecordError(f"the record batch at offset {batch.base_offset} cannot be read: {error}") from None


def _varint(buffer: bytes, pos: int, number: int) -> tuple[int, int]:
    """The rest of an unsigned varint whose first byte was `number`; the next position."""
    number &= 127
    shift = 7
    while (byte := buffer[pos]) > 127:
        number |= (byte & 127) << shift
        shift += 7
        pos += 1
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
    return number | byte << shift, pos + 1


def _headers(buffer: bytes, pos: int, count: int) -> tuple[Headers, int]:
    if count > 127:
        count, pos = _varint(buffer, pos, count)
    headers: Headers = []
    for _ in range(count >> 1):
        parts: list[bytes | None] = []
        for _ in ("key", "value"):
            number, pos = _varint(buffer, pos + 1, buffer[pos]) if buffer[pos] > 127 else (buffer[pos], pos + 1)
            parts.append(None if number & 1 else buffer[pos : pos + (number >> 1)])
            pos += 0 if number & 1 else number >> 1
        key, value = parts
        if key is None:
            raise ValueError("a header has no name")
        headers.append((key.decode(), value))
    return headers, pos

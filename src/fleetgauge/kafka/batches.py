"""One record batch of Kafka (format 2) as columns, within bounded memory, whatever a producer or a disk made of it.

A batch of ordinary size goes through aiokafka's compiled parser. One that is large, or that this parser refuses, is
read piece by piece and record by record: what can be read is handed out, what cannot is handed out as that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fleetgauge.kafka.decompress import Undecodable, pieces
from fleetgauge.kafka.internals import CorruptRecordException, RecordBatch, parsed, raw

Headers = list[tuple[str, bytes | None]]

AT_ONCE = 4 * 1024 * 1024
"""Decompressed bytes of a batch that is parsed in one go; also what the columns of a larger one hold at a time."""
LARGEST = 104 * 1024 * 1024
"""Bytes of the largest record that is handed out: just more than Elasticsearch takes in a request by default."""
WHOLE = 2 * 1024 * 1024 * 1024
"""Decompressed bytes of a batch that are looked at."""
_MANY = 20_000
"""A record takes seven bytes at least, and much more as an object."""
_ROWS = 1_000
_HEADERS = 10_000
_CODEC = 22
"""The byte of a batch's header whose low bits name its compression."""
_CODEC_MASK = 0x07
_APPEND_TIME = 0x08

_Row = tuple[int, int, bytes | None, bytes | None, Headers]
"""Offset, timestamp, key, value, headers."""

CORRUPT = "corrupt_batch"
TOO_LARGE = "batch_too_large"


class UnreadableRecord(NamedTuple):
    """Why there is no record: the error type and the reason of a dead letter."""

    error_type: str
    reason: str


@dataclass(slots=True)
class Columns:
    """Consecutive records of a batch. The value of one that is unreadable is the whole batch as it came."""

    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers]
    unreadable: Mapping[int, UnreadableRecord] = field(default_factory=dict)
    """By position."""
    size: int = 0
    """Decompressed bytes, roughly."""


def columns(batch: RecordBatch) -> Iterator[Columns]:
    """All that is in `batch`, one of kafka-python whose checksum is right, in its order and once.

    Empty if compaction has left only the offset. Never raises: an unreadable record, or what is left of the batch
    after something that cannot be read, stands in the columns as `unreadable`.
    """
    data = raw(batch)
    try:
        found = _at_once(batch, data)
    except (CorruptRecordException, Undecodable, ValueError, IndexError, OverflowError):
        found = None  # a rare thing: the other way finds what is good about it
    if found is not None:
        if found.offsets:
            yield found
        return
    yield from _by_and_by(batch, data)


def damaged(offset: int, data: bytes, reason: str) -> Columns:
    """What stands for a whole batch that is not what the broker once took."""
    return _unreadable(offset, -1, data, UnreadableRecord(CORRUPT, reason))


def _unreadable(offset: int, timestamp: int, data: bytes, why: UnreadableRecord) -> Columns:
    return Columns([offset], [timestamp], [None], [data], [[]], {0: why}, len(data))


def _at_once(batch: RecordBatch, data: bytes) -> Columns | None:
    """None: it is too large for that. Raises `Undecodable`, and what the parser raises."""
    if batch.records_count > _MANY:
        return None
    header = bytearray(data[: batch.HEADER_STRUCT.size])
    codec = header[_CODEC] & _CODEC_MASK
    parts, size = [], 0
    for piece in pieces(codec, data[len(header) :]):
        parts.append(piece)
        size += len(piece)
        if size > AT_ONCE:
            return None
    header[_CODEC] &= ~_CODEC_MASK  # unpacked now; the checksum has been checked
    rows = parsed(b"".join((header, *parts)))
    return _columns(rows, size) if rows else Columns([], [], [], [], [])


def _by_and_by(batch: RecordBatch, data: bytes) -> Iterator[Columns]:
    rows: list[_Row] = []
    size = 0
    for row, why in _one_by_one(batch, data):
        if why is None:
            rows.append(row)
            size += len(row[2] or b"") + len(row[3] or b"")
        if rows and (why is not None or size >= AT_ONCE or len(rows) >= _ROWS):
            yield _columns(rows, size)
            rows, size = [], 0
        if why is not None:
            yield _unreadable(row[0], row[1], data, why)
    if rows:
        yield _columns(rows, size)


def _columns(rows: Sequence[_Row], size: int) -> Columns:
    offsets, timestamps, keys, values, headers = zip(*rows, strict=True)
    return Columns(offsets, timestamps, keys, values, headers, size=size)


def _one_by_one(batch: RecordBatch, data: bytes) -> Iterator[tuple[_Row, UnreadableRecord | None]]:
    """The records; the last one may stand for all that are left."""
    stream = _Stream(pieces(data[_CODEC] & _CODEC_MASK, data[batch.HEADER_STRUCT.size :]))
    following = batch.base_offset
    for number in range(batch.records_count):
        left = f"{batch.records_count - number} of {batch.records_count} records"
        why = None
        try:
            length = stream.varint()
            if stream.seen + length > WHOLE:
                beyond = f"decompressed batch too large: {left} lie beyond {WHOLE} bytes; {KEPT}"
                why = UnreadableRecord(TOO_LARGE, beyond)
            elif length > LARGEST:
                why = UnreadableRecord(TOO_LARGE, f"decompressed batch too large: a record of {length} bytes; {KEPT}")
                yield (*_position(batch, stream.skip(length)), None, None, []), why
                following += 1
                continue
            else:
                row = _record(batch, stream.take(length))
        except (ValueError, IndexError) as error:
            why = UnreadableRecord(CORRUPT, f"{left} cannot be read: {error}; {KEPT}")
        if why is not None:
            yield (following, batch.max_timestamp, None, None, []), why
            return
        yield row, None
        following = row[0] + 1


KEPT = "the value of this dead letter is the record batch as it came from Kafka"


class _Stream:
    """Bytes out of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0
        self.seen = 0
        """Bytes handed out or passed over."""

    def varint(self) -> int:
        """A number in zigzag. Raises `ValueError`."""
        value = shift = 0
        while shift < 64:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
        raise ValueError("a number has no end")

    def take(self, size: int) -> bytes:
        """Exactly so many bytes. Raises `ValueError`."""
        end = self._at + size
        if self._at <= end <= len(self._piece):
            found = self._piece[self._at : end]
            self._at = end
            self.seen += size
            return found
        return b"".join(self._parts(size))

    def skip(self, size: int) -> bytes:
        """Pass over so many bytes; returns the first few of them. Raises `ValueError`."""
        first = b""
        for part in self._parts(size):
            if len(first) < _HEAD:
                first += part[:_HEAD]
        return first

    def _parts(self, size: int) -> Iterator[bytes]:
        if size < 0:
            raise ValueError(f"a length of {size}")
        while size:
            if self._at == len(self._piece):
                self._piece, self._at = next(self._pieces, b""), 0
                if not self._piece:
                    raise ValueError("the batch ends too early")
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            self.seen += len(part)
            size -= len(part)
            yield part


_HEAD = 32
"""Bytes of a record that hold its attributes, time and offset."""


def _position(batch: RecordBatch, data: bytes) -> tuple[int, int]:
    """Offset and timestamp at the beginning of a record."""
    delta, at = _varint(data, 1)
    offset, _ = _varint(data, at)
    by_broker = batch.attributes & _APPEND_TIME
    return batch.base_offset + offset, batch.max_timestamp if by_broker else batch.first_timestamp + delta


def _record(batch: RecordBatch, data: bytes) -> _Row:
    """A record without its length. Raises `ValueError` or `IndexError`. A header's name need not be UTF-8."""
    offset, timestamp = _position(batch, data[:_HEAD])
    _, at = _varint(data, 1)
    _, at = _varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    count, at = _varint(data, at)
    if not 0 <= count <= _HEADERS:
        raise ValueError(f"a record with {count} headers")
    headers: Headers = []
    for _ in range(count):
        name, at = _bytes(data, at)
        if name is None:
            raise ValueError("a header without a name")
        found, at = _bytes(data, at)
        headers.append((name.decode("utf-8", "backslashreplace"), found))
    if at != len(data):
        raise ValueError(f"a record of {len(data)} bytes ends after {at}")
    return offset, timestamp, key, value, headers


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    if length < -1 or at + length > len(data):
        raise ValueError(f"a length of {length}")
    return (None, at) if length < 0 else (data[at : at + length], at + length)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise ValueError("a number has no end")

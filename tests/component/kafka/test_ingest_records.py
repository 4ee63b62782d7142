"""Records in columns say the same as the library's own parser, batch for batch."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from fleetgauge.kafka.records import CHUNK, PartitionRecords, Record, Records

TP = TopicPartition("device-events", 3)
Row = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]

headers = st.lists(st.tuples(st.text(max_size=140), st.none() | st.binary(max_size=140)), max_size=3)
rows = st.tuples(
    st.integers(0, 2**52),
    st.none() | st.binary(max_size=200),
    st.none() | st.binary(max_size=40) | st.integers(0, 40_000).map(lambda size: b"x" * size),
    headers,
)


def batch(rows: Sequence[Row], base: int = 0, codec: int = 3) -> bytes:
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 30)
    for timestamp, key, value, found in rows:
        builder.append(timestamp, key, value, found)
    builder.close()
    made = bytearray(builder.buffer())
    struct.pack_into(">q", made, 0, base)  # the base offset is the broker's to give, and no part of the checksum
    return bytes(made)


def in_columns(data: bytes, first: int = 0) -> tuple[list[Record], int]:
    part = PartitionRecords(first, TP, MemoryRecords(data), isolation_level=IsolationLevel.READ_COMMITTED)
    found: list[Record] = []
    while part:
        chunks: list[Records] = part.take(1)
        for chunk in chunks:
            assert len(chunk) <= CHUNK
            assert part.next_fetch_offset > chunk.offsets[-1]
            found += [chunk.record(i) for i in range(len(chunk))]
    return found, part.next_fetch_offset


def by_the_library(data: bytes, first: int = 0) -> tuple[list[Record], int]:
    part: Any = Fetcher.PartitionRecords(first, TP, MemoryRecords(data))
    found = [
        Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in part.take(None)
    ]
    assert not part
    return found, part.next_fetch_offset


@settings(deadline=None)
@given(st.lists(st.lists(rows, min_size=1, max_size=6), min_size=1, max_size=3), st.integers(0, 2), st.integers(0, 9))
def test_both_parsers_agree(batches: list[list[Row]], codec: int, first: int) -> None:
    data, base = b"", 0
    for number, some in enumerate(batches):
        data += batch(some, base, 3 if codec == 2 else codec)
        base += len(some) + number  # a hole between batches, as compaction leaves them
    first = min(first, base - len(batches))  # a broker answers with what reaches the offset that was asked for
    assert in_columns(data, first) == by_the_library(data, first)


def test_a_batch_with_append_time_gives_it_to_all_its_records() -> None:
    data = bytearray(batch([(1000, b"k", b"v", []), (2000, None, None, [("h", None)])], codec=0))
    data[22] |= 0x08  # timestamp type: the broker's
    struct.pack_into(">I", data, 17, calc_crc32c(memoryview(data)[21:]))
    found = in_columns(bytes(data))
    assert found == by_the_library(bytes(data))
    assert {record.timestamp for record in found[0]} == {2000}


def test_a_large_batch_comes_in_chunks_and_small_ones_together() -> None:
    big: list[Row] = [(i, b"k", b"v%d" % i, [("h", b"1")] if i % 700 == 0 else []) for i in range(2 * CHUNK + 300)]
    small: list[Row] = [(i, None, b"s", []) for i in range(10)]
    data = batch(big) + b"".join(batch(small, len(big) + 10 * i) for i in range(90))
    part = PartitionRecords(5, TP, MemoryRecords(data), isolation_level=IsolationLevel.READ_COMMITTED)
    sizes, nexts, last = [], [], 4
    while part:
        for chunk in part.take(1):
            assert chunk.offsets == list(range(last + 1, last + 1 + len(chunk)))
            last = chunk.offsets[-1]
            sizes.append(len(chunk))
            nexts.append(part.next_fetch_offset)
    assert sizes == [CHUNK, CHUNK, CHUNK, 195]
    assert nexts == [1005, 2005, 3005, 3200]
    assert in_columns(data, 5) == by_the_library(data, 5)


@given(st.lists(rows, min_size=1, max_size=4), st.data())
def test_a_damaged_batch_is_an_error_and_never_a_wrong_record(some: list[Row], data: Any) -> None:
    whole = bytearray(batch(some, codec=0))
    at = data.draw(st.integers(17, len(whole) - 1), label="damaged byte")
    whole[at] ^= data.draw(st.integers(1, 255), label="by")
    with pytest.raises(CorruptRecordError):
        in_columns(bytes(whole))


@given(st.lists(rows, min_size=1, max_size=4), st.data())
def test_even_without_a_checksum_damage_raises_nothing_else(some: list[Row], data: Any) -> None:
    whole = bytearray(batch(some, codec=0))
    at = data.draw(st.integers(61, len(whole) - 1), label="damaged byte")
    whole[at] ^= data.draw(st.integers(1, 255), label="by")
    part = PartitionRecords(0, TP, MemoryRecords(bytes(whole)), check_crcs=False)
    try:
        while part:
            part.take(1)
    except CorruptRecordError:
        pass


def test_splitting_keeps_headers_with_their_records() -> None:
    some = Records.of([Record("t", 0, i, i, None, b"v", [("h", b"%d" % i)] if i % 2 else []) for i in range(6)])
    left, right = some.split(3)
    assert [left.record(i) for i in range(3)] + [right.record(i) for i in range(3)] == [
        some.record(i) for i in range(6)
    ]

"""A record batch within bounded memory: every codec, what was small only while compressed, damage of any kind."""

import struct
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import CorruptRecordError
from kafka.record.memory_records import MemoryRecords
from kafka.record.util import calc_crc32c

from fleetgauge.kafka import batches
from fleetgauge.kafka.batches import CORRUPT, TOO_LARGE, columns
from fleetgauge.kafka.decompress import PIECE, Undecodable, pieces
from fleetgauge.kafka.records import DamagedError, PartitionRecords, Record, Records
from record_batches import CODECS, MIB, made

TP = TopicPartition("device-events", 3)


def signed(batch: bytearray) -> bytes:
    struct.pack_into(">I", batch, 17, calc_crc32c(memoryview(batch)[21:]))
    return bytes(batch)


def read(data: bytes) -> list[batches.Columns]:
    return list(columns(MemoryRecords(data).next_batch()))


def taken(data: bytes, first: int = 0, tries: Any = None) -> list[Records]:
    part = PartitionRecords(first, TP, MemoryRecords(data), tries=tries)
    found: list[Records] = []
    while part:
        found += part.take(1)
    return found


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_is_read_at_once_and_by_and_by(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [b"v%d" % i * 50 for i in range(3_000)]
    data = made(values, codec, base=70)
    (whole,) = read(data)
    monkeypatch.setattr(batches, "AT_ONCE", 20_000)
    parts = read(data)
    assert len(parts) > 5
    assert [value for part in parts for value in part.values] == list(whole.values) == values
    assert [offset for part in parts for offset in part.offsets] == list(range(70, 3_070))
    assert [at for part in parts for at in part.timestamps] == list(whole.timestamps)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_compressed_data_is_told_and_raises_nothing_else(codec: str, data: st.DataObject) -> None:
    batch = bytearray(made([b"a" * 40, b"b" * 40, b"c" * 40], CODECS[codec]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(61, len(batch) - 1))
        batch[at] ^= data.draw(st.integers(1, 255))
    found = read(signed(batch))
    assert found
    for part in found:
        for why in part.unreadable.values():
            assert why.error_type in (CORRUPT, TOO_LARGE) and batches.KEPT in why.reason


def test_an_unknown_codec_leaves_the_batch_as_it_came() -> None:
    batch = bytearray(made([b"a", b"b"], base=5))
    batch[22] |= 6
    ((found),) = read(signed(batch))
    assert found.offsets == [5] and found.values == [signed(batch)]
    assert found.unreadable[0].error_type == CORRUPT
    assert "2 of 2 records cannot be read: compression codec 6 is not known" in found.unreadable[0].reason


def test_a_header_whose_name_is_not_utf8_is_escaped_and_disturbs_nobody() -> None:
    plain = made([b"a", b"b"], headers=[("naXme", b"1"), ("naXme", None)])
    (found,) = read(signed(bytearray(plain.replace(b"naXme", b"na\xffme"))))
    assert found.values == (b"a", b"b") and not found.unreadable
    assert found.headers[0] == [("na\\xffme", b"1"), ("na\\xffme", None)]


def test_what_stands_before_a_broken_record_is_kept() -> None:
    batch = bytearray(made([b"first", b"second", b"third"], base=9))
    at = batch.index(b"second")
    batch[at - 1] = 0x7E  # the length of the value: beyond the record
    good, bad = read(signed(batch))
    assert good.values == (b"first",) and good.offsets == (9,)
    assert bad.offsets == [10] and bad.values == [signed(batch)]
    assert "2 of 3 records cannot be read" in bad.unreadable[0].reason


def test_a_giant_among_others_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "AT_ONCE", 10_000)
    monkeypatch.setattr(batches, "LARGEST", 50_000)
    data = made([b"a", b"x" * 60_000, b"b", b"y" * 50_001, b"c"], CODECS["zstd"], base=100)
    found = read(data)
    assert [(tuple(part.offsets), bool(part.unreadable)) for part in found] == [
        ((100,), False), ((101,), True), ((102,), False), ((103,), True), ((104,), False),
    ]  # fmt: skip
    assert found[1].values == [data] and list(found[1].timestamps) == [1_001]
    assert found[1].unreadable[0].error_type == TOO_LARGE
    assert found[1].unreadable[0].reason.startswith("decompressed batch too large: a record of 6")


def test_a_batch_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "AT_ONCE", 10_000)
    monkeypatch.setattr(batches, "WHOLE", 50_000)
    found = read(made([b"x" * 1_000] * 100, CODECS["lz4"]))
    last = found[-1]
    assert sum(len(part.offsets) for part in found[:-1]) == last.offsets[0] == 49
    assert "51 of 100 records lie beyond 50000 bytes" in last.unreadable[0].reason


def test_a_damaged_batch_is_fetched_again_before_it_counts_as_damaged() -> None:
    good, bad, more = made([b"a"]), bytearray(made([b"b", b"c"], base=1)), made([b"d"], base=3)
    bad[-1] ^= 1
    data = good + bytes(bad) + more
    tries: Counter[Any] = Counter()
    read = partial(PartitionRecords, 0, TP, MemoryRecords(data), tries=tries)
    part = read()
    (chunk,) = part.take(1)
    assert chunk.values == [b"a"] and part.next_fetch_offset == 1
    with pytest.raises(DamagedError, match=r"device-events.* at offset 1 failed its checksum"):
        part.take(1)
    assert not part  # nothing is left of this fetch: the next one begins at offset 1
    with pytest.raises(CorruptRecordError):
        taken(data, 1, tries)
    found = taken(data, 1, tries)
    rows = [chunk.record(i) for chunk in found for i in range(len(chunk))]
    assert [(row.offset, row.value) for row in rows] == [(1, bytes(bad)), (3, b"d")]
    assert [why.error_type for chunk in found for why in chunk.unreadable.values()] == [CORRUPT]


def test_a_damaged_batch_at_the_end_is_left_by_its_own_word_if_that_agrees() -> None:
    bad = bytearray(made([b"b", b"c"], base=7))
    bad[-1] ^= 1
    tries: Counter[Any] = Counter({(TP, 7): 2})
    part = PartitionRecords(7, TP, MemoryRecords(bytes(bad)), tries=tries)
    assert len(part.take(1)) == 1 and part.next_fetch_offset == 9


def test_a_chunk_is_bounded_by_its_bytes_too() -> None:
    one = [made([b" " * (3 * MIB)], CODECS["zstd"], base=i) for i in range(6)]
    assert [len(chunk) for chunk in taken(b"".join(one))] == [1] * 6


def test_times_of_the_broker_and_of_producers_do_not_mix() -> None:
    by_broker = bytearray(made([b"b"], base=1))
    by_broker[22] |= 0x08
    found = taken(made([b"a"]) + signed(by_broker) + made([b"c"], base=2))
    assert [(chunk.values, chunk.by_broker) for chunk in found] == [([b"a"], False), ([b"b"], True), ([b"c"], False)]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
@given(st.binary(max_size=200))
def test_any_bytes_are_decompressed_or_refused(codec: int, data: bytes) -> None:
    with suppress(Undecodable):
        assert all(0 < len(piece) <= PIECE for piece in pieces(codec, data))


def test_splitting_keeps_what_is_unreadable_at_its_offset() -> None:
    some = Records.of([Record("t", 0, i, i, None, b"v", []) for i in range(4)])
    some.unreadable[3] = batches.UnreadableRecord(CORRUPT, "why")
    left, right = some.split(2)
    assert not left.unreadable and list(right.unreadable) == [1]

"""Payloads become bulk lines or dead letters, whatever they hold."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetgauge.contracts import ContractSet
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.indices.event_indices import DAY_MS, NEAR_MS
from fleetgauge.ingest.read.record_headers import ORIGINAL_TIMESTAMP
from fleetgauge.ingest.read.replay_signature import signed
from fleetgauge.kafka.records import Records

NOON = 1_795_262_400_000
"""2026-11-21T12:00Z, in ms."""
MakeBatch = Callable[..., Batch]


def test_a_document_is_the_payload_with_a_suffix(world: Any, batch_of: MakeBatch, documents_of: Any) -> None:
    payload = world.tip_over(7, unknown={"deep": [1, "é"]})
    batch = batch_of(payload)
    (document,) = documents_of(batch)
    assert document == {
        **payload,
        "@timestamp": world.now,
        "event.ingested": world.now,
        "kafka.partition": 0,
        "kafka.offset": 0,
    }
    assert batch.id_of(0) == ("device-events-2025.11.21", "sc-1:e-7")
    assert batch.indices == {"device-events-2025.11.21"}
    assert batch.lines[1] == json.dumps(payload).encode()[:-1]  # the very bytes of the payload
    assert not batch.poison


def test_a_position_becomes_a_point_longitude_first(world: Any, batch_of: MakeBatch, documents_of: Any) -> None:
    batch = batch_of(world.tip_over(location={"lat": 37.123456, "lng": -126.5}), world.tip_over(1))
    with_location, without = documents_of(batch)
    assert with_location["geo.location"] == [-126.5, 37.123456]
    assert "geo.location" not in without


def test_white_space_and_line_ends_do_not_break_the_lines(world: Any, batch_of: MakeBatch, documents_of: Any) -> None:
    pretty = json.dumps(world.tip_over(1), indent=2).encode()
    batch = batch_of(pretty, json.dumps(world.tip_over(2)).encode() + b" \r\n\t", world.tip_over(3))
    assert not batch.poison
    assert [document["event"]["id"] for document in documents_of(batch)] == ["e-1", "e-2", "e-3"]


@pytest.mark.parametrize(
    ("payload", "error_type", "reason"),
    [
        (None, "tombstone", "no value"),
        (b"", "not_json", "truncated"),
        (b"{", "not_json", "truncated"),
        (b"null", "contract", "Expected `object`"),
        (b"[]", "contract", "Expected `object`"),
        (b'{"kind": "nothing"}', "contract", "kind"),
        (b'{"kind": ""}', "contract", ""),
        (b"{}", "contract", "missing required field `kind`"),
        (b'\xef\xbb\xbf{"kind": "tip_over"}', "not_json", "invalid character"),
        (b"[" * 100_000, "contract", "Expected `object`"),
    ],
)
def test_hostile_payloads_are_dead_lettered_with_a_reason(
    batch_of: MakeBatch, payload: bytes | None, error_type: str, reason: str
) -> None:
    batch = batch_of(payload)
    (dead_letter,) = batch.poison
    assert dead_letter.error_type == error_type
    assert reason in dead_letter.reason
    assert not batch.documents and not batch.lines
    assert len(batch) == 1


@pytest.mark.parametrize(
    ("old", "new", "error_type"),
    [
        (b'"tipped_over": true', b'"tipped_over": NaN', "not_json"),
        (b'"tipped_over": true', b'"tipped_over": 1', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "x": "\xff"', "not_utf8"),
        (b'"tipped_over": true', b'"tipped_over": true, "x": "\\ud800"', "not_json"),
        (b'"tipped_over": true', b'"tipped_over": true, "x": ' + b"[" * 9999 + b"]" * 9999, "too_deep"),
        (b'"tipped_over": true', b'"tipped_over": true, "x": "a\nb"', "not_json"),
        (b'"tipped_over": true', b'"tipped_over": true} {}', "not_json"),
        (b'"tipped_over": true', b'"tipped_over": true, "@timestamp": 0', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "kafka": {"offset": 0}', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "kafka.offset": 0', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "k\\u0061fka.offset": 0', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "event.id": "other"', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "_doc_count": 2', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "\\u005fdoc_count": 2', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "kind.": "battery"', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "kafka.": {"partition": 3}', "contract"),
        (b'"tipped_over": true', b'"tipped_over": true, "kafka.offset\\u002e\\u002E" : 3', "contract"),
        (b'"sim": "8982"', b'"sim": "8982", "carrier.": "kt"', "contract"),
        (b'"skt"', b'"s\xff"', "not_utf8"),
        (b'"e-0"', b'"e:0"', "contract"),
        (b'"e-0"', b'"e\\n0"', "contract"),
        (b'"e-0"', b'"\\u00e9"', "contract"),
        (b'"e-0"', b'""', "contract"),
        (b'"8982"', b'"89x2"', "contract"),
        (b'"version": 1', b'"version": 99999999999999999999999', "contract"),
        (b'"version": 1', b'"version": 1e999', "contract"),
        (b'"version": 1', b'"version": 2', "contract"),
        (b"1763700000000", b"1", "contract"),
    ],
)
def test_one_bad_event_does_not_disturb_its_neighbours(
    world: Any, batch_of: MakeBatch, documents_of: Any, old: bytes, new: bytes, error_type: str
) -> None:
    bad = json.dumps(world.tip_over(0)).encode()
    assert old in bad
    batch = batch_of(world.tip_over(1), bad.replace(old, new), world.tip_over(2))
    assert [dead_letter.error_type for dead_letter in batch.poison] == [error_type]
    assert [dead_letter.record.offset for dead_letter in batch.poison] == [1]
    assert [document["event"]["id"] for document in documents_of(batch)] == ["e-1", "e-2"]
    assert list(batch.offsets("device-events", 0)) == [0, 2]
    assert len(batch) == 3


def test_dots_and_escapes_in_texts_are_nobodys_name(world: Any, batch_of: MakeBatch) -> None:
    batch = batch_of(world.tip_over(1, x="ends.", y=["_doc_count", "\n."], z={"a.": {"_b": 1}}), world.tip_over(2))
    assert not batch.poison and batch.documents == 2


def test_patterns_hold_for_values_seen_before_and_after_a_bad_one(world: Any, batch_of: MakeBatch) -> None:
    def sim(value: str) -> Any:
        return world.tip_over(network={"carrier": "skt", "sim": value})

    batch = batch_of(sim("12"), sim("1x"), sim("12"), sim("1x"))
    assert [dead_letter.record.offset for dead_letter in batch.poison] == [1, 3]


def test_a_second_call_keeps_what_the_first_added(world: Any, decoder: Decoder) -> None:
    batch = Batch(0.0)
    decoder.add(batch, Records.of([world.record(world.tip_over(1), 5), world.record(b"x", 6)]))
    size = batch.size
    bad = json.dumps(world.tip_over(2)).replace("e-2", "e:2").encode()
    decoder.add(
        batch, Records.of([world.record(bad, 9, partition=1), world.record(world.tip_over(3), 10, partition=1)])
    )
    assert [batch.record(i).offset for i in range(batch.documents)] == [5, 10]
    assert [dead_letter.record.offset for dead_letter in batch.poison] == [6, 9]
    assert [(span.partition, span.end, span.count) for span in batch.spans] == [(0, 7, 2), (1, 11, 2)]
    assert len(batch.lines) == 6 and batch.size > size


@pytest.mark.parametrize(
    ("ahead", "accepted"),
    [
        (timedelta(minutes=10), True),
        (timedelta(minutes=10, milliseconds=1), False),
        (-timedelta(days=7), True),
        (-timedelta(days=7, milliseconds=1), False),
    ],
)
def test_event_time_is_measured_against_the_kafka_timestamp(
    world: Any, batch_of: MakeBatch, ahead: timedelta, accepted: bool
) -> None:
    appended = world.now - 400 * 86_400_000  # a replay long after: now plays no part
    event = world.tip_over(timestamp=appended + ahead // timedelta(milliseconds=1))
    batch = batch_of(event, timestamp=appended)
    assert [dead_letter.error_type for dead_letter in batch.poison] == ([] if accepted else ["out_of_time_range"])


def test_a_replayed_dead_letter_is_measured_against_its_first_kafka_timestamp(
    world: Any, consumer: Consumer, contracts: ContractSet
) -> None:
    value = world.tip_over(timestamp=world.now - 30 * 86_400_000)
    claimed: Any = [(ORIGINAL_TIMESTAMP, b"%d" % value["timestamp"])]
    payload = json.dumps(value).encode()

    def poison(headers: Any, key: str | None = "k") -> list[str]:
        batch = Batch(0.0)
        decoder = Decoder(consumer, contracts, world.Clock(), key)
        decoder.add(batch, Records.of([world.record(value)._replace(headers=list(headers))]))
        return [dead_letter.error_type for dead_letter in batch.poison]

    assert poison([]) == ["out_of_time_range"]
    assert poison(signed(claimed, payload, "k")) == []
    for forged in (
        claimed,
        signed(claimed, payload, "other"),
        signed(claimed, b"other", "k"),
        [*signed(claimed, payload, "k"), ("fleetgauge.tries", b"9")],
    ):
        assert poison(forged) == ["out_of_time_range"]
    assert poison(signed(claimed, payload, "k"), None) == ["out_of_time_range"]
    assert poison(signed([(ORIGINAL_TIMESTAMP, b"-1e9"), ("other", None)], payload, "k")) == ["out_of_time_range"]


@pytest.mark.parametrize(
    ("ahead", "accepted"),
    [
        (timedelta(days=-35), True),
        (timedelta(days=-36), False),
        (timedelta(days=-9000), False),
        (timedelta(minutes=59), True),
        (timedelta(minutes=61), False),
    ],
)
def test_a_producers_word_on_the_record_time_is_bounded_by_the_clock(
    world: Any, decoder: Decoder, batch_of: MakeBatch, ahead: timedelta, accepted: bool
) -> None:
    at = world.now + ahead // timedelta(milliseconds=1)
    assert not batch_of(world.tip_over(timestamp=at), timestamp=at).poison  # by the broker
    said = Records.of([world.record(world.tip_over(timestamp=at), timestamp=at)])
    said.by_broker = False
    batch = Batch(0.0)
    decoder.add(batch, said)
    assert [dead_letter.error_type for dead_letter in batch.poison] == ([] if accepted else ["record_time"])


@pytest.mark.parametrize(
    ("at", "other"),
    [
        (NOON, None),
        (NOON - NOON % DAY_MS, "2026.11.20"),
        (NOON - NOON % DAY_MS + NEAR_MS, None),
        (NOON - NOON % DAY_MS + DAY_MS - NEAR_MS - 1, None),
        (NOON - NOON % DAY_MS + DAY_MS - 1, "2026.11.22"),
    ],
)
def test_near_midnight_the_neighbouring_index_is_noted(
    world: Any, batch_of: MakeBatch, at: int, other: str | None
) -> None:
    batch = batch_of(world.tip_over(timestamp=at), timestamp=at)
    assert not batch.poison
    assert [near[1][-10:] for near in batch.near_midnight.values()] == ([] if other is None else [other])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_bytes_end_as_document_or_dead_letter(
    world: Any, batch_of: MakeBatch, documents_of: Any, data: st.DataObject
) -> None:
    payload = bytearray(json.dumps(world.tip_over(0, location={"lat": 1.5, "lng": 2.5})).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        payload[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b"\n", b'"', b"}", b"{", b",", b"\\", b"\\u0000", b"9" * 30])
        )
    batch = batch_of(bytes(payload), world.tip_over(1))
    documents = documents_of(batch)
    assert len(batch.poison) + len(documents) == 2
    assert documents[-1]["event"]["id"] == "e-1"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd=st.lists(st.sampled_from(range(10)), max_size=4), by_broker=st.booleans())
def test_records_together_become_what_each_becomes_alone(
    world: Any, decoder: Decoder, odd: list[int], by_broker: bool
) -> None:
    midnight = world.now - world.now % DAY_MS
    rows = [
        (json.dumps(payload).encode() if isinstance(payload, dict) else payload, timestamp)
        for payload, timestamp in (
            (world.tip_over(1, location={"lat": 1.5, "lng": 2.5}), world.now),
            (world.tip_over(2, timestamp=midnight), world.now),
            (world.tip_over(3, unknown="é"), world.now),
            (json.dumps(world.tip_over(4), indent=1).encode(), world.now),
            (json.dumps(world.tip_over(5)).encode() + b" ", world.now),
            (b'{"unknown": "\xff", ' + json.dumps(world.tip_over(6)).encode()[1:], world.now),
            (None, world.now),
            (world.tip_over(8, timestamp=world.now + 7 * DAY_MS), world.now),
            (world.tip_over(9, timestamp=world.now - 300 * DAY_MS), world.now - 300 * DAY_MS),
            (world.tip_over(10, timestamp=5), 5),
        )
    ]
    records = [
        world.record(rows[kind][0], offset, timestamp=rows[kind][1])
        for offset, kind in enumerate([0, *odd[:2], 0, 1, *odd[2:], 0])
    ]
    together, alone = Batch(0.0), Batch(0.0)
    for batch, chunks in ((together, [records]), (alone, [[one] for one in records])):
        for chunk in chunks:
            found = Records.of(chunk)
            found.by_broker = by_broker
            decoder.add(batch, found)
    assert together.lines == alone.lines
    assert together.poison == alone.poison
    assert together.near_midnight == alone.near_midnight
    assert together.indices == alone.indices
    assert together.size == alone.size

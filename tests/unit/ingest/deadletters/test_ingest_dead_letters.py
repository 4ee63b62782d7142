"""Dead letters as a set: what repeats, what was replayed, what came back, and what a replay would do."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import MessageSizeTooLargeError

from fleetgauge.contracts import ContractSet
from fleetgauge.errors import Stop
from fleetgauge.ingest.check.batch import Batch, DeadLetter
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import Consumer, DeadLetterLimit
from fleetgauge.ingest.deadletters.dead_letter_sink import headers, key_of
from fleetgauge.ingest.deadletters.dead_letter_topic import (
    REPLAYED,
    Content,
    DeadLetterIndex,
    Filter,
    StoredDeadLetter,
    content,
    grouped,
)
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deadletters.replay import Result, Validator, replay_headers, send
from fleetgauge.ingest.read import record_headers as h
from fleetgauge.kafka.records import Record, Records

START = datetime(2026, 11, 21, tzinfo=UTC)


class Topic:
    """A dead-letter topic as a list; what is added is what the product's own code would write."""

    def __init__(self) -> None:
        self.index = DeadLetterIndex()
        self.records: list[ConsumerRecord] = []

    def dead_letter(self, record: Record, error_type: str = "contract", reason: str = "because") -> None:
        self.add(headers(DeadLetter(record, error_type, reason), b"location=1"), record.value)

    def mark(self, dead_letter: StoredDeadLetter) -> None:
        partition_headers = [(h.TOPIC, dead_letter.topic.encode()), (h.PARTITION, b"%d" % dead_letter.partition)]
        rest = [(h.OFFSET, b"%d" % dead_letter.offset), (h.CLASS, REPLAYED), (h.TRIES, b"%d" % dead_letter.tries)]
        self.add([*partition_headers, *rest], None)

    def add(self, having: Any, value: bytes | None) -> None:
        offset = len(self.records)
        at_ms = int((START + timedelta(seconds=offset)).timestamp() * 1000)
        made = ConsumerRecord("t.dlq", 0, -1, offset, at_ms, 0, None, value, list(having), None, 0, 0, -1)
        self.records.append(made)
        self.index.add(made)

    def replayed(self, key: str, at: int) -> Record:
        """The dead letter, as a replay would produce it to offset `at` of its topic."""
        dead_letter = self.index.dead_letters[key]
        found = content(self.records[dead_letter.at[1]], dead_letter)
        return Record("t", 0, at, 5_000, found.key, found.payload, [*found.headers, *replay_headers(found)])


def first(offset: int, **changes: Any) -> Record:
    """The record with this offset, at its first try."""
    return Record("t", 0, offset, 1_000 + offset, b"k", b"payload", [("own", b"1")])._replace(**changes)


@pytest.fixture
def topic() -> Topic:
    return Topic()


def test_dead_letters_that_say_the_same_again_are_counted_as_repeats(topic: Topic) -> None:
    for offset in (0, 1, 0, 2, 0):
        topic.dead_letter(first(offset))
    topic.add([("somebody", b"else")], b"x")
    topic.add([(h.CLASS, b"poison"), (h.TOPIC, b"t"), (h.PARTITION, b"NaN"), (h.OFFSET, b"1")], b"x")
    assert sorted(topic.index.dead_letters) == ["t-0-0", "t-0-1", "t-0-2"]
    assert (topic.index.repeats, topic.index.foreign) == (2, 2)


def test_a_dead_letter_that_comes_back_after_its_replay_is_open_again_under_its_old_key(topic: Topic) -> None:
    topic.dead_letter(first(0))
    topic.mark(topic.index.dead_letters["t-0-0"])
    dead_letter = topic.index.dead_letters["t-0-0"]
    assert dead_letter.replayed_at == START + timedelta(seconds=1) and not dead_letter.came_back

    back = topic.replayed("t-0-0", at=77)
    assert key_of(back) == b"t-0-0"
    topic.dead_letter(back, "document_parsing_exception")
    dead_letter = topic.index.dead_letters["t-0-0"]
    assert (dead_letter.replayed_at, dead_letter.tries, dead_letter.came_back) == (None, 2, True)
    assert dead_letter.error_type == "document_parsing_exception"
    found = content(topic.records[-1], dead_letter)
    assert found.appended_ms == 1_000  # of the first try
    assert (found.key, found.payload, found.headers) == (b"k", b"payload", (("own", b"1"),))

    topic.dead_letter(first(0))  # the first dead-lettering, delivered late a second time
    assert topic.index.dead_letters["t-0-0"].tries == 2 and topic.index.repeats == 1
    topic.mark(dead_letter)
    assert topic.index.dead_letters["t-0-0"].replayed_at is not None


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_the_index_agrees_with_a_model_of_dead_letters_and_replays(steps: list[tuple[int, bool]]) -> None:
    topic = Topic()
    tries: dict[int, int] = {}
    is_open: dict[int, bool] = {}
    for number, (offset, is_broken) in enumerate(steps):
        key = f"t-0-{offset}"
        if not is_broken:
            if is_open.get(offset):
                topic.mark(topic.index.dead_letters[key])
                is_open[offset] = False
        elif not tries.get(offset):
            topic.dead_letter(first(offset))
            tries[offset], is_open[offset] = 1, True
        elif not is_open[offset]:
            topic.dead_letter(topic.replayed(key, at=1_000 + number))
            tries[offset] += 1
            is_open[offset] = True
        else:
            topic.dead_letter(first(offset))  # a repeat changes nothing
    assert {key: dead_letter.tries for key, dead_letter in topic.index.dead_letters.items()} == {
        f"t-0-{offset}": count for offset, count in tries.items()
    }
    assert {key for key, dead_letter in topic.index.dead_letters.items() if dead_letter.replayed_at is None} == {
        f"t-0-{offset}" for offset, state in is_open.items() if state
    }


def test_filters_choose_by_type_and_time_and_take_the_oldest(topic: Topic) -> None:
    for offset in range(6):
        topic.dead_letter(first(offset), "contract" if offset % 2 else "not_json")
    dead_letters = topic.index.dead_letters.values()
    assert [dead_letter.offset for dead_letter in Filter().of(dead_letters)] == [0, 1, 2, 3, 4, 5]
    assert [dead_letter.offset for dead_letter in Filter(types=("contract",)).of(dead_letters)] == [1, 3, 5]
    second = timedelta(seconds=1)
    assert [x.offset for x in Filter(since=START + 2 * second, until=START + 4 * second).of(dead_letters)] == [2, 3]
    assert [
        dead_letter.offset for dead_letter in Filter(types=("contract",), limit=2).of(reversed(list(dead_letters)))
    ] == [1, 3]


def test_groups_count_open_replayed_and_returned_dead_letters(topic: Topic) -> None:
    for offset in range(4):
        topic.dead_letter(first(offset))
    topic.dead_letter(first(9, partition=1), "not_json")
    for offset in (0, 1):
        topic.mark(topic.index.dead_letters[f"t-0-{offset}"])
    topic.dead_letter(topic.replayed("t-0-0", at=50))
    largest, other = grouped(topic.index.dead_letters.values())
    assert (largest.error_type, largest.partition, largest.contracts) == ("contract", 0, "location=1")
    assert (largest.open, largest.came_back, largest.replayed) == (3, 1, 1)
    assert (largest.first, largest.last) == (START + timedelta(seconds=1), START + timedelta(seconds=7))
    assert largest.newest == "t-0-0"
    assert (other.error_type, other.partition, other.open) == ("not_json", 1, 1)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"t-3-12", (3, 12)),
        (b"other-3-12", None),
        (b't-3-12"}}', None),  # it becomes a part of a document id
        (b"t-3", None),
        (b"t-3--1", None),
        (b"", None),
        (None, None),
    ],
)
def test_only_a_sound_origin_in_the_same_topic_counts(value: bytes | None, found: tuple[int, int] | None) -> None:
    assert h.first_try("t", [("x", b"y"), (h.ORIGIN, value)]) == found


def test_records_without_an_id_keep_that_of_their_first_try(
    consumer: Consumer, contracts: ContractSet, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "identified", False)  # as a contract without device.id and event.id has it
    decoder = Decoder(consumer, contracts, world.Clock(), "k")
    replay = world.record(world.tip_over(1), 70, headers=[(h.ORIGIN, b"device-events-3-12")])
    batch = Batch(0.0)
    decoder.add(batch, Records.of([world.record(world.tip_over(1), 69), replay]))
    assert [batch.id_of(i)[1] for i in range(2)] == ["device-events-0-69", "device-events-3-12"]


# Replays


def dead_letter_of(value: bytes | None, appended_ms: int) -> Content:
    dead_letter = StoredDeadLetter("device-events", 0, 7, "contract", "tip_over=1", 1, START, (0, 0))
    return Content(dead_letter, "because", appended_ms, None, value, ())


def test_the_validator_says_what_would_come_back(consumer: Consumer, contracts: ContractSet, world: Any) -> None:
    validator = Validator(consumer, contracts, world.Clock())
    good = world.record(world.tip_over(1)).value
    assert validator.wrong(dead_letter_of(good, world.now)) is None
    assert validator.wrong(dead_letter_of(good[:-1], world.now)) == "not_json"
    assert validator.wrong(dead_letter_of(None, world.now)) == "tombstone"
    # The accepted time range is measured against the first try, not against now.
    assert validator.wrong(dead_letter_of(good, world.now + 30 * 86_400_000)) == "out_of_time_range"
    patient = replace(consumer, accept_past=timedelta(days=31))
    assert Validator(patient, contracts, world.Clock()).wrong(dead_letter_of(good, world.now + 30 * 86_400_000)) is None


class Producer:
    """Kafka's producer; records whose value is `refused` do not fit the topic."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    def send(self, topic: str, **record: Any) -> "Sent":
        self.sent.append({"topic": topic, **record})
        return Sent(record.get("value") == b"refused")


@dataclass
class Sent:
    """What Kafka says to one record."""

    refused: bool

    def get(self, timeout: float) -> None:
        if self.refused:
            raise MessageSizeTooLargeError


def test_dead_letters_go_where_they_came_from_and_only_what_was_taken_is_marked(consumer: Consumer) -> None:
    contents = [dead_letter_of(b"1", 5), dead_letter_of(b"refused", 6), dead_letter_of(b"2", 7)]
    gone = replace(contents[0], dead_letter=replace(contents[0].dead_letter, partition=9), headers=(("own", b"x"),))
    producer, result = Producer(), Result(chosen=4)
    send(producer, consumer, [*contents, gone], result)  # type: ignore[arg-type]
    assert (result.replayed, result.failed) == (3, {"MessageSizeTooLargeError": 1})
    records, marks = producer.sent[:4], producer.sent[4:]
    assert [record["topic"] for record in records] == ["device-events"] * 4
    assert [record["partition"] for record in records] == [0, 0, 0, None]  # the last one's is there no more
    assert dict(records[2]["headers"]) == {h.ORIGIN: b"device-events-0-7", h.ORIGINAL_TIMESTAMP: b"7", h.TRIES: b"1"}
    assert records[3]["headers"][0] == ("own", b"x")
    assert [mark["topic"] for mark in marks] == ["device-events.dlq"] * 3
    assert all(dict(mark["headers"])[h.CLASS] == REPLAYED and "value" not in mark for mark in marks)


def test_headers_that_any_producer_may_set_do_not_evade_the_limit(world: Any, batch_of: Callable[..., Batch]) -> None:
    guard = DeadLetterGuard("c", DeadLetterLimit(consecutive=5))
    with pytest.raises(Stop, match="5 records in a row are broken"):
        guard.admit(batch_of(*[b"broken"] * 5, headers=[(h.ORIGIN, b"device-events-0-1"), (h.TRIES, b"1")]))

"""Where --from-time begins, and when it leaves a group alone; the broker's answers are made up here."""

from collections import namedtuple
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import NoError, UnknownMemberIdError

from fleetgauge.cli.output import instant
from fleetgauge.errors import Terminal
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.read.rewind import Rewind, RewindPlan, apply, finish, plan
from fleetgauge.progress.commit_note import CommitNote
from fleetgauge.settings import KafkaSettings

SINCE = datetime(2026, 11, 21, 12, tzinfo=UTC)
SINCE_MS = int(SINCE.timestamp() * 1000)
Found = namedtuple("Found", "offset timestamp")


class Broker:
    """One partition: append times of the records from offset `begin` on, in order; and what the group has committed."""

    def __init__(self, times: list[int], begin: int = 0, committed: int | None = None, mark: str = "") -> None:
        self.times, self.begin = times, begin
        note = CommitNote("first", mark)
        self.committed = None if committed is None else OffsetAndMetadata(committed, str(note), -1)
        self.members = 0
        self.result: type[Exception] = NoError

    def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        return [{"name": topics[0], "partitions": [{"partition_index": 0}]}]

    def list_partition_offsets(
        self, wanted: Mapping[TopicPartition, Any], _isolation: Any = None
    ) -> dict[TopicPartition, Found]:
        (tp,), (spec,) = wanted.keys(), wanted.values()
        if spec is OffsetSpec.EARLIEST:
            return {tp: Found(self.begin, -1)}
        if spec is OffsetSpec.LATEST:
            return {tp: Found(self.begin + len(self.times), -1)}
        at = next((i for i, time in enumerate(self.times) if time >= spec), None)
        return {tp: Found(-1, -1) if at is None else Found(self.begin + at, self.times[at])}

    def list_group_offsets(self, groups: Mapping[str, Any]) -> dict[str, Any]:
        (group,) = groups
        return {group: {} if self.committed is None else {TopicPartition("t", 0): self.committed}}

    def describe_groups(self, groups: list[str]) -> dict[str, Any]:
        return {groups[0]: {"members": [{}] * self.members}}

    def alter_group_offsets(self, group: str, offsets: Mapping[TopicPartition, Any]) -> dict[TopicPartition, Any]:
        if self.result is NoError:
            (self.committed,) = offsets.values()
        return dict.fromkeys(offsets, self.result)

    def close(self) -> None:
        pass


CONSUMER = Consumer("c", "t", ("location",), "i")


def planned(broker: Broker) -> RewindPlan:
    with mock.patch("fleetgauge.kafka.kafka_clients.KafkaAdminClient", lambda **_options: broker):
        return plan(KafkaSettings(), CONSUMER, Rewind(SINCE))


def hours(*relative: int) -> list[int]:
    return [SINCE_MS + hour * 3_600_000 for hour in relative]


def test_it_starts_at_the_first_record_since_the_instant() -> None:
    (part,) = planned(Broker(hours(-2, -1, 0, 1), begin=10, committed=14)).partitions
    assert (part.start, part.again, part.available_from, part.nothing_left) == (12, 2, None, False)


def test_it_says_from_when_on_there_are_records_if_older_ones_were_asked_for() -> None:
    (part,) = planned(Broker(hours(1, 2), begin=10, committed=12)).partitions
    assert (part.start, part.again) == (10, 2)
    assert part.available_from == SINCE + timedelta(hours=1)
    (part,) = planned(Broker(hours(1, 2), begin=0, committed=2)).partitions
    assert part.available_from is None  # nothing was ever deleted
    (part,) = planned(Broker([], begin=7, committed=7)).partitions
    assert (part.start, part.nothing_left, part.available_from) == (7, True, None)


def test_an_instant_after_the_end_means_the_end() -> None:
    (part,) = planned(Broker(hours(-3, -2), committed=2)).partitions
    assert (part.start, part.again) == (2, 0)
    (part,) = planned(Broker(hours(-3, -2), committed=None)).partitions
    assert part.start == 2  # a new group: begin with what comes from now on


@given(
    times=st.lists(st.integers(-100, 100), max_size=20).map(sorted),
    begin=st.integers(0, 50),
    committed=st.none() | st.integers(0, 80),
)
def test_what_the_group_has_not_read_is_never_skipped(times: list[int], begin: int, committed: int | None) -> None:
    broker = Broker([SINCE_MS + time for time in times], begin, committed)
    (part,) = planned(broker).partitions
    end = begin + len(times)
    assert begin <= part.start <= max(end, committed or 0)
    if committed is not None:
        assert part.start <= max(committed, begin)
    wanted = [begin + i for i, time in enumerate(times) if time >= 0]
    assert all(part.start <= offset for offset in wanted)


def test_a_group_with_the_mark_of_this_instant_has_been_rewound_already() -> None:
    assert not planned(Broker(hours(0), committed=1)).applied
    assert planned(Broker(hours(0), committed=1, mark=Rewind(SINCE).mark)).applied
    assert not planned(Broker(hours(0), committed=1, mark=Rewind(SINCE + timedelta(seconds=1)).mark)).applied
    korea = SINCE.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+09:00").tzinfo)
    assert Rewind(korea).mark == Rewind(SINCE).mark


def test_running_members_are_counted() -> None:
    broker = Broker(hours(0))
    assert planned(broker).members == 0
    broker.members = 2
    assert planned(broker).members == 2


def test_a_commit_that_the_broker_refuses_is_an_error(racing: Broker) -> None:
    with pytest.raises(Terminal, match=r"partition 0: UnknownMemberIdError.*stop its members"):
        apply(KafkaSettings(), CONSUMER, Rewind(SINCE))
    racing.result = NoError
    assert not apply(KafkaSettings(), CONSUMER, Rewind(SINCE)).applied


@pytest.mark.parametrize("start", [2, 3])
def test_going_back_is_another_epoch_which_stays_when_the_instant_goes(
    monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    broker = Broker(hours(-2, -1, 0, 1), committed=start)
    monkeypatch.setattr("fleetgauge.kafka.kafka_clients.KafkaAdminClient", lambda **_options: broker)
    apply(KafkaSettings(), CONSUMER, Rewind(SINCE))
    assert broker.committed is not None and broker.committed.offset == 2
    begun = CommitNote.parse(broker.committed.metadata)
    assert begun.epoch not in ("", "first") and begun.rewound_to == "2026-11-21T12:00:00+00:00"
    finish(KafkaSettings(), CONSUMER)
    assert CommitNote.parse(broker.committed.metadata) == CommitNote(begun.epoch)
    apply(KafkaSettings(), CONSUMER, Rewind(SINCE))  # the same command goes back again, and is another epoch again
    assert CommitNote.parse(broker.committed.metadata).epoch not in ("", begun.epoch)


@pytest.fixture
def racing(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """The group gets a member just before our commit."""
    broker = Broker(hours(0), committed=1)
    broker.result = UnknownMemberIdError
    monkeypatch.setattr("fleetgauge.kafka.kafka_clients.KafkaAdminClient", lambda **_options: broker)
    return broker


def test_of_two_that_start_at_once_the_slower_goes_on_if_it_is_the_same_instant(racing: Broker) -> None:
    with pytest.raises(Terminal, match="could not be rewound"):
        apply(KafkaSettings(), CONSUMER, Rewind(SINCE))

    def beaten(group: str, offsets: Mapping[TopicPartition, Any]) -> dict[TopicPartition, Any]:
        racing.committed = OffsetAndMetadata(0, str(CommitNote("other", Rewind(SINCE).mark)), -1)
        return dict.fromkeys(offsets, UnknownMemberIdError)

    racing.alter_group_offsets = beaten  # type: ignore[method-assign]
    assert not apply(KafkaSettings(), CONSUMER, Rewind(SINCE)).applied
    assert apply(KafkaSettings(), CONSUMER, Rewind(SINCE)).applied


def test_instants_need_their_offset() -> None:
    assert instant("--since", "2026-11-21T21:00:00+09:00") == SINCE
    assert instant("--since", "2026-11-21T12:00:00Z") == SINCE
    for text in ("2026-11-21T12:00:00", "2026-11-21", "yesterday", ""):
        with pytest.raises(Terminal, match=f"--since '{text}' is not an instant"):
            instant("--since", text)

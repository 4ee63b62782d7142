"""Which epoch a commit belongs to: it goes on over restarts and rebalances, and ends with any step back."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaTimeoutError
from msgspec.structs import replace

from fleetgauge.clock import SystemClock
from fleetgauge.errors import Transient
from fleetgauge.ingest.consumer import Consumer, DeadLetterLimit
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.operate.service import ConsumeOptions, Service
from fleetgauge.ingest.read.rewind import Rewind
from fleetgauge.ingest.stopping import StopRequest
from fleetgauge.kafka.records import Records
from fleetgauge.progress.commit_note import CommitNote

TP = TopicPartition("t", 0)
SINCE = datetime(2026, 11, 21, tzinfo=UTC)


class Broker:
    """What a group has committed, and how often it was asked."""

    def __init__(self, at: OffsetAndMetadata | None) -> None:
        self.at = at
        self.asked = 0
        self.away = False

    def committed(self, tp: TopicPartition, metadata: bool = False, timeout_ms: int | None = None) -> Any:
        assert tp == TP and metadata
        self.asked += 1
        if self.away:
            raise KafkaTimeoutError
        return self.at

    @property
    def _subscription(self) -> Any:
        return SimpleNamespace(assign_from_subscribed=lambda partitions: None)

    def beginning_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)


class Instant:
    """A pipeline that stores at once."""

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] = {}
        self.guard = DeadLetterGuard("c", DeadLetterLimit())

    def partitions(self) -> dict[TopicPartition, Any]:
        return {}

    def add(self, records: Records) -> None:
        self.ends[TP] = records.offsets[-1] + 1

    def committable(self) -> dict[TopicPartition, int]:
        return self.ends

    def drop(self) -> None:
        self.ends = {}


def records(*offsets: int) -> Any:
    class Chunk:
        pass

    chunk = Chunk()
    chunk.offsets = offsets  # type: ignore[attr-defined]
    return {TP: [chunk]}


def service(broker: Broker, rewind: Rewind | None = None) -> Service:
    consumer = Consumer("c", "t", ("location",), "i")
    return Service(
        consumer,
        broker,  # type: ignore[arg-type]
        Instant(),  # type: ignore[arg-type]
        Metrics("c"),
        SystemClock(),
        ConsumeOptions(rewind=rewind),
        StopRequest(),
    )


def commit(broker: Broker, of: Service) -> CommitNote:
    """Commit what is due; its note."""
    broker.at = of._due()[TP]
    of._is_committed({TP: broker.at})
    return replace(CommitNote.parse(broker.at.metadata), dead_letters={})


def committed(offset: int, note: CommitNote) -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, str(note), -1)


def test_an_epoch_goes_on_over_commits_restarts_and_rebalances() -> None:
    broker = Broker(None)
    first = service(broker)
    first._take(records(0, 1))
    begun = commit(broker, first)
    assert begun.epoch and not begun.rewound_to
    first._take(records(2))
    assert commit(broker, first) == begun
    assert broker.asked == 1  # not once a batch
    first.forget({TP})
    first._take(records(3))
    assert commit(broker, first) == begun
    second = service(broker)
    second._take(records(9))  # compaction leaves holes
    assert commit(broker, second) == begun


def test_a_run_that_was_rewound_names_the_instant_and_keeps_the_epoch() -> None:
    rewind = Rewind(SINCE)
    broker = Broker(committed(5, CommitNote("back", rewind.mark)))
    running = service(broker, rewind)
    running._take(records(5))
    assert commit(broker, running) == CommitNote("back", rewind.mark)
    later = service(broker)
    later._take(records(6))
    assert commit(broker, later) == CommitNote("back")


def expired(broker: Broker) -> int:
    broker.at = None
    return 0


def set_back_from_outside(broker: Broker) -> int:
    broker.at = OffsetAndMetadata(3, "", -1)
    return 3


def reset_by_the_broker(broker: Broker) -> int:
    return 2  # what is committed does not exist any more


@pytest.mark.parametrize("event", [expired, set_back_from_outside, reset_by_the_broker])
def test_any_doubt_begins_another_epoch(event: Callable[[Broker], int]) -> None:
    broker = Broker(committed(5, CommitNote("first")))
    offset = event(broker)
    running = service(broker)
    running._take(records(offset))
    assert commit(broker, running).epoch not in ("", "first")


def test_a_step_back_under_way_begins_another_epoch() -> None:
    broker = Broker(committed(5, CommitNote("first")))
    running = service(broker)
    running._take(records(5, 6))
    assert commit(broker, running).epoch == "first"
    running._take(records(1))
    assert commit(broker, running).epoch not in ("", "first")


def test_nothing_is_taken_over_while_the_last_note_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetgauge.ingest.operate.service._NOTE_LIMIT_S", 0.0)
    broker = Broker(committed(5, CommitNote("first")))
    broker.away = True
    running = service(broker)
    with pytest.raises(Transient, match="has committed in"):
        running._take(records(5))
    assert running._due() == {}

"""Which epoch a commit belongs to: it goes on over restarts and rebalances, and ends with any step back."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from msgspec.structs import replace

from fleetgauge.clock import SystemClock
from fleetgauge.errors import Transient
from fleetgauge.ingest.consumer import Consumer, DeadLetterLimit
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.operate import commits, service
from fleetgauge.ingest.operate.service import ConsumeOptions, Service
from fleetgauge.ingest.read.rewind import Rewind
from fleetgauge.ingest.stopping import StopRequest
from fleetgauge.kafka.records import Records
from fleetgauge.progress.commit_note import CommitNote

TP = TopicPartition("t", 0)
SINCE = datetime(2026, 11, 21, tzinfo=UTC)


Polled = dict[TopicPartition, list[Any]]
Step = Polled | Callable[[Service], None]


class Broker:
    """What a group has committed, and how often it was asked; hands out a script, and stops the service at its end.

    Each step waits until the records before it are committed. A step that is no records is done to the service.
    """

    def __init__(self, at: OffsetAndMetadata | None) -> None:
        self.at = at
        self.asked = 0
        self.away = False
        self.ends = False
        """Whether the process is asked to end while it is away."""
        self.notes: list[CommitNote] = []
        """Of every commit, without what it says of dead letters."""
        self._steps: list[Step] = []
        self._end = 0

    def plays(self, running: Service, stop: StopRequest, steps: Sequence[Step]) -> None:
        """From now on for this service."""
        self._running, self._stop, self._steps = running, stop, list(steps)

    def committed(self, partition: TopicPartition, metadata: bool = False, timeout_ms: int | None = None) -> Any:
        assert partition == TP and metadata
        self.asked += 1
        if self.away:
            if self.ends:
                self._stop.asked.set()
            raise KafkaTimeoutError
        return self.at

    @property
    def _subscription(self) -> Any:
        return SimpleNamespace(assign_from_subscribed=lambda partitions: None)

    def beginning_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def subscribe(self, topics: list[str], listener: Any) -> None:
        pass

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    def position(self, partition: TopicPartition, timeout_ms: int) -> int:
        return 0

    def highwater(self, partition: TopicPartition) -> None:
        return None

    def poll(self, timeout_ms: int) -> Polled:
        if self._end and (self.at is None or self.at.offset != self._end):
            self._stop.asked.wait(timeout_ms / 1000)
            return {}
        if not self._steps:
            self._stop.asked.set()
            return {}
        step = self._steps.pop(0)
        if callable(step):
            step(self._running)
            return {}
        self._end = step[TP][-1].offsets[-1] + 1
        return step

    def commit_async(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> Future:
        self.commit(offsets, 0)
        return Future().success(None)

    def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata], timeout_ms: int) -> None:
        self.at = offsets[TP]
        self.notes.append(replace(CommitNote.parse(self.at.metadata), dead_letters={}))

    def close(self, autocommit: bool, timeout_ms: int) -> None:
        pass


class Instant:
    """A pipeline that stores at once."""

    full = False
    failure = None

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] = {}
        self.guard = DeadLetterGuard("c", DeadLetterLimit())
        self.counts: dict[str, int] = {}

    def partitions(self) -> dict[TopicPartition, Any]:
        return {}

    def collect(self, wait_s: float = 0) -> bool:
        return True

    def pump(self) -> float:
        return 0.01

    def drain(self, limit_s: float, hurry: Any) -> bool:
        return True

    def close(self) -> None:
        pass

    def add(self, records: Records) -> None:
        self.ends[TP] = records.offsets[-1] + 1

    def committable(self) -> dict[TopicPartition, int]:
        return self.ends

    def drop(self) -> None:
        self.ends = {}


@pytest.fixture(autouse=True)
def commits_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step waits for the commit of those before it."""
    monkeypatch.setattr(service, "_COMMIT_EVERY_S", 0.05)


def records(*offsets: int) -> Polled:
    return {TP: [SimpleNamespace(offsets=offsets)]}


def run(broker: Broker, *steps: Step, rewind: Rewind | None = None) -> list[CommitNote]:
    """Run a service over these steps; the notes of its commits."""
    stop, before = StopRequest(), len(broker.notes)
    running = Service(
        Consumer("c", "t", ("location",), "i"),
        broker,  # type: ignore[arg-type]
        Instant(),  # type: ignore[arg-type]
        Metrics("c"),
        SystemClock(),
        ConsumeOptions(rewind=rewind),
        stop,
    )
    broker.plays(running, stop, steps)
    running.run()
    return broker.notes[before:]


def committed(offset: int, note: CommitNote) -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, str(note), -1)


def test_an_epoch_goes_on_over_commits_restarts_and_rebalances() -> None:
    broker = Broker(None)
    gone: Callable[[Service], None] = lambda running: running.forget({TP})  # noqa: E731
    begun, *later = run(broker, records(0, 1), records(2), gone, records(3))
    assert begun.epoch and not begun.rewound_to
    assert later == [begun, begun]
    assert broker.asked == 2  # not once a batch
    assert run(broker, records(9)) == [begun]  # compaction leaves holes


def test_a_run_that_was_rewound_names_the_instant_and_keeps_the_epoch() -> None:
    rewind = Rewind(SINCE)
    broker = Broker(committed(5, CommitNote("back", rewind.mark)))
    assert run(broker, records(5), rewind=rewind) == [CommitNote("back", rewind.mark)]
    assert run(broker, records(6)) == [CommitNote("back")]


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
    (note,) = run(broker, records(event(broker)))
    assert note.epoch not in ("", "first")


def test_a_step_back_under_way_begins_another_epoch() -> None:
    before, *after = run(Broker(committed(5, CommitNote("first"))), records(5, 6), records(1))
    assert before.epoch == "first"
    (epoch,) = {note.epoch for note in after}
    assert epoch not in ("", "first")


def test_nothing_is_taken_over_while_the_last_note_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(committed(5, CommitNote("first")))
    broker.away = True
    monkeypatch.setattr(commits, "_NOTE_LIMIT_S", 0.05)
    with pytest.raises(Transient, match="has committed in"):
        run(broker, records(5))
    assert broker.notes == []


def test_who_is_asked_to_end_meanwhile_ends_in_good_order() -> None:
    broker = Broker(committed(5, CommitNote("first")))
    broker.away = broker.ends = True
    assert run(broker, records(5), records(6)) == []

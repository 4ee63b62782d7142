"""The offsets of one consumer: what was read of each partition, what is committed of it, and with which note."""

import time
from collections.abc import Callable, Mapping

import structlog

from fleetgauge.errors import Transient
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deliver.delivery_pipeline import Pipeline
from fleetgauge.kafka import Future, KafkaConsumer, KafkaError, OffsetAndMetadata, TopicPartition
from fleetgauge.progress.commit_note import CommitNote, new_epoch

_NOTE_LIMIT_S = 60.0
_UNCOMMITTED_S = 30.0


class Commits:
    """Not thread-safe but for `uncommitted`: used by the poll thread, or by whoever drains during a rebalance."""

    def __init__(
        self,
        consumer: Consumer,
        kafka: KafkaConsumer,
        pipeline: Pipeline,
        metrics: Metrics,
        rewound_to: str,
        stopping: Callable[[], bool],
    ) -> None:
        """`rewound_to`: see `CommitNote`. `stopping`: whether the process has been asked to end."""
        self._consumer = consumer
        self._kafka = kafka
        self._pipeline = pipeline
        self._metrics = metrics
        self._rewound_to = rewound_to
        self._stopping = stopping
        self._log = structlog.get_logger("fleetgauge.ingest").bind(consumer=consumer.name)
        self._committed: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._started: dict[TopicPartition, int] = {}
        self._epochs: dict[TopicPartition, str] = {}
        self._missed: dict[TopicPartition, tuple[int, int]] = {}
        self._due_since: float | None = None

    @property
    def committed(self) -> Mapping[TopicPartition, int]:
        """By partition the next offset, as far as this process has committed it."""
        return self._committed

    def next(self, tp: TopicPartition) -> int:
        """The offset behind all that was read of a partition; 0 if nothing was."""
        return self._next.get(tp, 0)

    def uncommitted(self) -> str | None:
        """For readiness: whether Kafka takes no commits for some time; any thread."""
        since = self._due_since
        seconds = 0.0 if since is None else time.monotonic() - since
        return f"Kafka has taken no commit for {seconds:.0f} s" if seconds > _UNCOMMITTED_S else None

    def follow(self, tp: TopicPartition, offset: int, end: int) -> None:
        """Before the records from `offset` up to `end` are taken over: whether they continue what was read before.

        Blocks, for a partition that is new here, until Kafka says what the group has committed in it. Raises
        `Transient` if it does not.
        """
        expected = self._next.get(tp)
        if expected is None:
            at = self._noted(tp)
            expected = None if at is None else at.offset
            note = CommitNote.parse(None if at is None else at.metadata)
            self._epochs[tp], self._missed[tp] = note.epoch, (note.missed, note.missed_ms)
            self._started[tp] = offset if expected is None else expected
            self._pipeline.guard.restore(tp.topic, tp.partition, note.dead_letters)
        if expected is None or offset < expected or not self._epochs[tp]:
            self._epochs[tp] = new_epoch()
        if expected is not None and offset > expected:
            self._look_for_missed(tp, expected)
        self._next[tp] = end

    def forget(self) -> None:
        """The partitions are gone: whoever reads them next starts from the last commit."""
        self._committed.clear()
        self._next.clear()
        self._started.clear()

    def due(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """What is final and not committed yet."""
        return {
            tp: OffsetAndMetadata(offset, self._note(tp), -1)
            for tp, offset in self._pipeline.committable().items()
            if self._committed.get(tp) != offset
        }

    def commit_async(self) -> Future | None:
        """Commit what is due without waiting; None if nothing is."""
        due = self.due()
        if not due:
            self._due_since = None
            return None
        self._due_since = self._due_since or time.monotonic()
        future: Future = self._kafka.commit_async(due)
        future.add_callback(lambda _: self.is_committed(due))
        future.add_errback(lambda error: self._is_refused(due, error))
        return future

    def commit_at_the_end(self) -> None:
        """Commit what is final, and wait for it; a refusal is logged."""
        due = self.due() | self._halted()
        try:
            if due:
                self._kafka.commit(due, timeout_ms=10_000)
                self.is_committed(due)
        except KafkaError as error:
            self._is_refused(due, error)

    def is_committed(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Kafka has taken these."""
        self._metrics.of(m.COMMITS, "ok").inc()
        self._due_since = None
        for tp, offset in offsets.items():
            self._committed[tp] = max(offset.offset, self._committed.get(tp, 0))

    def reached(self, goal: Mapping[TopicPartition, int]) -> bool:
        """Whether the group has committed up to these offsets; asks Kafka where another member reads."""
        assigned = self._kafka.assignment()
        for tp, end in goal.items():
            if self._committed.get(tp, 0) >= end:
                continue
            if tp in assigned:
                return False
            try:  # read by another member, or finished before we started
                if (self._kafka.committed(tp, timeout_ms=5_000) or 0) < end:
                    return False
            except KafkaError:
                return False
        return True

    def _noted(self, tp: TopicPartition) -> OffsetAndMetadata | None:
        """What the group has committed there. Without it a dead-letter limit that was reached would be forgotten."""
        give_up = time.monotonic() + _NOTE_LIMIT_S
        while True:
            try:
                return self._kafka.committed(tp, metadata=True, timeout_ms=5_000)
            except KafkaError as error:
                if time.monotonic() > give_up or self._stopping():
                    raise Transient(
                        f"Kafka does not say what {self._consumer.group} has committed in {tp.topic} partition "
                        f"{tp.partition}: {type(error).__name__}; check the group's coordinator, then start again"
                    ) from None

    def _look_for_missed(self, tp: TopicPartition, expected: int) -> None:
        """Tell when Kafka's retention deleted records before they were read: kafka-python goes on without a word."""
        try:
            # Compaction and transaction markers leave holes too; only the beginning of the log tells which is which.
            missed = self._kafka.beginning_offsets([tp], timeout_ms=5_000)[tp] - expected
        except KafkaError:
            return
        if missed > 0:
            self._metrics.of(m.MISSED).inc(missed)
            self._missed[tp] = (self._missed.get(tp, (0, 0))[0] + missed, int(time.time() * 1000))
            self._log.error(
                "records were deleted by the retention of the topic before they were read",
                topic=tp.topic,
                partition=tp.partition,
                offset=expected,
                records=missed,
            )

    def _note(self, tp: TopicPartition) -> str:
        read = self._pipeline.partitions().get(tp)
        counter = self._pipeline.guard.note(tp.topic, tp.partition, None if read is None else read.last)
        return str(CommitNote(self._epochs[tp], self._rewound_to, counter, *self._missed.get(tp, (0, 0))))

    def _halted(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """A dead-letter limit that was reached is noted even where no offset moves: no restart may forget it."""
        committable = self._pipeline.committable()
        halted = (TopicPartition(*tp) for tp in self._pipeline.guard.halted())
        return {
            tp: OffsetAndMetadata(committable.get(tp, self._started[tp]), self._note(tp), -1)
            for tp in halted
            if tp in self._started
        }

    def _is_refused(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], error: BaseException) -> None:
        # After a rebalance this is normal: whoever has the partition now reads from the last commit.
        self._metrics.of(m.COMMITS, "refused").inc()
        self._log.info(
            "offsets not committed; the work comes again",
            offsets={tp.partition: offset.offset for tp, offset in offsets.items()},
            error=f"{type(error).__name__}: {error}",
        )

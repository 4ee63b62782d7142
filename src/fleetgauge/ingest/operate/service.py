"""Run one consumer: poll Kafka, keep the pipeline fed, commit what is final, serve metrics, leave in good order."""

import resource
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from fleetgauge.clock import Clock
from fleetgauge.errors import Transient
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deliver.delivery_pipeline import Pipeline
from fleetgauge.ingest.operate.commits import Commits
from fleetgauge.ingest.read.rewind import Rewind
from fleetgauge.ingest.stopping import StopRequest
from fleetgauge.kafka import (
    AsyncConsumerRebalanceListener,
    Future,
    KafkaConsumer,
    KafkaError,
    RetriableError,
    TopicPartition,
)
from fleetgauge.kafka.internals import forget_positions, on_io_thread, rejoin
from fleetgauge.kafka.kafka_errors import translate
from fleetgauge.kafka.records import Records

_COMMIT_EVERY_S = 0.5
_COMMIT_LIMIT_S = 10.0
_GAUGES_EVERY_S = 2.0
_ASK_EVERY_S = 10.0
_SILENT_S = 30.0
_KEEP_ALIVE_S = 1.0
_POLL_S = 0.1
_STUCK_S = 120.0


@dataclass(frozen=True)
class ConsumeOptions:
    """How one run behaves."""

    until_caught_up: bool = False
    """End once everything that was in the topic at the start is committed."""
    drain: timedelta = timedelta(seconds=20)
    """How long a shutdown or a rebalance waits for the events that are under way."""
    rewind: Rewind | None = None
    """Go back to an instant before reading."""


@dataclass
class Summary:
    """What a run did."""

    consumer: str
    events: dict[str, int]
    """Final events by class."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the whole process meanwhile, other consumers in it included; so is the peak."""
    peak_rss_bytes: int = 0
    committed: dict[str, int] = field(default_factory=dict)
    """`topic-partition` → offset of the next record, of the partitions held at the end."""
    drained: bool = True
    """False: some events were under way when the time was up; they come again."""
    caught_up: bool = False
    """The end that `until_caught_up` asks for was reached."""


class Service:
    """One consumer at work. `run` blocks until it is asked to stop, an error, or the end that was asked for."""

    def __init__(
        self,
        consumer: Consumer,
        kafka: KafkaConsumer,
        pipeline: Pipeline,
        metrics: Metrics,
        clock: Clock,
        options: ConsumeOptions,
        stop: StopRequest,
        goal: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        """`stop`: asked by whoever owns the process. `goal`: end once these offsets are committed; None: never."""
        self._consumer = consumer
        self._kafka = kafka
        self._pipeline = pipeline
        self._metrics = metrics
        self._clock = clock
        self._options = options
        self._goal = goal
        self._log = structlog.get_logger("fleetgauge.ingest").bind(consumer=consumer.name)
        self._stop = stop
        mark = options.rewind.mark if options.rewind is not None else ""
        self.commits = Commits(consumer, kafka, pipeline, metrics, mark, stop.asked.is_set)
        self._leaving = False
        self._paused: set[TopicPartition] = set()
        self._turned_at = time.monotonic()
        self._last_poll = self._last_commit = self._last_gauges = 0.0
        self._last_asked = self._turned_at
        self._silent_since: float | None = None

    def healthy(self) -> str | None:
        """What is wrong with the process itself, for `/healthz`; any thread."""
        silent = time.monotonic() - self._turned_at
        return f"the loop has not turned for {silent:.0f} s" if silent > _STUCK_S else None

    def assigned(self) -> bool:
        """Whether the group has given us partitions; any thread."""
        return bool(self._kafka.assignment())

    def uncommitted(self) -> str | None:
        """For readiness: whether Kafka takes no commits for some time; any thread."""
        return self.commits.uncommitted()

    def silent(self) -> str | None:
        """For readiness: whether Kafka has not answered for some time, though nobody had anything to commit; any
        thread."""
        seconds = self._silent_s()
        return f"Kafka has not answered for {seconds:.0f} s" if seconds > _SILENT_S else None

    def run(self) -> Summary:
        """Raises `Stop`, `Terminal` or `Transient`; what was final until then is committed."""
        started, cpu = time.monotonic(), time.process_time()
        drained = False
        try:
            self._kafka.subscribe([self._consumer.topic], listener=_Listener(self))
            self._kafka.partitions_for_topic(self._consumer.topic)  # known before joining, else we join twice
            try:
                caught_up = self._loop()
            finally:  # also if Kafka hands out no more: what was read before is none the worse for it
                drained = self._pipeline.drain(self._options.drain.total_seconds(), self._stop.hurry)
            self._raise_failure()
        finally:
            self._leave()
        return Summary(
            self._consumer.name,
            dict(self._pipeline.counts),
            round(time.monotonic() - started, 3),
            round(time.process_time() - cpu, 3),
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            {f"{tp.topic}-{tp.partition}": offset for tp, offset in sorted(self.commits.committed.items())},
            drained,
            caught_up,
        )

    def _loop(self) -> bool:
        """Whether it ended because the goal was reached."""
        while not self._stop.asked.is_set():
            self._turned_at = time.monotonic()
            self._pipeline.collect()
            self._raise_failure()
            wait = self._pipeline.pump()
            if self._pipeline.full:
                if not self._pipeline.collect(_POLL_S):
                    self._keep_alive()
            else:
                self._resume()
                self._take(self._poll(min(wait, _POLL_S)))
            now = time.monotonic()
            if now - self._last_commit >= _COMMIT_EVERY_S:
                self._last_commit = now
                self._pass_markers()
                self.commits.commit_async()
                if self._goal is not None and self.commits.reached(self._goal):
                    self._log.info("caught up")
                    return True
            if now - self._last_asked >= _ASK_EVERY_S:
                self._ask_whether_it_answers(now)
            if now - self._last_gauges >= _GAUGES_EVERY_S:
                self._last_gauges = now
                self._set_gauges()
        return False

    def _poll(self, timeout: float) -> Mapping[TopicPartition, list[Records]]:
        self._last_poll = time.monotonic()
        try:
            records: Mapping[TopicPartition, list[Records]] = self._kafka.poll(timeout_ms=max(1, int(timeout * 1000)))
        except RetriableError as error:
            self._log.warning("Kafka cannot be read; trying again", error=str(error))
            self._stop.asked.wait(_POLL_S)
            return {}
        except KafkaError as error:
            what = f"Kafka cannot be read by {self._consumer.group}, and nothing after it was committed"
            raise translate(error, what, "READ topic and group") from error
        return records

    def _take(self, records: Mapping[TopicPartition, list[Records]]) -> None:
        for tp, chunks in records.items():
            for chunk in chunks:
                if not self._follow(tp, chunk.offsets[0], chunk.offsets[-1] + 1):
                    return
                self._pipeline.add(chunk)

    def _follow(self, tp: TopicPartition, offset: int, end: int) -> bool:
        """False if Kafka does not answer and we are to end: then nothing is taken over, and it comes again."""
        try:
            self.commits.follow(tp, offset, end)
        except Transient as error:
            if not self._stop.asked.is_set():
                raise
            self._log.warning("ends while Kafka does not answer; what was read comes again", error=str(error))
            return False
        return True

    def _pass_markers(self) -> None:
        """Where the position is beyond all records: transactions end with markers, and their aborted records are none.

        Committed like records, or a topic that is fully read would never look so.
        """
        for tp in self._kafka.assignment() - self._paused:
            position = self._position(tp)
            if position > self.commits.next(tp) and self._follow(tp, position, position):
                self._pipeline.skip(tp, position)

    def _position(self, tp: TopicPartition) -> int:
        """The offset to be fetched next; 0 while it is not known."""
        try:
            return self._kafka.position(tp, timeout_ms=100) or 0
        except KafkaError:  # a rebalance has just taken it
            return 0

    def _keep_alive(self) -> None:
        """The work in flight is at its cap: hold all partitions back, but stay a member of the group."""
        if time.monotonic() - self._last_poll < _KEEP_ALIVE_S:
            return
        self._paused = set(self._kafka.assignment())
        self._kafka.pause(*self._paused)
        self._metrics.of(m.PAUSED).set(len(self._paused))
        self._take(self._poll(0))  # empty, unless a rebalance has just brought new partitions

    def _resume(self) -> None:
        if self._paused:
            self._kafka.resume(*(self._paused & self._kafka.assignment()))
            self._paused = set()
            self._metrics.of(m.PAUSED).set(0)

    def _raise_failure(self) -> None:
        if self._pipeline.failure is not None:
            raise self._pipeline.failure

    def _leave(self) -> None:
        """Commit what is final and leave the group."""
        self._leaving = True
        self.commits.commit_at_the_end()
        self._pipeline.close()
        try:
            self._kafka.close(autocommit=False, timeout_ms=5_000)
        except KafkaError as error:
            self._log.warning("could not leave the group in good order", error=str(error))

    # Rebalances: called on Kafka's IO thread while the poll thread waits inside poll()

    def hand_over(self) -> Future:
        """Drain and commit in a thread of its own; the future is done when the partitions may go."""
        done = Future()
        rejoin(self._kafka)

        def work() -> None:
            try:
                if not self._pipeline.drain(self._options.drain.total_seconds(), self._stop.hurry):
                    rest = {
                        tp.partition: offsets.committable or self.commits.committed.get(tp)
                        for tp, offsets in self._pipeline.partitions().items()
                        if offsets.outstanding
                    }
                    self._log.info("partitions are revoked before all was stored; the rest comes again", offsets=rest)
                if commit := self.commits.commit_async():
                    answered = threading.Event()
                    commit.add_both(lambda _: answered.set())
                    answered.wait(_COMMIT_LIMIT_S)
            except Exception as error:
                self._log.warning("hand-over failed; the work comes again", error=str(error))
            on_io_thread(self._kafka, done.success, None)

        threading.Thread(target=work, name="hand-over", daemon=True).start()
        return done

    def forget(self, partitions: set[TopicPartition]) -> None:
        """The partitions have gone: all that we held, as the group rebalances eagerly."""
        if partitions:
            self._metrics.of(m.REBALANCES).inc()
            self._log.info("partitions gone", partitions=sorted(tp.partition for tp in partitions))
        for tp in partitions:
            for of in ("append", "event"):
                self._metrics.drop(m.LAG_SECONDS, tp.topic, tp.partition, of)
            self._metrics.drop(m.LAG_RECORDS, tp.topic, tp.partition)
        forget_positions(self._kafka)
        self._pipeline.drop()
        self.commits.forget()
        self._paused = set()
        self._metrics.of(m.ASSIGNED).set(0)

    @property
    def leaving(self) -> bool:
        """The final commit is done, so a revocation needs no further work."""
        return self._leaving

    def assign(self, partitions: set[TopicPartition]) -> None:
        """The partitions that we hold from now on."""
        self._log.info("partitions assigned", partitions=sorted(tp.partition for tp in partitions))
        self._metrics.of(m.ASSIGNED).set(len(partitions))

    # What is shown

    def _ask_whether_it_answers(self, now: float) -> None:
        """Of a broker that says nothing, poll() tells nothing: it finds no records, as in a quiet topic."""
        self._last_asked = now
        try:
            if held := self._kafka.assignment():
                self._kafka.end_offsets(held, timeout_ms=2_000)
        except KafkaError:
            self._silent_since = self._silent_since or now
        else:
            self._silent_since = None

    def _silent_s(self) -> float:
        since = self._silent_since
        return 0.0 if since is None else time.monotonic() - since

    def _set_gauges(self) -> None:
        self._metrics.of(m.KAFKA_SILENT).set(self._silent_s())
        now_ms = self._clock.now().timestamp() * 1000
        ends = self._ends()
        for tp, offsets in self._pipeline.partitions().items():
            committed = offsets.committable
            if tp not in ends or committed is None:
                continue
            behind = max(0, ends[tp] - committed)
            labels = tp.topic, tp.partition
            self._metrics.of(m.LAG_RECORDS, *labels).set(behind)
            if offsets.last is None:
                continue
            append = (now_ms - offsets.last.appended_ms) / 1000 if behind else 0.0
            self._metrics.of(m.LAG_SECONDS, *labels, "append").set(append)
            if offsets.last.event_ms:
                self._metrics.of(m.LAG_SECONDS, *labels, "event").set((now_ms - offsets.last.event_ms) / 1000)

    def _ends(self) -> dict[TopicPartition, int]:
        """Where each partition ends for us: at its high watermark, or before a transaction that is still open."""
        known = {tp: self._kafka.highwater(tp) for tp in self._kafka.assignment()}
        ends = {tp: end for tp, end in known.items() if end is not None}
        beyond = [tp for tp, end in ends.items() if end > self.commits.next(tp)]
        try:
            return ends | (self._kafka.end_offsets(beyond, timeout_ms=2_000) if beyond else {})
        except KafkaError:
            return ends


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc] # kafka-python is untyped
    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if not self._service.leaving:
            await self._service.hand_over()
            self._service.forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._service.assign(assigned)

    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self._service.forget(lost)

"""A bounded number of batches under way: decoded by the poll thread, written by worker threads.

All methods belong to one thread at a time (the poll thread, or the one that drains during a rebalance).
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping

from fleetgauge.errors import FleetgaugeError
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deliver.delivery import Delivery, Report
from fleetgauge.ingest.read.partition_offsets import PartitionOffsets
from fleetgauge.kafka import TopicPartition
from fleetgauge.kafka.records import Records

_TICK_S = 0.05
_BUSY_S = 0.02
"""How soon the end of a request is noticed when a batch waits for it: sooner would keep a core busy with asking."""
_GIANTS = 32 * 1024 * 1024
"""Bytes under way beyond which nothing more is read: a record may be a hundred times the usual batch, and is copied."""


class Pipeline:
    """From polled records to committable offsets."""

    def __init__(
        self,
        consumer: Consumer,
        decoder: Decoder,
        delivery: Delivery,
        metrics: Metrics,
        guard: DeadLetterGuard | None = None,
    ) -> None:
        """`guard`: the one that `delivery` asks; None makes one that nobody asks."""
        self.guard = guard or DeadLetterGuard(consumer.name, consumer.dead_letters)
        """Counts dead letters in the order in which batches are sent."""
        self._consumer = consumer
        self._decoder = decoder
        self._delivery = delivery
        self._metrics = metrics
        self._linger = consumer.linger.total_seconds()
        self._enough = max(_GIANTS, consumer.requests * consumer.batch_bytes)
        self._offsets: dict[TopicPartition, PartitionOffsets] = {}
        self._building: Batch | None = None
        self._in_flight: set[Batch] = set()
        self._work: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.counts = {"ok": 0, "duplicate": 0, "poison": 0}
        """Final events by class; `quarantine` and `collision` besides, where there are any."""
        self.failure: FleetgaugeError | None = None
        """Set once a batch ended in an error: nothing of it may be committed, and the process has to end."""
        for number in range(consumer.requests):
            # Daemons: a request that hangs must not keep a process alive that has given up.
            threading.Thread(target=self._run, name=f"bulk-{number}", daemon=True).start()

    def _run(self) -> None:
        while (batch := self._work.get()) is not None:
            self._done.put(self._delivery.deliver(batch))

    @property
    def full(self) -> bool:
        """Whether the batch being built has its size, or those under way are giants: poll no more until one is done."""
        batch = self._building
        return sum(batch.size for batch in self._in_flight) >= self._enough or (
            batch is not None
            and (batch.size >= self._consumer.batch_bytes or batch.documents >= self._consumer.batch_records)
        )

    @property
    def idle(self) -> bool:
        """Nothing is being built or written."""
        return self._building is None and not self._in_flight

    def add(self, records: Records) -> None:
        """Decode consecutive records of one partition; does not block."""
        if self._building is None:
            self._building = Batch(time.monotonic())
        span = self._decoder.add(self._building, records)
        tp = TopicPartition(records.topic, records.partition)
        self._offsets.setdefault(tp, PartitionOffsets()).read(span)

    def skip(self, tp: TopicPartition, end: int) -> None:
        """Up to the offset `end` there is no record."""
        self._offsets.setdefault(tp, PartitionOffsets()).skip(tp.topic, tp.partition, end)

    def pump(self, *, flush: bool = False) -> float:
        """Send the batch being built if it is due and a request is free; returns seconds until it is worth a try."""
        batch = self._building
        if batch is None:
            return self._linger
        wait = batch.opened_at + self._linger - time.monotonic()
        if len(self._in_flight) >= self._consumer.requests:
            return max(wait, _BUSY_S)
        if not (self.full or flush or wait <= 0):
            return wait
        self._building = None
        self.guard.expect(batch)
        self._in_flight.add(batch)
        self._metrics.of(m.IN_FLIGHT_BYTES).inc(batch.size)
        self._work.put(batch)
        return self._linger

    def collect(self, timeout: float = 0.0) -> bool:
        """Take over finished batches, waiting up to `timeout` seconds for the first; whether there was any."""
        got = False
        while True:
            try:
                report = self._done.get(timeout=timeout) if timeout > 0 else self._done.get_nowait()
            except queue.Empty:
                return got
            timeout = 0.0
            got = True
            self._take(report)

    def _take(self, report: Report) -> None:
        batch = report.batch
        self._in_flight.discard(batch)
        self._metrics.of(m.IN_FLIGHT_BYTES).dec(batch.size)
        if report.error is not None and not batch.cancelled:
            self.failure = self.failure or report.error
        if not report.finished:
            return
        for span in batch.spans:
            span.finished = True
        kinds = Counter(dead_letter.kind.value for dead_letter in batch.poison)
        for name, count in (("ok", report.created), ("duplicate", report.duplicates), *kinds.items()):
            if count:
                self.counts[name] = self.counts.get(name, 0) + count
                self._metrics.of(m.EVENTS, name).inc(count)
        for dead_letter in batch.poison:
            self._metrics.of(m.DEAD_LETTERS, dead_letter.error_type).inc()

    def drain(self, limit: float, give_up: threading.Event | None = None) -> bool:
        """Finish what has been read, for at most `limit` seconds; whether all of it is final."""
        deadline = time.monotonic() + limit
        while not self.idle and self.failure is None and time.monotonic() < deadline:
            if give_up is not None and give_up.is_set():
                break
            self.pump(flush=True)
            self.collect(min(_TICK_S, max(deadline - time.monotonic(), 0.001)))
        return self.idle

    def committable(self) -> Mapping[TopicPartition, int]:
        """For each partition the offset below which everything is final."""
        found = {tp: offsets.committable for tp, offsets in self._offsets.items()}
        return {tp: offset for tp, offset in found.items() if offset is not None}

    def partitions(self) -> Mapping[TopicPartition, PartitionOffsets]:
        """What is known of each partition read."""
        return self._offsets

    def drop(self) -> None:
        """Forget everything read: the partitions are gone, or the process ends. What was unfinished comes again."""
        for batch in self._in_flight:
            batch.cancel()
        self.guard.forget()
        self._building = None
        self._offsets = {}

    def close(self) -> None:
        """End the worker threads as soon as they are free; does not wait for them."""
        self.drop()
        for _ in range(self._consumer.requests):
            self._work.put(None)

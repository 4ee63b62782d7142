"""Batches under way: bounded, finished in any order, committed contiguously."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from kafka import TopicPartition

from fleetgauge.errors import Stop
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deliver.delivery import Report
from fleetgauge.ingest.deliver.delivery_pipeline import Pipeline
from fleetgauge.kafka.records import Records

TP = TopicPartition("device-events", 0)


class HeldDelivery:
    """Finishes a batch only when the test says so."""

    def __init__(self) -> None:
        self.held: list[Batch] = []
        self._released = threading.Condition()
        self._reports: dict[int, Report] = {}

    def deliver(self, batch: Batch) -> Report:
        with self._released:
            self.held.append(batch)
            self._released.notify_all()
            assert self._released.wait_for(lambda: id(batch) in self._reports, timeout=10)
            return self._reports[id(batch)]

    def wait_for(self, count: int) -> None:
        with self._released:
            assert self._released.wait_for(lambda: len(self.held) >= count, timeout=10)

    def finish(self, batch: Batch, error: Any = None) -> None:
        with self._released:
            report = Report(batch, created=batch.documents, finished=error is None, error=error)
            self._reports[id(batch)] = report
            self._released.notify_all()


@pytest.fixture
def delivery() -> HeldDelivery:
    return HeldDelivery()


@pytest.fixture
def pipeline(consumer: Consumer, decoder: Decoder, delivery: HeldDelivery) -> Iterator[Pipeline]:
    small = replace(consumer, batch_records=2, requests=2, linger=timedelta(seconds=0.05))
    made = Pipeline(small, decoder, delivery, Metrics("test"))  # type: ignore[arg-type]
    yield made
    made.close()
    for batch in delivery.held:
        delivery.finish(batch)


def feed(pipeline: Pipeline, world: Any, first: int, count: int = 2) -> None:
    records = [world.record(world.tip_over(number), number) for number in range(first, first + count)]
    pipeline.add(Records.of(records))


def collect(pipeline: Pipeline) -> None:
    assert pipeline.collect(10)


def test_completion_out_of_order_commits_only_the_beginning(
    pipeline: Pipeline, delivery: HeldDelivery, world: Any
) -> None:
    for first in (0, 2):
        feed(pipeline, world, first)
        assert pipeline.full
        pipeline.pump()
    delivery.wait_for(2)
    early, late = sorted(delivery.held, key=lambda batch: batch.record(0).offset)
    delivery.finish(late)
    collect(pipeline)
    assert pipeline.committable() == {}
    delivery.finish(early)
    collect(pipeline)
    assert pipeline.committable() == {TP: 4}
    assert pipeline.counts["ok"] == 4 and pipeline.idle


def test_no_more_requests_than_allowed_are_under_way(pipeline: Pipeline, delivery: HeldDelivery, world: Any) -> None:
    for first in (0, 2, 4):
        feed(pipeline, world, first)
        pipeline.pump(flush=True)
    delivery.wait_for(2)
    assert pipeline.full  # the third batch waits, so no more is polled
    pipeline.pump(flush=True)
    assert len(delivery.held) == 2
    delivery.finish(delivery.held[0])
    collect(pipeline)
    pipeline.pump()
    delivery.wait_for(3)


def test_a_small_batch_goes_when_it_has_lingered(pipeline: Pipeline, delivery: HeldDelivery, world: Any) -> None:
    feed(pipeline, world, 0, count=1)
    assert not pipeline.full and 0 < pipeline.pump() <= 0.05
    assert not delivery.held
    deadline = time.monotonic() + 10
    while not delivery.held and time.monotonic() < deadline:
        time.sleep(pipeline.pump())
    assert len(delivery.held) == 1


def test_a_batch_that_is_due_while_all_requests_are_under_way_is_not_tried_all_the_time(
    pipeline: Pipeline, delivery: HeldDelivery, world: Any
) -> None:
    for first in (0, 2):
        feed(pipeline, world, first)
        pipeline.pump()
    delivery.wait_for(2)
    feed(pipeline, world, 4, count=1)
    time.sleep(0.06)  # longer than it lingers
    assert 0.01 <= pipeline.pump() <= 0.05
    delivery.finish(delivery.held[0])
    collect(pipeline)
    pipeline.pump()
    delivery.wait_for(3)


def test_a_failed_batch_is_never_committed(pipeline: Pipeline, delivery: HeldDelivery, world: Any) -> None:
    for first in (0, 2):
        feed(pipeline, world, first)
        pipeline.pump()
    delivery.wait_for(2)
    first_batch, second = sorted(delivery.held, key=lambda batch: batch.record(0).offset)
    delivery.finish(first_batch)
    collect(pipeline)
    delivery.finish(second, Stop("refused"))
    collect(pipeline)
    assert isinstance(pipeline.failure, Stop)
    assert pipeline.committable() == {TP: 2}


def test_dropped_partitions_are_cancelled_and_forgotten(pipeline: Pipeline, delivery: HeldDelivery, world: Any) -> None:
    feed(pipeline, world, 0)
    pipeline.pump()
    feed(pipeline, world, 2)
    delivery.wait_for(1)
    pipeline.drop()
    assert delivery.held[0].cancelled
    delivery.finish(delivery.held[0], Stop("late, and of no consequence"))
    collect(pipeline)
    assert pipeline.failure is None and pipeline.committable() == {} and pipeline.idle
    feed(pipeline, world, 0)  # the same records, read again
    pipeline.pump()
    delivery.wait_for(2)
    delivery.finish(delivery.held[1])
    collect(pipeline)
    assert pipeline.committable() == {TP: 2}


def test_draining_finishes_what_was_read_or_gives_up_in_time(
    pipeline: Pipeline, delivery: HeldDelivery, world: Any
) -> None:
    feed(pipeline, world, 0, count=1)
    assert not pipeline.drain(0.1)
    delivery.wait_for(1)
    delivery.finish(delivery.held[0])
    assert pipeline.drain(10)
    assert pipeline.committable() == {TP: 1}

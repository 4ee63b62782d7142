"""The events: valid telemetry of the simulated fleet, in one topic of four partitions, lz4."""

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from fleetgauge.clock import SystemClock
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.operate.launch import contracts_of
from fleetgauge.kafka.records import in_columns
from fleetgauge.settings import Settings
from fleetlab.simulator.publish import Publisher, create_topics
from fleetlab.simulator.records import EVENTS_TOPIC, PARTITIONS, VALID
from fleetlab.simulator.scale import Scale
from fleetlab.simulator.timeline import Timeline

PREFIX = "bench-"
TOPIC = PREFIX + EVENTS_TOPIC


@dataclass(frozen=True)
class Workload:
    """What is in the topic."""

    events: int
    mean_bytes: float
    days: tuple[str, ...]
    """Suffixes of the daily indices, for example `2026.11.21`."""


def produce(settings: Settings, wanted: int) -> Workload:
    """A fresh topic with about `wanted` events of the last three days; blocks for some seconds."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    if TOPIC in admin.list_topics():
        admin.delete_topics([TOPIC])
    admin.close()
    create_topics(settings.kafka.bootstrap_servers, PREFIX)
    count = size = 0
    days: set[str] = set()
    with Publisher(settings.kafka.bootstrap_servers, PREFIX) as publisher:
        for some in Timeline.ending(Scale(), datetime.now(UTC)).backlog():
            records = [r for r in some if r.topic == EVENTS_TOPIC and r.fault == VALID][: wanted - count]
            publisher.publish(records)
            count += len(records)
            size += sum(len(r.value or b"") for r in records)
            days |= {f"{datetime.fromtimestamp(r.event_ms / 1000, UTC):%Y.%m.%d}" for r in records}
    return Workload(count, size / count, tuple(sorted(days)))


def batches(settings: Settings, consumer: Consumer) -> Iterator[Batch]:
    """The topic as the bulk requests that `consumer` makes of it."""
    decoder = Decoder(consumer, contracts_of(settings, consumer), SystemClock())
    kafka = KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        enable_auto_commit=False,
        max_poll_records=1,
        metrics_enabled=False,
    )
    in_columns(kafka)
    try:
        partitions = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
        kafka.assign(partitions)
        kafka.seek_to_beginning(*partitions)
        left = sum(kafka.end_offsets(partitions).values())
        batch = Batch(0.0)
        while left:
            for chunks in kafka.poll(1000).values():
                for records in chunks:
                    left -= len(records)
                    decoder.add(batch, records)
            if batch.size >= consumer.batch_bytes or batch.documents >= consumer.batch_records:
                yield batch
                batch = Batch(0.0)
        if batch.documents:
            yield batch
    finally:
        kafka.close()


def consuming_alone(settings: Settings, workload: Workload) -> float:
    """Processor time, µs per event, of kafka-python reading the topic and doing nothing: how quick is this machine?"""
    kafka = KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        enable_auto_commit=False,
        max_poll_records=1000,
        metrics_enabled=False,
    )
    try:
        partitions = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
        kafka.assign(partitions)
        kafka.seek_to_beginning(*partitions)
        left, begin = workload.events, time.process_time()
        while left:
            left -= sum(len(records) for records in kafka.poll(1000).values())
        return (time.process_time() - begin) / workload.events * 1e6
    finally:
        kafka.close()


class Elasticsearch:
    """The few requests that a benchmark makes; raises `urllib.error.HTTPError`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def indexed(self, indices: str) -> int:
        """Documents written so far to indices that match, whether a search sees them or not."""
        found = self.ask("GET", "/_stats/indexing?filter_path=indices.*.primaries.indexing.index_total") or {}
        return sum(
            stats["primaries"]["indexing"]["index_total"]
            for name, stats in found.get("indices", {}).items()
            if name.startswith(indices)
        )

    def delete(self, prefix: str) -> None:
        """Delete all indices whose name begins so."""
        for name in self.ask("GET", f"/{prefix}*/_alias?expand_wildcards=all") or {}:
            self.ask("DELETE", f"/{name}")

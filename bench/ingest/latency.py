"""From Kafka's append to Elasticsearch's acknowledgement at a steady rate."""

import re
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from bench.ingest.contenders import Field, consumer_of, fleetgauge
from bench.ingest.workload import Elasticsearch, batches

RATE = 2_000
SECONDS = 30
BUCKET = re.compile(r'fleetgauge_ingest_append_to_ack_seconds_bucket\{.*le="([^"]+)".*\} ([0-9.e+]+)')
"""Upper bound and count, in the text that a consumer exports."""


@dataclass(frozen=True)
class Latency:
    """Upper bounds in seconds, as exact as the histogram of the service is; by fetch, of its oldest record."""

    p50: float
    p99: float
    fetches: int


def measure(field: Field) -> Latency:
    """Produce for half a minute at the rate and read the service's own histogram; blocks."""
    name = "bench-live"
    server = Elasticsearch(field.settings.elasticsearch.url)
    server.delete(name)
    payloads = [
        batch.record(i).value
        for batch, _ in zip(
            batches(field.settings, consumer_of(field, name)), range(RATE * SECONDS // 4_000), strict=False
        )
        for i in range(batch.documents)
    ]
    bootstrap = field.settings.kafka.bootstrap_servers
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    if name in admin.list_topics():
        admin.delete_topics([name])
    admin.create_topics([NewTopic(name, 4, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, metrics_enabled=False)
    started = fleetgauge(field, name, topic=name)
    try:
        port = port_of(field.folder / f"{name}-0.log")
        begin = time.monotonic()
        for number in range(RATE * SECONDS):
            producer.send(name, payloads[number % len(payloads)], partition=number % 4)
            ahead = begin + number / RATE - time.monotonic()
            if ahead > 0.002:
                time.sleep(ahead)
        producer.flush(30)
        deadline = time.monotonic() + 30
        while server.indexed(name) < min(RATE * SECONDS, len(payloads)) and time.monotonic() < deadline:
            time.sleep(0.2)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        for process in started.processes:
            process.terminate()
            process.wait(30)
        producer.close()
        admin.delete_topics([name, f"{name}.dlq"])
        admin.close()
        server.delete(name)
        server.ask("DELETE", f"/_index_template/fleetgauge-{name}")
    buckets = [(float(edge), float(count)) for edge, count in BUCKET.findall(text)]
    total = buckets[-1][1]
    p50, p99 = (next(edge for edge, count in buckets if count >= share * total) for share in (0.5, 0.99))
    return Latency(p50, p99, int(total))


def port_of(log: Path) -> int:
    """Where a consumer that has just been started serves its metrics, by its log. Blocks."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(r'"port": ?(\d+)', log.read_text()):
            return int(found[1])
        time.sleep(0.1)
    raise RuntimeError(f"the consumer did not start: {log.read_text()[-500:]}")

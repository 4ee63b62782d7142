"""The pipeline at a steady rate: events are appended in Kafka, and `fleetgauge consume` stores them."""

import json
import re
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen

import psutil
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from bench.ingest.contenders import Field, consumer_of, fleetgauge
from bench.ingest.latency import BUCKET, port_of
from bench.ingest.workload import Elasticsearch, batches

PARTITIONS = 4
_SETTLES_S = 3.0


@dataclass(frozen=True)
class Streamed:
    """What came of a rate."""

    asked: int
    """Events per second."""
    appended: float
    """Events per second that the producer really managed."""
    stored: float
    """Events per second that were acknowledged by Elasticsearch, from the first append to the last acknowledgement."""
    lag_p95_s: float
    """From append to acknowledgement, of the oldest record of a fetch; an upper bound, a bucket of the histogram."""
    behind: int
    """Events that were not stored yet when the last one was appended."""
    consumer_cores: float
    server_cores: float
    """Of Elasticsearch, over the same time."""
    processes: int


def at_rate(field: Field, rate: int, seconds: float, processes: int, elasticsearch: list[psutil.Process]) -> Streamed:
    """Append `rate` events a second for a while and wait until all are stored; blocks."""
    name = f"bench-rate-{rate}"
    server = Elasticsearch(field.settings.elasticsearch.url)
    server.delete(name)
    bootstrap = field.settings.kafka.bootstrap_servers
    count = round(rate * seconds)
    payloads = field.folder / "payloads.json"
    if not payloads.exists():
        _write_payloads(field, payloads)
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    if name in admin.list_topics():
        admin.delete_topics([name])
    admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    started = fleetgauge(field, name, processes, topic=name)
    try:
        ports = [port_of(field.folder / f"{name}-{number}.log") for number in range(processes)]
        time.sleep(_SETTLES_S)  # the group has its partitions
        watched = [psutil.Process(one.pid) for one in started.processes]
        before, server_before = _cpu(watched), _cpu(elasticsearch)
        began = time.monotonic()
        command = [sys.executable, "-m", "bench.load.stream_rates", bootstrap, name, str(rate), str(count)]
        with Popen([*command, str(payloads)], stdout=PIPE) as appending:
            told, _ = appending.communicate()
        appended_s, ended = float(told), time.monotonic()
        behind = count - server.indexed(name)
        deadline = time.monotonic() + 120
        while server.indexed(name) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        took, stored = appended_s + time.monotonic() - ended, server.indexed(name)
        watched_s = time.monotonic() - began
        cores, server_cores = (_cpu(watched) - before) / watched_s, (_cpu(elasticsearch) - server_before) / watched_s
        lag = _p95([_metrics(port) for port in ports])
    finally:
        for one in started.processes:
            one.terminate()
            one.wait(30)
        admin.delete_topics([topic for topic in (name, f"{name}.dlq") if topic in admin.list_topics()])
        admin.close()
        server.delete(name)
        server.ask("DELETE", f"/_index_template/fleetgauge-{name}")
    return Streamed(
        rate, count / appended_s, stored / took, lag, max(behind, 0), round(cores, 2), round(server_cores, 2), processes
    )


def _write_payloads(field: Field, file: Path) -> None:
    """Valid events of the workload; an id is made anew for each that is sent, so that none is a duplicate."""
    name = "bench-payloads"
    batch = next(batches(field.settings, consumer_of(field, name)))
    found = [(batch.record(i).value or b"").decode() for i in range(min(batch.documents, 3000))]
    file.write_text(json.dumps(found))


def _append(bootstrap: str, topic: str, rate: int, count: int, payloads: list[bytes]) -> float:
    """Seconds that it took."""
    parts = [_around_id(one) for one in payloads]
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=5, batch_size=131_072, compression_type="lz4", metrics_enabled=False
    )
    began = time.monotonic()
    for number in range(count):
        head, tail = parts[number % len(parts)]
        producer.send(topic, b"%s%d%s" % (head, number, tail), partition=number % PARTITIONS)
        if number % 64 == 0:
            ahead = began + number / rate - time.monotonic()
            if ahead > 0.001:
                time.sleep(ahead)
    producer.flush(60)
    took = time.monotonic() - began
    producer.close()
    return took


def _around_id(payload: bytes) -> tuple[bytes, bytes]:
    found = re.search(rb'"event":\s*\{\s*"id":\s*"', payload)
    assert found is not None, payload
    end = payload.index(b'"', found.end())
    return payload[: found.end()], payload[end:]


def _p95(texts: list[str]) -> float:
    counted: dict[float, float] = {}
    for text in texts:
        for edge, count in BUCKET.findall(text):
            counted[float(edge)] = counted.get(float(edge), 0.0) + float(count)
    total = max(counted.values(), default=0.0)
    return min(edge for edge, count in counted.items() if count >= 0.95 * total) if total else float("nan")


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes)


if __name__ == "__main__":
    _, servers, where, per_second, many, source = sys.argv
    texts = [one.encode() for one in json.loads(Path(source).read_text("utf-8"))]
    print(_append(servers, where, int(per_second), int(many), texts))

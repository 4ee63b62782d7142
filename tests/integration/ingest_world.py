"""A consumer of its own for each test: topic, index, group and content folder, on the servers of the run."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.ingest import Consumer
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.settings import Settings

TO_THE_END = ConsumeOptions(until_caught_up=True)
UNLIMITED = "dead_letters=DeadLetterLimit(consecutive=10**9, ratio=1.0)"
"""For `world`: dead-letter as many as there are."""
ROOT = Path(__file__).parents[2]
PARTITIONS = 4
_CONSUME = (  # on Linux the system ends it with this process, however that ends: PR_SET_PDEATHSIG, SIGKILL
    "import ctypes; getattr(ctypes.CDLL(None), 'prctl', lambda *_: 0)(1, 9); from fleetgauge.cli import main; main()"
)


def event(number: int, **changes: Any) -> dict[str, Any]:
    now = int(time.time() * 1000)
    return {
        "kind": "location",
        "version": 1,
        "event": {"id": f"e-{number:06d}", "action": "location", "dataset": "device.location"},
        "device": {"id": f"sc-{number % 50:03d}", "model": "m365", "firmware": "2.4.1"},
        "timestamp": now - (number % 3) * 86_400_000,
        "network": {"carrier": "skt", "sim": f"8982{number % 50:03d}"},
        "message": {"bytes": 96, "direction": "uplink"},
        "location": {"lat": 37.5, "lng": 127.0},
        "speed": 4.2,
        **changes,
    }


def id_of(document: dict[str, Any]) -> str:
    return f"{document['device']['id']}:{document['event']['id']}"


@dataclass
class World:
    """What one test works with."""

    settings: Settings
    consumer: Consumer
    content: Path
    bulk: ElasticsearchBulk
    producer: KafkaProducer
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def settings_file(self) -> str:
        """The configuration of the stack; it lies in the laboratory's home."""
        return os.environ["FLEETGAUGE_CONFIG"]

    def send(self, values: Sequence[dict[str, Any] | bytes], **more: Any) -> None:
        """Produce, each partition getting its share, and wait until all are acknowledged."""
        for number, value in enumerate(values):
            payload = json.dumps(value).encode() if isinstance(value, dict) else value
            self.producer.send(self.consumer.topic, key=b"%d" % number, value=payload, partition=number % 4, **more)
        self.producer.flush(30)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.bulk.request(method, path, None if body is None else json.dumps(body).encode())
        assert answer.status < 300, answer
        return json.loads(answer.body)

    def stored(self) -> list[dict[str, Any]]:
        """Every document behind the alias: `_index`, `_id`, `_source`."""
        self.ask("POST", f"/{self.consumer.index}-*/_refresh")
        found: list[dict[str, Any]] = []
        for partition in range(PARTITIONS):
            after: list[Any] = []
            while True:
                query: dict[str, Any] = {
                    "size": 5000,
                    "query": {"term": {"kafka.partition": partition}},
                    "sort": ["kafka.offset"],
                    **({"search_after": after} if after else {}),
                }
                hits = self.ask("POST", f"/{self.consumer.index}/_search", query)["hits"]["hits"]
                found += hits
                if len(hits) < 5000:
                    break
                after = hits[-1]["sort"]
        assert self.ask("GET", f"/{self.consumer.index}/_count")["count"] == len(found)
        return found

    def dead_letters(self) -> list[Any]:
        """Every record of the dead-letter topic."""
        topic = self.consumer.dead_letter_topic
        reader = KafkaConsumer(
            bootstrap_servers=self.settings.kafka.bootstrap_servers,
            auto_offset_reset="earliest",
            consumer_timeout_ms=2000,
        )
        try:
            tp = TopicPartition(topic, 0)
            reader.assign([tp])
            end = reader.end_offsets([tp])[tp]
            dead_letters: list[Any] = []
            while len(dead_letters) < end:
                for records in reader.poll(timeout_ms=1000).values():
                    dead_letters += records
            return dead_letters
        finally:
            reader.close()

    def committed(self) -> dict[int, int]:
        """Committed offset by partition."""
        reader = KafkaConsumer(
            bootstrap_servers=self.settings.kafka.bootstrap_servers,
            group_id=self.consumer.group,
            enable_auto_commit=False,
        )
        try:
            partitions = [TopicPartition(self.consumer.topic, partition) for partition in range(PARTITIONS)]
            found = {tp.partition: reader.committed(tp) for tp in partitions}
            return {partition: offset for partition, offset in found.items() if offset is not None}
        finally:
            reader.close()

    def start(self, *options: str) -> subprocess.Popen[str]:
        """`fleetgauge consume` as a process of its own; its log goes to a file beside the content."""
        number = len(self.processes)
        log = (self.content / f"log-{number}.jsonl").open("w")
        process = subprocess.Popen(
            [sys.executable, "-c", _CONSUME, "consume", self.consumer.name, *options],
            env={**os.environ, "FLEETGAUGE_CONTENT": str(self.content)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        self.processes.append(process)
        return process

    def log(self, process: subprocess.Popen[str]) -> list[dict[str, Any]]:
        """What a process has logged so far."""
        text = (self.content / f"log-{self.processes.index(process)}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def stderr(self, process: subprocess.Popen[str]) -> str:
        """All that a process wrote to stderr."""
        return (self.content / f"log-{self.processes.index(process)}.jsonl").read_text()

    def metric(self, process: subprocess.Popen[str], name: str) -> float:
        """The sum of a metric over its labels; 0 while it is not there."""
        ports = [line["port"] for line in self.log(process) if line["event"] == "serving metrics"]
        if not ports:
            return 0.0
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def wait_until(condition: Callable[[], Any], what: str, limit: float = 60.0) -> Any:
    """Poll a condition; fails the test when it does not come true in time."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    pytest.fail(f"{what}: not within {limit} s")


@pytest.fixture(name="wait_until")
def wait_until_() -> Callable[..., Any]:
    """`wait_until(condition, what, limit)`."""
    return wait_until


@pytest.fixture(name="event")
def event_() -> Callable[..., dict[str, Any]]:
    """`event(number, **changes)`: a valid location event."""
    return event


@pytest.fixture(name="id_of")
def id_of_() -> Callable[[dict[str, Any]], str]:
    """The document id of an event."""
    return id_of


@pytest.fixture
def world(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """A topic of four partitions and a consumer declared for it; `request.param` adds fields to the declaration."""
    name = f"it-{request.node.originalname.removeprefix('test_').replace('_', '-')[:40]}-{uuid4().hex[:8]}"
    fields = getattr(request, "param", "")
    (tmp_path / "consumers").mkdir()
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    declaration = (
        "from fleetgauge.ingest import Consumer, DeadLetterLimit\n"
        f"name = {name!r}\n"
        f"consumer = Consumer(name=name, topic=name, contracts=('location', 'battery'), index=name, {fields})\n"
    )
    (tmp_path / "consumers" / f"{name.replace('-', '_')}.py").write_text(declaration)
    namespace: dict[str, Any] = {}
    exec(declaration, namespace)
    consumer: Consumer = namespace["consumer"]
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.create_topics([NewTopic(consumer.topic, PARTITIONS, 1)])
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, linger_ms=20, metrics_enabled=False)
    bulk = ElasticsearchBulk(settings.elasticsearch)
    settings = settings.model_copy(update={"content": tmp_path})
    made = World(settings, consumer, tmp_path, bulk, producer)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    producer.close()
    known = set(admin.list_topics()) & {consumer.topic, consumer.dead_letter_topic}
    admin.delete_topics(sorted(known))
    admin.close()
    found = bulk.request("GET", f"/{consumer.index}-*?expand_wildcards=all&filter_path=*.settings.index.uuid", None)
    for index in json.loads(found.body):  # by name: wildcards are refused
        assert bulk.request("DELETE", f"/{index}", None).status == 200
    bulk.request("DELETE", f"/_index_template/fleetgauge-{consumer.index}", None)
    bulk.close()

"""Kafka records and Elasticsearch answers without servers."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.ingest.check.batch import Batch, DeadLetter
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import Consumer, load_consumer
from fleetgauge.ingest.operate.launch import contracts_of
from fleetgauge.ingest.read.record_headers import OWN
from fleetgauge.ingest.read.replay_signature import signed
from fleetgauge.kafka.records import Record, Records
from fleetgauge.settings import Settings

ROOT = Path(__file__).parents[3]
NOW = 1_763_700_000_000
REPLAY_KEY = "k"


class FixedClock:
    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW / 1000, UTC)


def tip_over(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "tip_over",
        "version": 1,
        "event": {"id": f"e-{number}", "action": "tip_over", "dataset": "device.tip_over"},
        "device": {"id": "sc-1", "model": "m365", "firmware": "2.4.1"},
        "timestamp": NOW,
        "network": {"carrier": "skt", "sim": "8982"},
        "message": {"bytes": 96, "direction": "uplink"},
        "tipped_over": True,
        **changes,
    }


def record(
    value: Any, offset: int = 0, *, partition: int = 0, timestamp: int = NOW, headers: Sequence[Any] = ()
) -> Record:
    payload = json.dumps(value).encode() if isinstance(value, dict) else value
    ours = any(name.startswith(OWN) for name, _ in headers)
    found = signed(list(headers), payload, REPLAY_KEY) if ours else list(headers)  # as a replay does it
    return Record("device-events", partition, offset, timestamp, b"sc-1", payload, found)


class FakeBulk:
    """Elasticsearch as a dict; `script` are answers (or errors) that go before the normal behaviour."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], bytes] = {}
        self.script: list[Answer | Exception | Callable[[list[tuple[str, str]]], Answer]] = []
        self.sizes: list[int] = []
        self.compared: list[int] = []
        self.indices: set[str] = set()
        self.refuse: Callable[[str, str], tuple[int, str, str] | None] = lambda _index, _id: None

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        if method == "PUT":
            self.indices.add(path.strip("/"))
            return Answer(200, b"{}")
        if method == "GET":  # nothing is known of any template or mapping
            return Answer(200, b"{}")
        assert body is not None
        if path.startswith("/_mget"):
            wanted = json.loads(body)["docs"]
            self.compared.append(len(wanted))
            stored = [json.loads(self.documents[doc["_index"], doc["_id"]]) for doc in wanted]
            found = [{**doc, "_source": source} for doc, source in zip(wanted, stored, strict=True)]
            return Answer(200, json.dumps({"docs": found}).encode())
        lines = body.split(b"\n")[:-1]
        heads = [json.loads(line)["create"] for line in lines[::2]]
        ids = [(head["_index"], head["_id"]) for head in heads]
        self.sizes.append(len(ids))
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            return step if isinstance(step, Answer) else step(ids)
        items = []
        for key, document in zip(ids, lines[1::2], strict=True):
            refused = self.refuse(*key)
            if refused is not None:
                status, kind, reason = refused
                items.append({"create": {"_id": key[1], "status": status, "error": {"type": kind, "reason": reason}}})
            elif key in self.documents:
                error = {"type": "version_conflict_engine_exception", "reason": "exists"}
                items.append({"create": {"_id": key[1], "status": 409, "error": error}})
            else:
                self.documents[key] = document
                items.append({"create": {"_id": key[1], "status": 201}})
        text = json.dumps({"errors": any("error" in i["create"] for i in items), "items": items}, separators=(",", ":"))
        return Answer(200, text.encode())


class FakeDeadLetters:
    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []
        self.script: list[Exception] = []

    def send(self, dead_letters: Sequence[DeadLetter]) -> None:
        if self.script:
            raise self.script.pop(0)
        self.sent += dead_letters


@pytest.fixture(scope="session")
def consumer() -> Consumer:
    return load_consumer(ROOT, "device-events")


@pytest.fixture(scope="session")
def contracts(consumer: Consumer) -> ContractSet:
    return contracts_of(Settings(content=ROOT), consumer)


@pytest.fixture
def decoder(consumer: Consumer, contracts: ContractSet) -> Decoder:
    return Decoder(consumer, contracts, FixedClock(), REPLAY_KEY)


@pytest.fixture
def batch_of(decoder: Decoder) -> Callable[..., Batch]:
    """A batch of these payloads (dicts, or raw bytes)."""

    def make(*values: Any, **common: Any) -> Batch:
        batch = Batch(0.0)
        decoder.add(batch, Records.of([record(value, offset, **common) for offset, value in enumerate(values)]))
        return batch

    return make


@pytest.fixture
def world() -> Any:
    """The helpers above, by name."""

    class World:
        now = NOW
        Clock = FixedClock
        Bulk = FakeBulk
        DeadLetters = FakeDeadLetters

    World.record, World.tip_over = staticmethod(record), staticmethod(tip_over)  # type: ignore[attr-defined]
    return World


def documents(batch: Batch) -> list[dict[str, Any]]:
    lines = batch.body(range(batch.documents)).split(b"\n")[:-1]
    assert all(re.match(rb'\{"create":', line) for line in lines[::2])
    return [json.loads(line) for line in lines[1::2]]


@pytest.fixture
def documents_of() -> Callable[[Batch], list[dict[str, Any]]]:
    """The documents of a batch's body, parsed."""
    return documents

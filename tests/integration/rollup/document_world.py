"""A topic, a consumer and a metric over what it stores: worlds of their own, on the servers of the run."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml
from elasticsearch import Elasticsearch
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic
from pydantic import SecretStr
from rollup_world import KEY, SECRET, window_start

from fleetgauge import pipeline
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.rollup import Definition, RunReport, load_definitions
from fleetgauge.rollup.sketches import distinct, sketch
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings, MetricsSettings, RollupSettings, Settings

ROOT = Path(__file__).parents[3]
PARTITIONS = 2

LEDGER = "SELECT done, closed FROM fleetgauge.ledger WHERE metric = %s ORDER BY version, grain"

METRIC = {
    "event_time": "@timestamp",
    "documents": {"where": {"message.direction": "uplink", "kind": {"ne": "odometer"}}},
    "dimensions": {
        "kind": {"column": "kind", "limit": 8},
        "model": {"column": "device.model", "limit": 10},
        "severity": {"column": "severity", "limit": 8},
        "tipped": {"column": "tipped_over", "limit": 8},
    },
    "measures": {
        "events": {"agg": "count"},
        "fast": {"agg": "count", "where": {"speed": {"gte": 5}}},
        "bytes": {"agg": "sum", "of": "message.bytes"},
        "full_bytes": {"agg": "sum", "of": "message.bytes", "where": {"battery_percent": [99, 100]}},
        "lowest": {"agg": "min", "of": "battery_percent"},
        "fastest": {"agg": "max", "of": "speed", "type": "float"},
        "devices": {"agg": "distinct", "of": "device.id", "personal": False},
        "skt_devices": {"agg": "distinct", "of": "device.id", "where": {"network.carrier": {"not_in": ["kt", "lgu"]}}},
        "speed": {"agg": "percentile", "of": "speed", "where": {"device.model": {"ne": "m1"}}},
        "warmth": {"agg": "percentile", "of": "temperature_c"},
    },
}

Event = dict[str, Any]

LABELS = {label: f"\\{label}" for label in ("(not set)", "(other)")}
"""How texts are shown that could be taken for what is no text."""


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def event(at: datetime, number: int = 0, kind: str = "location", model: str = "m0", **fields: Any) -> Event:
    own = {
        "location": {"location": {"lat": 37.5, "lng": 127.0}, "speed": number % 97 / 10},
        "battery": {"battery_percent": number % 101, "temperature_c": (number % 60 - 20) / 2},
        "device_error": {"error_code": "E_1", "severity": ("info", "warning")[number % 2]},
        "tip_over": {"tipped_over": number % 2 == 0},
        "odometer": {"odometer_m": number},
    }[kind]
    return {
        "kind": kind,
        "version": 1,
        "event": {"id": uuid4().hex, "action": kind, "dataset": f"device.{kind.removeprefix('device_')}"},
        "device": {"id": f"d-{number % 13}", "model": model, "firmware": "1.0"},
        "timestamp": ms(at),
        "network": {"carrier": ("skt", "kt")[number % 2], "sim": "8982000"},
        "message": {"bytes": 40 + number % 7, "direction": "downlink" if number % 11 == 10 else "uplink"},
        **own,
        **fields,
    }


def mixed(begin: datetime, minutes: float, count: int) -> list[Event]:
    kinds = ("location", "battery", "device_error", "tip_over", "odometer")
    return [event(begin + timedelta(minutes=minutes) * i / count, i, kinds[i % 5], f"m{i % 3}") for i in range(count)]


@dataclass
class World:
    """A topic, a consumer file, and a metric over what it stores, in a content folder of their own."""

    settings: Settings
    name: str
    admin: KafkaAdminClient
    metrics: psycopg.Connection[Any]
    sent: list[Event] = field(default_factory=list)

    @property
    def definition(self) -> Definition:
        return load_definitions(self.settings.content, KEY.id)[self.name]

    def declare(self, consumer: str) -> None:
        declared = (
            "from fleetgauge.ingest import Consumer\n"
            f"consumer = Consumer({consumer!r}, {self.name!r},"
            f" ('location', 'battery', 'device_error', 'tip_over', 'odometer'), {self.name.replace('_', '-')!r})\n"
        )
        (self.settings.content / "consumers" / f"{consumer}.py").write_text(declared)

    def define(self, **changes: Any) -> None:
        folder = self.settings.content / "sql" / "metrics" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        whole = {"metric": self.name, "source": self.name, "grace": "10s", **METRIC, **changes}
        (folder / "metric.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
        pipeline.migrate(self.settings)

    def send(self, *events: Event, appended: datetime | None = None) -> None:
        with closing(KafkaProducer(bootstrap_servers=self.settings.kafka.bootstrap_servers)) as producer:
            for one in events:
                producer.send(
                    self.name,
                    json.dumps(one).encode(),
                    partition=len(self.sent) % PARTITIONS,
                    timestamp_ms=None if appended is None else ms(appended),
                )
                self.sent.append(one)
            producer.flush()

    def ingest(self, consumer: str | None = None) -> dict[str, int]:
        declared = load_consumer(self.settings.content, consumer or self.name)
        summary = consume(declared, self.settings, ConsumeOptions(until_caught_up=True))
        assert summary.caught_up
        return summary.events

    def run(self, interval: tuple[datetime, datetime] | None = None) -> RunReport:
        return pipeline.run(self.settings, self.name, "minute", interval)[0]

    def delete_indices(self) -> None:
        with closing(Elasticsearch(self.settings.elasticsearch.url)) as client:
            for index in client.indices.get(index=f"{self.name.replace('_', '-')}-*", expand_wildcards="all"):
                client.indices.delete(index=index)

    def stored(self, grain: str, more: str = "") -> dict[tuple[Any, ...], tuple[Any, ...]]:
        columns = ", ".join(["window_start", *METRIC["dimensions"], *METRIC["measures"]])
        rows = self.metrics.execute(f"SELECT {columns} FROM store.{self.name}_{grain} {more}").fetchall()
        found = {(row[0].astimezone(UTC), *row[1:5]): row[5:] for row in rows}
        assert len(found) == len(rows)
        return found

    def expected(self, grain: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        cells: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
        for one in self.sent:
            if one["message"]["direction"] == "uplink" and one["kind"] != "odometer":
                at = datetime.fromtimestamp(one["timestamp"] / 1000, UTC)
                tipped = {True: "true", False: "false", None: "(not set)"}[one.get("tipped_over")]
                model = LABELS.get(one["device"]["model"], one["device"]["model"])
                dimensions = one["kind"], model, one.get("severity", "(not set)"), tipped
                cells[window_start(at, grain, "Asia/Seoul"), *dimensions].append(one)
        return {key: _measures(events) for key, events in cells.items()}

    def assert_right(self) -> None:
        for grain in ("minute", "hour", "day"):
            assert self.stored(grain) == self.expected(grain), grain


def _measures(events: list[Event]) -> tuple[Any, ...]:
    speeds = [e["speed"] for e in events if "speed" in e]
    percents = [e["battery_percent"] for e in events if "battery_percent" in e]
    return (
        len(events),
        sum(speed >= 5 for speed in speeds),
        sum(e["message"]["bytes"] for e in events),
        sum(e["message"]["bytes"] for e in events if e.get("battery_percent") in (99, 100)),
        min(percents, default=None),
        max(speeds, default=None),
        distinct.sketch(e["device"]["id"] for e in events),
        distinct.sketch((e["device"]["id"] for e in events if e["network"]["carrier"] == "skt"), KEY),
        sketch.sketch(e["speed"] for e in events if "speed" in e and e["device"]["model"] != "m1"),
        sketch.sketch(e["temperature_c"] for e in events if "temperature_c" in e),
    )


@pytest.fixture(scope="module")
def database(postgres, metrics_template: str) -> Iterator[tuple[MetricsSettings, psycopg.Connection[Any]]]:
    name = f"documents_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {metrics_template} OWNER fleetgauge_owner")
        found = MetricsSettings(
            url=SecretStr(postgres.url("metrics", "fleetgauge", name)),
            owner_url=SecretStr(postgres.url("metrics", "fleetgauge_owner", name)),
        )
        with psycopg.connect(postgres.url("metrics", "postgres", name), autocommit=True) as connection:
            yield found, connection
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def world(database, kafka, elasticsearch, tmp_path: Path) -> Iterator[World]:
    name = f"w{uuid4().hex[:8]}"
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    common = tmp_path / "schemas" / "events" / "common.json"
    common.write_text(common.read_text().replace('"maxLength": 48', '"maxLength": 2000'))
    (tmp_path / "consumers").mkdir()
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap),
        elasticsearch=ElasticsearchSettings(url=elasticsearch.url),
        metrics=database[0],
        rollup=RollupSettings(distinct_key=SECRET),
        content=tmp_path,
    )
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap)) as admin:
        admin.create_topics([NewTopic(name, PARTITIONS, 1)])
        made = World(settings, name, admin, database[1])
        made.declare(name)
        made.define()
        yield made
        admin.delete_topics(sorted(set(admin.list_topics()) & {name, f"{name}.dlq"}))
    made.delete_indices()
    with closing(Elasticsearch(elasticsearch.url)) as client:
        client.options(ignore_status=404).indices.delete_index_template(name=f"fleetgauge-{name}")


@pytest.fixture
def start() -> datetime:
    """Three hours ago, a minute's edge."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)

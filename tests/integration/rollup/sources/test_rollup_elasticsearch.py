"""Metrics over documents, on real servers: whatever ingest stores, the tables equal what was sent."""

import json
import shutil
import time
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
from rollup_world import Off, window_start
from structlog.testing import capture_logs

from fleetgauge import pipeline
from fleetgauge.document_sources import event_streams
from fleetgauge.errors import Transient
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import Options
from fleetgauge.rollup import Definition, RunReport, load_definitions, run_metrics
from fleetgauge.rollup.definitions.measures import Percentile
from fleetgauge.rollup.execute.options import Options as Rollup
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.sketches import distinct, sketch
from fleetgauge.rollup.sources import elasticsearch as source_module
from fleetgauge.rollup.sources.opened import open_source
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings, MetricsSettings, Settings

ROOT = Path(__file__).parents[4]
PARTITIONS = 2

LEDGER = "SELECT done, closed FROM fleetgauge.ledger WHERE metric = %s ORDER BY version, grain"

METRIC = {
    "event_time": "@timestamp",
    "documents": {"where": {"message.direction": "uplink", "kind": {"ne": "odometer"}}},
    "dimensions": {
        "kind": {"column": "kind", "limit": 8},
        "model": {"column": "device.model", "limit": 8},
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
        "devices": {"agg": "distinct", "of": "device.id"},
        "skt_devices": {"agg": "distinct", "of": "device.id", "where": {"network.carrier": {"not_in": ["kt", "lgu"]}}},
        "speed": {"agg": "percentile", "of": "speed", "where": {"device.model": {"ne": "m1"}}},
        "warmth": {"agg": "percentile", "of": "temperature_c"},
    },
}

Event = dict[str, Any]


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
        return load_definitions(self.settings.content)[self.name]

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
        summary = consume(declared, self.settings, Options(until_caught_up=True))
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
        rows = self.metrics.execute(f"SELECT {columns} FROM metrics.{self.name}_{grain} {more}").fetchall()
        found = {(row[0].astimezone(UTC), *row[1:5]): row[5:] for row in rows}
        assert len(found) == len(rows)
        return found

    def expected(self, grain: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        cells: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
        for one in self.sent:
            if one["message"]["direction"] == "uplink" and one["kind"] != "odometer":
                at = datetime.fromtimestamp(one["timestamp"] / 1000, UTC)
                tipped = {True: "true", False: "false", None: "unknown"}[one.get("tipped_over")]
                dimensions = one["kind"], one["device"]["model"], one.get("severity", "unknown"), tipped
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
        distinct.sketch(e["device"]["id"] for e in events if e["network"]["carrier"] == "skt"),
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
    common.write_text(common.read_text().replace('"maxLength": 48', '"maxLength": 1000'))
    (tmp_path / "consumers").mkdir()
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap),
        elasticsearch=ElasticsearchSettings(url=elasticsearch.url),
        metrics=database[0],
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


def test_a_worker_whose_clock_is_fast_closes_nothing_early(world: World, start: datetime) -> None:
    """For documents the watermark of a topic that is read to its end is the worker's own time."""
    world.send(event(start, 1), event(start, 2))
    world.ingest()
    assert world.run().error is None
    world.send(event(start, 3))
    world.ingest()
    before = world.metrics.execute(LEDGER, [world.name]).fetchall()
    definitions = [world.definition]
    streams = event_streams(world.settings.content, definitions)
    fast = Rollup(pause_s=0.0, clock=Off(timedelta(minutes=10)))
    (report,) = run_metrics(world.settings, definitions, "minute", options=fast, streams=streams)
    assert report.severity == "transient"
    assert "ahead of the other clocks" in (report.error or "")
    assert world.metrics.execute(LEDGER, [world.name]).fetchall() == before
    world.send(event(start, 4), appended=datetime.now(UTC) + timedelta(hours=1))  # a producer's clock, not yet read
    assert world.run().error is None
    for done, closed in world.metrics.execute(LEDGER, [world.name]):
        assert all(r.upper <= datetime.now(UTC) for r in [*done, *closed])
    world.ingest()
    assert world.run().error is None
    world.assert_right()


def test_numbers_equal_what_was_sent_and_late_documents_cost_their_own_cells(world: World, start: datetime) -> None:
    report = world.run()
    assert (report.rows, world.stored("minute")) == (0, {})  # neither documents nor an index yet

    world.send(*mixed(start, 90, 700))
    assert world.ingest()["ok"] == 700
    report = world.run()
    world.assert_right()
    assert report.watermark is not None and report.watermark > datetime.now(UTC) - timedelta(minutes=1)
    assert not world.stored("minute", "WHERE provisional")

    late = [event(start - timedelta(days=2), 3), event(start + timedelta(minutes=40), 5, model="m2")]
    world.send(*late, world.sent[0])  # the last one is a duplicate
    world.sent.pop()
    assert world.ingest()["duplicate"] == 1
    report = world.run()
    assert (report.cells, report.restated) == (2, 2)
    world.assert_right()

    assert world.run().cells == 0
    whole = world.run((start, start + timedelta(hours=2)))
    assert whole.windows >= 120
    world.assert_right()


def test_what_is_not_committed_keeps_its_window_open(world: World, start: datetime) -> None:
    world.send(*mixed(start, 30, 60))
    world.ingest()
    behind = start + timedelta(minutes=20, seconds=30)
    world.send(event(start + timedelta(minutes=25), 1), appended=behind)
    pending = world.sent.pop()
    report = world.run()
    assert report.watermark == behind
    world.assert_right()
    final = {key[0] for key in world.stored("minute", "WHERE NOT provisional")}
    assert max(final) == start + timedelta(minutes=19)  # 20 ends after the watermark less the grace

    assert world.ingest()["ok"] == 1
    world.sent.append(pending)
    world.run()
    world.assert_right()
    assert not world.stored("minute", "WHERE provisional")


def test_documents_that_another_group_stored_below_the_cursor_are_found(world: World, start: datetime) -> None:
    world.send(*mixed(start, 10, 50))
    world.ingest()
    world.delete_indices()
    world.run()
    assert world.stored("minute") == {}  # the cursor is at the end, and there are no documents

    world.declare(f"{world.name}again")
    assert world.ingest(f"{world.name}again")["ok"] == 50
    world.run()
    world.assert_right()

    world.send(event(start, 1))  # from now on both groups meet each event; whoever is first stores it
    world.ingest(f"{world.name}again")
    world.run()
    world.assert_right()


def test_a_topic_made_anew_is_read_from_its_start(world: World, start: datetime) -> None:
    world.send(*mixed(start, 10, 50))
    world.ingest()
    world.run()
    world.admin.delete_topics([world.name])
    _wait_until_gone(world)
    world.admin.create_topics([NewTopic(world.name, PARTITIONS, 1)])
    world.send(*mixed(start + timedelta(minutes=3), 2, 10))
    assert world.ingest()["ok"] == 10
    world.run()
    world.assert_right()
    assert world.run().cells == 0


def test_pages_slices_and_scattered_minutes_make_no_difference(
    world: World, start: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module.query, "PAGE", 7)
    monkeypatch.setattr(source_module, "SPANS", 3)
    world.send(*mixed(start, 12, 120))
    world.ingest()
    world.run()
    world.assert_right()
    world.send(*mixed(start - timedelta(minutes=100), 98, 40))
    world.ingest()
    assert world.run().cells > 20
    world.assert_right()


def test_the_plan_counts_the_documents_that_it_would_read(world: World, start: datetime) -> None:
    (plan,) = pipeline.plan(world.settings, [world.name]).metrics
    assert (plan.minutes, plan.facts, plan.error) == (0, 0, None)  # no index yet
    world.send(*mixed(start, 30, 200))
    world.ingest()
    (plan,) = pipeline.plan(world.settings, [world.name]).metrics
    assert plan.since == min(world.expected("minute"))[0]
    assert plan.facts == sum(row[0] for row in world.expected("minute").values()) > 100
    world.run()
    (plan,) = pipeline.plan(world.settings, [world.name]).metrics
    assert plan.minutes < 3
    assert plan.facts == 0


def test_totals_add_up_between_any_edges(world: World, start: datetime) -> None:
    world.send(*mixed(start, 170, 300))
    world.ingest()
    edges = [start + timedelta(minutes=m) for m in (10, 40, 100, 130)]
    expected: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (window, *dimensions), (events, fast, size, full, *_) in world.expected("minute").items():
        stretch = sum(edge <= window for edge in edges) - 1
        if 0 <= stretch < 3:
            sums = expected[stretch, *dimensions]
            for i, value in enumerate((events, fast, size, full)):
                sums[i] += value
    streams = event_streams(world.settings.content, [world.definition])
    source = open_source(world.settings, world.name, streams)
    with closing(source), source.look(world.definition) as facts:
        rows = facts.totals(edges)
        hours = facts.totals([start, start + timedelta(minutes=170)])
        found = {row[:5]: list(row[5:9]) for row in rows}
        assert facts.first_event() == datetime.fromtimestamp(world.sent[0]["timestamp"] / 1000, UTC)
    assert found == expected
    assert len(hours) == len({row[1:5] for row in hours})  # sketches too are one of all windows between two edges
    percentile = next(i for i, c in enumerate(world.definition.columns) if isinstance(c.measure, Percentile))
    sketches = [row[5 + percentile] for row in hours]
    assert sum(sum(sketch[len(sketch) // 2 :]) for sketch in sketches) > 0


def test_hostile_values_are_only_values(world: World, start: datetime) -> None:
    models = ["'); DROP TABLE x; --", '"}]}, "', "ß\u2028𝄞", "x" * 1000, "unknown", "%s {0}", "\\"]
    world.send(*(event(start + timedelta(seconds=i), i, model=model) for i, model in enumerate(models)))
    world.ingest()
    world.run()
    world.assert_right()
    # Touched one by one, as cells; then one value more than there is room for, and one that Postgres cannot hold.
    world.send(*(event(start + timedelta(seconds=i), i, model=model) for i, model in enumerate(models)))
    world.ingest()
    assert world.run().cells == len(models)
    world.assert_right()
    world.send(event(start, 1, model="a\0b"), event(start, 1, model="a\ufffdb"), event(start, 1, model="ninth"))
    world.ingest()
    world.run()
    kept = {key[2]: values[0] for key, values in world.stored("minute").items()}
    assert kept == {**dict.fromkeys(models, 2), "a\ufffdb": 2, "other": 1}


def test_sums_beyond_what_a_double_holds_are_refused(world: World, start: datetime) -> None:
    common = world.settings.content / "schemas" / "events" / "common.json"
    common.write_text(common.read_text().replace('"maximum": 1048576', '"maximum": 9000000000000000000'))
    world.send(event(start, 1, message={"bytes": 2**52, "direction": "uplink"}))
    world.ingest()
    world.run()
    world.assert_right()
    world.send(event(start, 1, message={"bytes": 2**52 + 1, "direction": "uplink"}))
    world.ingest()
    with pytest.raises(pipeline.Terminal, match=r"measures\.bytes: reaches 9007199254740992"):
        world.run()


def test_a_closed_day_stops_no_other_and_is_computed_anew_once_it_is_open(world: World, start: datetime) -> None:
    day = start.replace(hour=3, minute=0) - timedelta(days=2)
    index = f"{world.name.replace('_', '-')}-{day:%Y.%m.%d}"
    world.send(*mixed(day, 5, 40))
    world.ingest()
    world.run()
    before = world.stored("minute")
    world.send(*mixed(day, 5, 10))  # stored, but not computed when the day is closed
    world.ingest()
    with Elasticsearch(world.settings.elasticsearch.url) as client:
        client.indices.close(index=index)
        world.send(*mixed(start, 5, 30))
        world.ingest()
        with capture_logs() as logs:
            report = world.run()
        assert report.error is None
        assert [line["closed"] for line in logs if "daily indices are closed" in line["event"]][:1] == [[index]]
        assert world.stored("minute", f"WHERE window_start < '{day + timedelta(days=1)}'") == before
        assert len(world.stored("minute")) > len(before)
        told = _examined(world)[f"documents of {world.name}"]
        assert (told.status, index in told.said, f"POST /{index}/_open" in told.remedy) == ("fail", True, True)
        with pytest.raises(Transient, match=f"{index} is closed, .*open it"):  # never from nothing
            world.run((day, day + timedelta(hours=1)))
        assert world.stored("minute", f"WHERE window_start < '{day + timedelta(days=1)}'") == before
        client.indices.open(index=index, wait_for_active_shards="1")
    world.run()
    world.assert_right()
    world.run()
    world.assert_right()


def test_doctor_says_what_is_missing(world: World, start: datetime) -> None:
    group, documents = f"consumer group of {world.name}", f"documents of {world.name}"
    assert (_examined(world)[group].status, _examined(world)[documents].status) == ("warn", "ok")
    world.send(*mixed(start, 5, 4))
    world.ingest()
    assert (_examined(world)[group].status, _examined(world)[documents].status) == ("ok", "ok")
    world.send(event(start), appended=start)
    assert (_examined(world)[group].status, "1 records behind" in _examined(world)[group].said) == ("warn", True)
    nowhere = {
        "elasticsearch": ElasticsearchSettings(url="http://127.0.0.1:9"),
        "kafka": KafkaSettings(bootstrap_servers="127.0.0.1:9"),
    }
    found = _examined(world, **nowhere)
    assert (found[group].status, found[documents].status) == ("fail", "fail")
    assert "127.0.0.1:9" in found[group].said
    assert found[documents].remedy == "check that Elasticsearch runs there, then try again"


def _examined(world: World, **elsewhere: Any) -> dict[str, doctor.Finding]:
    streams = event_streams(world.settings.content, [world.definition])
    settings = world.settings.model_copy(update=elsewhere)
    found: dict[str, doctor.Finding] = {}
    for one in doctor.examine(settings, {world.name: world.definition}, streams):
        found.setdefault(one.about, one)  # the first; that this topic takes its producers' times comes after it
    return found


def _wait_until_gone(world: World) -> None:
    deadline = time.monotonic() + 30
    while world.name in world.admin.list_topics():
        assert time.monotonic() < deadline, "the topic is still there"
        time.sleep(0.1)

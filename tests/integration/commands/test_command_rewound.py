"""Events that are stored for the first time below the cursor, by the real ingest on real servers."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from command_world import COLUMNS, START_MS, STEPS, document, expected_rows
from elasticsearch import Elasticsearch
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from fleetgauge import command_attempts
from fleetgauge.clock import SystemClock
from fleetgauge.commands.materialise import CommandSource, MaterialiseReport, materialise
from fleetgauge.ingest import Consumer, DeadLetterLimit
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.ingest.read.rewind import Rewind
from fleetgauge.progress.offsets import read_progress
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings, Settings

ROOT = Path(__file__).parents[3]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A topic of two partitions, and all that was sent to it."""

    settings: Settings
    consumer: Consumer
    admin: KafkaAdminClient
    sent: list[dict]

    def send(self, *commands: str) -> None:
        """The four events of each command, spread over the partitions and appended when they happened."""
        with closing(KafkaProducer(bootstrap_servers=self.settings.kafka.bootstrap_servers)) as producer:
            for command in commands:
                for number, step in enumerate(STEPS):
                    one = document(step, START_MS + number * 100, command_id=command)
                    producer.send(
                        self.consumer.topic,
                        json.dumps(one).encode(),
                        partition=number % 2,
                        timestamp_ms=one["timestamp"],
                    )
                    self.sent.append(one)
            producer.flush()

    def ingest(self, *, since: datetime | None = None, contracts: tuple[str, ...] | None = None) -> dict[str, int]:
        """Run the consumer until it has caught up; the events by class."""
        consumer = replace(self.consumer, contracts=contracts or self.consumer.contracts)
        rewind = Rewind(since) if since is not None else None
        summary = consume(consumer, self.settings, ConsumeOptions(until_caught_up=True, rewind=rewind))
        assert summary.caught_up
        return summary.events

    def delete_indices(self) -> None:
        with closing(Elasticsearch(self.settings.elasticsearch.url)) as client:
            for index in client.indices.get(index=f"{self.consumer.index}-*", expand_wildcards="all"):
                client.indices.delete(index=index)

    def materialise(self) -> MaterialiseReport:
        source = CommandSource(self.consumer.topic, self.consumer.group, self.consumer.index)
        return materialise(self.settings, source, SystemClock())

    def committed(self) -> dict[int, int]:
        return read_progress(self.settings.kafka, self.consumer.topic, self.consumer.group, SystemClock()).committed


@pytest.fixture
def world(metrics, kafka, elasticsearch, empty) -> Iterator[World]:
    name = f"rewound-{uuid4().hex[:8]}"
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap),
        elasticsearch=ElasticsearchSettings(url=elasticsearch.url),
        metrics=metrics,
        content=ROOT,
    )
    limit = DeadLetterLimit(ratio=1.0, consecutive=1_000)
    kinds = ("command", "command_response")
    consumer = Consumer(name, name, kinds, name, dead_letters=limit, accept_age=datetime.now(UTC) - LONG_AGO)
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap)) as admin:
        admin.create_topics([NewTopic(name, 2, 1)])
        made = World(settings, consumer, admin, [])
        yield made
        admin.delete_topics(sorted(set(admin.list_topics()) & {name, consumer.dead_letter_topic}))
    made.delete_indices()
    with closing(Elasticsearch(elasticsearch.url)) as client:
        client.indices.delete_index_template(name=f"fleetgauge-{name}")


Rows = Callable[[str], list[tuple]]


def check(world: World, attempts: Rows, report: MaterialiseReport) -> None:
    assert set(attempts(COLUMNS)) == expected_rows(world.sent, report.watermark)


def test_what_an_index_lost_is_materialised_after_a_rewind_that_has_caught_up(world: World, attempts: Rows) -> None:
    world.send("c-1", "c-2")
    assert world.ingest()["ok"] == 8
    world.delete_indices()
    assert (world.materialise().events, attempts("command_id")) == (
        0,
        [],
    )  # all is committed, so the cursor is at the end
    before = world.committed()

    assert world.ingest(since=LONG_AGO)["ok"] == 8
    assert world.committed() == before  # nothing went backwards, by what a run can see of the offsets
    report = world.materialise()
    assert (report.restarted, report.events) == (True, 8)
    check(world, attempts, report)

    # Ordinary commits go on as the same epoch: only what is new is read.
    world.send("c-3")
    assert world.ingest()["ok"] == 4
    report = world.materialise()
    assert (report.restarted, report.events) == (False, 4)
    check(world, attempts, report)
    assert world.materialise().events == 0

    # The same instant again, and ordinary commits beyond it before the next run.
    world.delete_indices()
    assert world.ingest(since=LONG_AGO)["ok"] == 12
    world.send("c-4")
    world.ingest()
    report = world.materialise()
    assert (report.restarted, report.events) == (True, 16)
    check(world, attempts, report)


def test_what_an_earlier_contract_refused_is_materialised_after_a_rewind(world: World, attempts: Rows) -> None:
    world.send("c-1", "c-2")
    assert world.ingest(contracts=("command",)) == {"ok": 6, "duplicate": 0, "poison": 2}
    world.materialise()
    assert attempts("status") == [("timed_out",), ("timed_out",)]
    assert world.ingest(since=LONG_AGO) == {"ok": 2, "duplicate": 6, "poison": 0}
    report = world.materialise()
    assert report.restarted
    assert attempts("status") == [("succeeded",), ("succeeded",)]
    check(world, attempts, report)


def test_a_group_that_lost_its_offsets_is_followed_from_the_beginning(world: World, attempts: Rows) -> None:
    world.send("c-1")
    world.ingest()
    world.delete_indices()
    world.materialise()
    world.admin.delete_groups([world.consumer.group])  # as Kafka does with those of a group that is away for long
    world.send("c-2")
    assert world.ingest()["ok"] == 8
    report = world.materialise()
    assert report.restarted
    check(world, attempts, report)


def test_a_group_under_a_new_name_is_followed_from_the_beginning(world: World, attempts: Rows) -> None:
    world.send("c-1", "c-2")
    world.ingest(contracts=("command",))
    world.materialise()
    world.consumer = replace(world.consumer, name=f"{world.consumer.name}-again")
    assert world.ingest() == {"ok": 2, "duplicate": 6, "poison": 0}
    report = world.materialise()
    assert (report.restarted, report.events) == (False, 8)
    check(world, attempts, report)


def test_a_replay_beside_the_running_consumer_is_materialised_by_its_own_cursor(
    world: World, attempts: Rows, tmp_path: Path
) -> None:
    (tmp_path / "consumers").mkdir()
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    world.settings = world.settings.model_copy(update={"content": tmp_path})

    def declare(file: str, consumer: Consumer) -> None:
        (tmp_path / "consumers" / file).write_text(
            "from fleetgauge.ingest import Consumer\n"
            f"consumer = Consumer({consumer.name!r}, {consumer.topic!r}, {consumer.contracts!r}, {consumer.index!r})\n"
        )

    running = world.consumer
    declare("device_commands.py", running)
    world.send("c-1", "c-2")
    world.ingest(contracts=("command",))
    command_attempts.materialise_commands(world.settings)
    assert attempts("status") == [("timed_out",), ("timed_out",)]
    world.consumer = replace(running, name=f"{running.name}-again")
    declare("again.py", world.consumer)
    assert world.ingest() == {"ok": 2, "duplicate": 6, "poison": 0}
    world.consumer = running
    world.send("c-3")
    world.ingest()
    watermark = command_attempts.materialise_commands(world.settings)
    assert set(attempts(COLUMNS)) == expected_rows(world.sent, watermark)
    assert len(attempts("command_id")) == 3

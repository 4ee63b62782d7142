"""Materialising with real Kafka commits, real documents in Elasticsearch and a real metrics database."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psutil
import pytest
from command_world import COLUMNS, START_MS, STEPS, document, expected_rows, instant
from elasticsearch import Elasticsearch
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import NewTopic
from pydantic import SecretStr

from fleetgauge.clock import SystemClock
from fleetgauge.commands.materialise import CommandSource, materialise
from fleetgauge.commands.pages import ElasticsearchDocuments
from fleetgauge.errors import Terminal, Transient
from fleetgauge.progress.cursor import Offsets
from fleetgauge.progress.offsets import read_progress
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings, Settings

MAPPING = {
    "dynamic": False,
    "properties": {
        "@timestamp": {"type": "date"},
        "kafka": {"properties": {"partition": {"type": "integer"}, "offset": {"type": "long"}}},
    },
}


class World:
    """A topic, a group and an alias of one test, with what ingest would have done to them."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.source = CommandSource(name, f"fleetgauge-{name}", name)
        self.bootstrap = settings.kafka.bootstrap_servers
        self.documents: list[dict] = []
        self._client = Elasticsearch(settings.elasticsearch.url, request_timeout=60)

    def close(self) -> None:
        for index in self._client.indices.get(index=f"{self.source.index}-*", expand_wildcards="all"):
            self._client.indices.delete(index=index)
        self._client.close()

    def create_topic(self, partitions: int = 2) -> None:
        with closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            admin.create_topics([NewTopic(self.source.topic, partitions, 1)])
            admin.wait_for_topics([self.source.topic])

    def delete_topic(self) -> None:
        with closing(KafkaAdminClient(bootstrap_servers=self.bootstrap)) as admin:
            admin.delete_topics([self.source.topic])

    def produce(self, partition: int, *documents: dict, appended_ms: int | None = None) -> list[int]:
        """Append to Kafka; returns the offsets."""
        with closing(KafkaProducer(bootstrap_servers=self.bootstrap)) as producer:
            sent = [
                producer.send(
                    self.source.topic, json.dumps(one).encode(), partition=partition, timestamp_ms=appended_ms
                )
                for one in documents
            ]
            producer.flush()
            return [future.get(timeout=20).offset for future in sent]

    def store(self, partition: int, offsets: list[int], documents: list[dict], day: str = "2026.11.21") -> None:
        """Write to Elasticsearch as ingest does: raw event, spliced suffix with dotted keys."""
        index = f"{self.source.index}-{day}"
        if not self._client.indices.exists(index=index):
            self._client.indices.create(index=index, mappings=MAPPING, aliases={self.source.index: {}})
        operations: list[dict] = []
        for offset, one in zip(offsets, documents, strict=True):
            operations.append({"create": {"_id": f"{one['device']['id']}:{one['event']['id']}"}})
            operations.append(
                one | {"@timestamp": one["timestamp"], "kafka.partition": partition, "kafka.offset": offset}
            )
        if operations:
            assert not self._client.bulk(index=index, operations=operations)["errors"]
        self.documents += documents

    def ingest(self, partition: int, *documents: dict, day: str = "2026.11.21") -> None:
        """Produce, store and commit."""
        offsets = self.produce(partition, *documents)
        self.store(partition, offsets, list(documents), day)
        self.commit({partition: offsets[-1] + 1})

    def commit(self, offsets: dict[int, int]) -> None:
        with closing(
            KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.source.group, enable_auto_commit=False)
        ) as consumer:
            consumer.assign([TopicPartition(self.source.topic, p) for p in offsets])
            consumer.commit(
                {TopicPartition(self.source.topic, p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()}
            )

    def materialise(self):
        return materialise(self.settings, self.source, SystemClock())

    def progress(self):
        return read_progress(self.settings.kafka, self.source.topic, self.source.group, SystemClock())


@pytest.fixture
def world(metrics, kafka, elasticsearch, empty) -> Iterator[World]:
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka.bootstrap),
        elasticsearch=ElasticsearchSettings(url=elasticsearch.url),
        metrics=metrics,
    )
    found = World(settings, f"commands-{uuid4().hex[:8]}")
    yield found
    found.close()


def lifecycle(command_id="c-1", attempt=1, **changes):
    return [
        document(step, START_MS + ms, command_id=command_id, attempt=attempt, **changes)
        for step, ms in zip(STEPS, (0, 50, 400, 900), strict=True)
    ]


def test_materialises_what_is_stored_and_committed(world, attempts):
    world.create_topic()
    world.ingest(0, *lifecycle(), *lifecycle("c-2")[:2])
    world.ingest(1, *lifecycle("c-3", result="failed", error_code="E_1"), day="2026.11.20")
    before = datetime.now(UTC)
    report = world.materialise()
    assert report.watermark >= before  # caught up: everything up to the moment of looking is in
    assert (report.events, report.backlog, report.conflicts, report.unusable) == (10, 0, 0, 0)
    assert set(attempts(COLUMNS)) == expected_rows(world.documents, report.watermark)
    world.ingest(0, *lifecycle("c-2")[2:])
    second = world.materialise()
    assert second.events == 2
    assert set(attempts(COLUMNS)) == expected_rows(world.documents, second.watermark)
    assert world.materialise().events == 0


def test_the_watermark_is_the_append_time_of_the_first_unfinished_record(world, attempts):
    world.create_topic()
    world.ingest(0, *lifecycle())
    late = lifecycle("c-2")
    offsets = world.produce(1, late[0], appended_ms=START_MS + 5_000)
    world.produce(1, *late[1:], appended_ms=START_MS + 9_000)
    world.store(1, offsets, late[:1])  # written, but not acknowledged to Kafka yet
    progress = world.progress()
    assert progress.watermark == instant(START_MS + 5_000)
    assert [(p.committed, p.end, p.lag) for p in progress.partitions] == [(4, 4, 0), (None, 4, 4)]
    report = world.materialise()
    assert (report.watermark, report.events, report.backlog) == (instant(START_MS + 5_000), 4, 4)
    assert attempts("command_id") == [("c-1",)]
    world.commit({1: 1})
    assert world.progress().watermark == instant(START_MS + 9_000)
    assert world.materialise().events == 1


class Fast:
    """A worker's clock that is ten minutes ahead."""

    def now(self):
        return datetime.now(UTC) + timedelta(minutes=10)


def test_a_deadline_does_not_pass_by_one_clock_alone(world, attempts, connection):
    """Nor does what an older version judged by it stay: open commands were timed out, ten minutes early."""
    world.create_topic()
    soon = int((datetime.now(UTC) + timedelta(minutes=2)).timestamp() * 1000)
    world.ingest(0, *lifecycle(), *lifecycle("c-9", deadline_ms=soon)[:2])
    before = datetime.now(UTC)
    report = materialise(world.settings, world.source, Fast())
    assert before <= report.watermark <= datetime.now(UTC)
    assert dict(attempts("command_id, status")) == {"c-1": "succeeded", "c-9": "sent"}
    connection.execute("UPDATE fleetgauge.command_cursor SET judged_at = now() + interval '10 minutes'")
    connection.execute("UPDATE fleetgauge.command_attempt SET status = 'timed_out' WHERE command_id = 'c-9'")
    world.materialise()
    assert dict(attempts("command_id, status")) == {"c-1": "succeeded", "c-9": "sent"}
    assert connection.execute("SELECT max(judged_at) <= now() FROM fleetgauge.command_cursor").fetchone() == (True,)


def test_nothing_ingested_yet_is_no_work(world, attempts):
    world.create_topic()
    report = world.materialise()
    assert (report.events, report.attempts, report.restarted) == (0, 0, False)
    offsets = world.produce(0, *lifecycle())
    world.commit({0: 4})  # all of it was dead-lettered, so there is no index to read
    assert world.materialise().events == 0
    world.store(0, offsets, lifecycle())
    assert world.materialise().events == 0


def test_a_topic_made_anew_restarts_the_cursor(world, attempts):
    world.create_topic()
    world.ingest(0, *lifecycle(), *lifecycle("c-2"))
    first = world.progress()
    world.materialise()
    # Stored and committed, but not materialised when the topic goes.
    world.ingest(0, *lifecycle("c-3"))
    world.delete_topic()
    recreate(world)
    assert world.progress().topic_id != first.topic_id
    assert world.progress().committed == {}
    world.ingest(0, *lifecycle("c-4"))  # the same positions as c-1's
    report = world.materialise()
    assert report.restarted
    assert set(attempts(COLUMNS)) == expected_rows(world.documents, report.watermark)
    world.ingest(0, *lifecycle("c-5"))
    following = world.materialise()
    assert (following.restarted, following.events) == (False, 8)  # c-5, and c-2 that shares its positions
    assert set(attempts(COLUMNS)) == expected_rows(world.documents, following.watermark)


def recreate(world: World) -> None:
    """Deletion is asynchronous: create as soon as the broker allows it."""
    from kafka.errors import TopicAlreadyExistsError

    give_up = datetime.now(UTC) + timedelta(seconds=30)
    while True:
        try:
            return world.create_topic()
        except TopicAlreadyExistsError:
            assert datetime.now(UTC) < give_up


def named(one: dict) -> str:
    return f"{one['event']['action']} {one['command']['id']}"


def test_pages_come_by_position_whatever_their_size_and_index(world):
    world.create_topic()
    for partition in (0, 1):
        for day in ("2026.11.20", "2026.11.21"):
            world.ingest(partition, *[one for n in range(3) for one in lifecycle(f"c-{partition}{day}{n}")], day=day)
    every = [named(one) for one in world.documents]
    for page in (5, 7, 1000):
        with ElasticsearchDocuments(world.settings.elasticsearch, page=page) as documents:

            def read(spans, documents=documents):
                found = list(documents.pages(world.source.index, spans))
                positions = [(p.partition, p.offset) for p in found]
                assert positions == sorted(positions)
                return [named(json.loads(bytes(one))) for p in found for one in p.sources]

            assert read(None) == every
            assert read({0: Offsets(0, 24), 1: Offsets(0, 24)}) == every
            assert read({0: Offsets(5, 13), 1: Offsets(23, 24)}) == every[5:13] + every[47:48]
            assert read({1: Offsets(24, 30)}) == []


def test_documents_that_share_a_position_are_all_read(world):
    world.create_topic()
    world.store(0, [7] * 5, [document("sent", START_MS, command_id=f"c-{n}") for n in range(5)])
    with ElasticsearchDocuments(world.settings.elasticsearch, page=2) as documents:
        found = [one for page in documents.pages(world.source.index, {0: Offsets(7, 8)}) for one in page.sources]
    assert {json.loads(bytes(one))["command"]["id"] for one in found} == {f"c-{n}" for n in range(5)}


def test_a_document_that_is_no_command_event_holds_nothing_up(world, elasticsearch, attempts):
    world.create_topic()
    world.ingest(0, *lifecycle())
    half_a_pair = json.dumps(lifecycle("c-2")[0] | {"kafka.partition": 0, "kafka.offset": 4}).replace(
        "2.4.1", r"\ud800"
    )
    with closing(Elasticsearch(elasticsearch.url)) as client:
        answer = client.bulk(
            index=f"{world.source.index}-2026.11.21",
            operations=[
                b'{"create": {}}',
                half_a_pair.encode(),
                b'{"create": {}}',
                b'{"kafka.partition": 0, "kafka.offset": 5}',
            ],
        )
        assert not answer["errors"]
    assert world.produce(0, *lifecycle("c-3")[:2]) == [4, 5]
    world.commit({0: 6})
    report = world.materialise()
    assert (report.events, report.unusable) == (6, 2)
    assert attempts("command_id, status") == [("c-1", "succeeded")]


def test_a_closed_index_is_not_passed_over(world, elasticsearch):
    world.create_topic()
    world.ingest(0, *lifecycle())
    with closing(Elasticsearch(elasticsearch.url)) as client:
        client.indices.close(index=f"{world.source.index}-2026.11.21")
    assert world.materialise().events == 0
    with closing(Elasticsearch(elasticsearch.url)) as client:
        client.indices.open(index=f"{world.source.index}-2026.11.21", wait_for_active_shards=1)
    assert world.materialise().events == 4


def test_a_topic_that_does_not_exist_is_told(world):
    with pytest.raises(Terminal, match=f"topic '{world.source.topic}' does not exist"):
        world.progress()


def test_a_group_without_commits_has_finished_nothing(world):
    world.create_topic()
    empty_topic = world.progress()
    assert (empty_topic.committed, empty_topic.watermark) == ({}, empty_topic.observed_at)
    world.produce(0, *lifecycle(), appended_ms=START_MS)
    found = world.progress()
    assert (found.committed, found.watermark, found.lag) == ({}, instant(START_MS), 4)


def test_transaction_markers_at_the_end_are_no_unfinished_record(world):
    world.create_topic(1)
    with closing(KafkaProducer(bootstrap_servers=world.bootstrap, transactional_id=uuid4().hex)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(world.source.topic, b"{}", partition=0, timestamp_ms=START_MS).get(timeout=20)
        producer.commit_transaction()
    world.commit({0: 1})
    give_up = datetime.now(UTC) + timedelta(seconds=30)
    while (progress := world.progress()).partitions[0].end < 2:  # the broker writes the marker in its own time
        assert datetime.now(UTC) < give_up
    assert progress.partitions[0].unfinished_at is None
    assert progress.watermark == progress.observed_at


def test_a_commit_beyond_the_end_counts_for_nothing(world):
    """A group's commit can outlive its topic."""
    world.create_topic(1)
    world.produce(0, *lifecycle(), appended_ms=START_MS)
    world.commit({0: 99})
    progress = world.progress()
    assert (progress.committed, progress.watermark) == ({}, instant(START_MS))


def test_reading_progress_leaves_no_connection_and_no_group_behind(world):
    world.create_topic()
    world.produce(0, *lifecycle())
    port = int(world.bootstrap.rsplit(":", 1)[1])

    def connections() -> int:
        found = psutil.Process(os.getpid()).net_connections(kind="tcp")
        return sum(c.raddr != () and c.raddr.port == port and c.status == psutil.CONN_ESTABLISHED for c in found)

    before = connections()
    for _ in range(3):
        world.progress()
    assert connections() == before
    with closing(KafkaAdminClient(bootstrap_servers=world.bootstrap)) as admin:
        assert world.source.group not in {group["group_id"] for group in admin.list_groups()}


def test_servers_that_are_away_are_transient_and_named(world):
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(Transient, match=r"127\.0\.0\.1:1.*check that Kafka runs"):
        read_progress(nowhere, "t", "g", SystemClock(), timeout_s=2)
    world.create_topic()
    world.produce(0, *lifecycle())
    world.commit({0: 4})
    world.settings = world.settings.model_copy(
        update={
            "elasticsearch": ElasticsearchSettings(
                url="http://127.0.0.1:1", username="reader", password=SecretStr("hunter2")
            )
        }
    )
    with pytest.raises(Transient, match="check that Elasticsearch runs") as caught:
        world.materialise()
    assert "hunter2" not in str(caught.value)

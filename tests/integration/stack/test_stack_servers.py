"""The servers that the other tests rely on are what they claim to be."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep, time

import psycopg
import pytest
from elasticsearch import Elasticsearch
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from fleetgauge.settings import Settings
from fleetlab.stack import KafkaState, PostgresState, Stack, StackState, layout
from fleetlab.stack.artifacts import bundles
from fleetlab.stack.java import Jdk
from fleetlab.stack.processes import Processes
from scheduling import is_streamed


def wait_for(condition: Callable[[], bool], limit_s: float = 20) -> None:
    end = monotonic() + limit_s
    while not condition():
        assert monotonic() < end, "condition not met in time"
        sleep(0.05)


def one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_replica_streams_from_the_primary_and_refuses_writes(postgres: PostgresState) -> None:
    with (
        psycopg.connect(postgres.primary_app_url, autocommit=True) as primary,
        psycopg.connect(postgres.replica_admin_url, autocommit=True) as replica,
    ):
        primary.execute("CREATE TABLE stack_probe AS SELECT 41 + 1 AS answer")
        try:
            wait_for(lambda: one(replica, "SELECT to_regclass('stack_probe') IS NOT NULL") is True)
            assert one(replica, "SELECT answer FROM stack_probe") == 42
            assert one(replica, "SELECT pg_is_in_recovery()") is True
            assert one(primary, "SELECT pg_is_in_recovery()") is False
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                replica.execute("DELETE FROM stack_probe")
        finally:
            primary.execute("DROP TABLE stack_probe")


def test_logins_can_do_what_they_are_for_and_no_more(postgres: PostgresState) -> None:
    with psycopg.connect(postgres.replica_reader_url) as reader:
        assert one(reader, "SHOW statement_timeout") == "20s"
        assert one(reader, "SHOW default_transaction_read_only") == "on"
    with psycopg.connect(postgres.metrics_owner_url, autocommit=True) as owner:
        owner.execute("CREATE ROLE stack_probe_group")
        owner.execute("GRANT stack_probe_group TO fleetgauge, grafana")
        owner.execute("DROP ROLE stack_probe_group")
    for url in (postgres.metrics_writer_url, postgres.grafana_url, postgres.analyst_url):
        with psycopg.connect(url, autocommit=True) as login, pytest.raises(psycopg.Error):
            login.execute("CREATE TABLE stack_probe (n int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(postgres.url("metrics", "grafana", "airflow"))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.grafana_url.replace(str(postgres.metrics), str(postgres.replica)))


def test_statements_are_counted_on_primary_and_replica_separately(postgres: PostgresState) -> None:
    with (
        psycopg.connect(postgres.replica_admin_url, autocommit=True) as replica,
        psycopg.connect(postgres.primary_admin_url, autocommit=True) as primary,
    ):
        replica.execute("SELECT 1 AS only_on_the_replica")
        count = "SELECT count(*) FROM pg_stat_statements WHERE query ~ '^SELECT .* AS only_on_the_replica'"
        assert one(replica, count) == 1
        assert one(primary, count) == 0


def test_kafka_keeps_old_records_and_makes_no_topic_by_itself(kafka: KafkaState) -> None:
    topic, week_ago = f"stack-probe-{uuid.uuid4().hex}", int((time() - 7 * 86_400) * 1000)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, max_block_ms=2000)
    with pytest.raises(KafkaError):
        producer.send(topic, b"nobody made this topic").get(timeout=5)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
    try:
        assert producer.send(topic, b"old", timestamp_ms=week_ago).get(timeout=20).offset == 0
        consumer = KafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", group_id=None)
        record = next(iter(consumer))
        assert (record.value, record.timestamp) == (b"old", week_ago)
        consumer.close()
    finally:
        admin.delete_topics([topic])
        admin.close()
        producer.close()


def test_elasticsearch_is_the_version_its_jdk_runs(stack: StackState) -> None:
    assert stack.java is not None
    node = stack.need_elasticsearch()
    expected = bundles()[Jdk(Path(stack.java.home), stack.java.version).elasticsearch].version
    with Elasticsearch(node.url) as client:
        nodes = client.nodes.info(filter_path="nodes.*.version")
        assert {one["version"] for one in nodes["nodes"].values()} == {node.version} == {expected}
        index = f"stack-probe-{uuid.uuid4().hex}"
        client.index(index=index, id="1", document={"n": 1}, refresh=True)
        assert client.get(index=index, id="1")["_source"] == {"n": 1}
        client.indices.delete(index=index)


@pytest.mark.skipif("FLEETLAB_HOME_REUSE" in os.environ, reason="whoever started the servers chose their options")
@pytest.mark.parametrize("name", ["kafka", "elasticsearch"])
def test_jvms_get_the_options_of_the_environment(stack: StackState, name: str) -> None:
    commands = [process.cmdline() for process in Processes(layout.find(Path(stack.home))).family(name)]
    main = max(commands, key=len)  # Elasticsearch has a launcher besides
    assert set(os.environ["FLEETLAB_JAVA_OPTS"].split()) <= set(main)


def test_settings_name_the_running_servers(stack: StackState, settings: Settings) -> None:
    assert settings.kafka.bootstrap_servers == stack.need_kafka().bootstrap
    assert settings.elasticsearch.url == stack.need_elasticsearch().url
    assert (settings.content / "schemas" / "events").is_dir()
    with psycopg.connect(settings.source("operations").url.get_secret_value()) as replica:
        assert one(replica, "SELECT pg_is_in_recovery()") is True


def test_memory_stays_below_the_bar(stack: StackState) -> None:
    lab = Stack(Path(stack.home))
    used = {status.service: status.memory_bytes for status in lab.status() if status.running}
    assert used.keys() >= {"postgres", "kafka", "elasticsearch"}
    assert sum(used.values()) < 4 * 10**9, used  # Airflow takes less than 1 GB of the 5


def test_files_that_need_kafka_or_elasticsearch_run_where_they_are(request: pytest.FixtureRequest) -> None:
    """Of those of this run. Another process would start both once more, for twenty seconds of processor time."""
    asking = {
        item.nodeid.partition("::")[0]
        for item in request.session.items
        if isinstance(item, pytest.Function) and {"kafka", "elasticsearch", "stack"} & set(item.fixturenames)
    }
    unknown = sorted(file for file in asking if not is_streamed(file))
    assert not unknown, "add them to STREAMED in tests/scheduling.py"

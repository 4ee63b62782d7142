"""Real servers hold what the truth says: Kafka's records, the primary's rows, and the heartbeat's mark."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient

from fleetgauge.errors import Terminal
from fleetlab.simulator import Heartbeat, Scale, Timeline, Truth, load_backlog, run_live
from fleetlab.simulator.records import TOPICS
from fleetlab.stack import KafkaState, PostgresState

PREFIX = "simulator-test."
DATABASE = "simulator_test"
SOURCE_SQL = Path(__file__).parents[3] / "sql" / "source"


@dataclass(frozen=True)
class Company:
    """A company that was simulated into a database and topics of its own."""

    plan: Timeline
    app_url: str
    dba_url: str
    kafka: str
    truth_path: Path
    after_backlog: dict[str, int]
    """Rows of each table before the live stretch."""

    def truth(self) -> Truth:
        """Its truth."""
        return Truth(self.truth_path)


@pytest.fixture(scope="module")
def company(postgres: PostgresState, kafka: KafkaState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Loaded with a backlog that ended five minutes ago and the live stretch since then."""
    app_url = postgres.url("primary", "scooter_app", DATABASE)
    dba_url = postgres.url("primary", "postgres", DATABASE)
    truth_path = tmp_path_factory.mktemp("company") / "truth.sqlite"
    scale = Scale(vehicles=60, days=1, rate=3, live_seconds=300, live_factor=30)
    plan = Timeline.ending(scale, datetime.now(UTC) - timedelta(minutes=6))
    with psycopg.connect(postgres.primary_admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE} OWNER scooter_app")
    try:
        servers = {"primary_url": app_url, "kafka_bootstrap": kafka.bootstrap, "topic_prefix": PREFIX}
        load_backlog(plan, dba_url=dba_url, truth_path=truth_path, source_sql=SOURCE_SQL, **servers)
        with psycopg.connect(app_url) as app:
            counted = {
                table: int(one(app, f"SELECT count(*) FROM {table}"))
                for table in ("rentals", "payments", "vehicle_state_log")
            }
        live = run_live(plan, truth_path=truth_path, stop=threading.Event(), **servers)
        assert live.complete and live.records and live.actions
        yield Company(plan, app_url, dba_url, kafka.bootstrap, truth_path, counted)
    finally:
        client = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        client.delete_topics([PREFIX + name for name in TOPICS])
        client.close()
        with psycopg.connect(postgres.primary_admin_url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def one(connection: psycopg.Connection, query: str) -> object:
    """The single value of a query."""
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def wait_for(condition: Callable[[], bool], limit_s: float = 20) -> None:
    """Until it is true, within a time limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_kafka_holds_exactly_what_the_truth_lists(company: Company) -> None:
    truth = company.truth()
    ends = truth.end_offsets()
    consumer = KafkaConsumer(
        bootstrap_servers=company.kafka, consumer_timeout_ms=20_000, isolation_level="read_committed"
    )
    partitions = {TopicPartition(PREFIX + topic, partition): end for (topic, partition), end in ends.items()}
    consumer.assign(list(partitions))
    consumer.seek_to_beginning()
    # A transaction's marker, and what was aborted, may follow the last record that counts.
    assert all(end >= partitions[place] for place, end in consumer.end_offsets(list(partitions)).items())

    broken = truth.broken()
    positions: dict[str, list[str]] = defaultdict(list)
    appended: dict[tuple[str, int], list[int]] = defaultdict(list)
    good = 0
    missing = set(partitions)
    for message in consumer:
        topic = message.topic.removeprefix(PREFIX)
        if (topic, message.partition, message.offset) not in broken:
            good += 1
            identifier = message.value.split(b'"event":{"id":"', 1)[1].split(b'"', 1)[0].decode()
            positions[f"{message.key.decode()}:{identifier}"].append(topic)
        appended[message.topic, message.partition].append(message.timestamp)
        if message.offset + 1 == partitions[TopicPartition(message.topic, message.partition)]:
            missing.discard(TopicPartition(message.topic, message.partition))
        if not missing:
            break
    consumer.close()
    assert set(positions) == {f"{device}:{event}" for device, event in truth.sent_events()}
    assert good == len(positions) + truth.duplicates()
    assert broken
    assert all(times == sorted(times) for times in appended.values()), "appended in order of append time"
    assert {topic for found in positions.values() for topic in found} == {"device-events", "device-commands"}


def test_the_primary_holds_exactly_the_rentals_of_the_truth(company: Company) -> None:
    cells = company.truth().rental_counts("minute", ("zone", "model"))
    expected = {
        (*key, c.started, c.completed, c.refunded, c.fare_krw, c.distance_m, c.duration_total_s)
        for key, c in cells.items()
    }
    query = """
        SELECT date_trunc('minute', started_at), zone_code, model_code, count(*), count(ended_at), count(refunded_at),
               coalesce(sum(fare_krw), 0), coalesce(sum(distance_m), 0),
               coalesce(sum(extract(epoch FROM ended_at - started_at)), 0)
        FROM rentals GROUP BY 1, 2, 3"""
    with psycopg.connect(company.app_url) as app:
        app.execute("SET TIME ZONE 'UTC'")
        assert set(app.execute(query)) == expected
        assert one(app, "SELECT count(*) FROM rentals WHERE (status = 'active') <> (ended_at IS NULL)") == 0
        assert one(app, "SELECT count(*) FROM rentals WHERE (status = 'refunded') <> (refunded_at IS NOT NULL)") == 0
        charged = one(app, "SELECT sum(fare_krw) FILTER (WHERE status = 'completed') FROM rentals")
        assert one(app, "SELECT sum(amount_krw) FROM payments WHERE status = 'paid'") == charged, "charges less refunds"


def test_history_keeps_its_change_times_and_live_changes_carry_the_databases_clock(company: Company) -> None:
    live_from = company.plan.live_from
    with psycopg.connect(company.app_url) as app:
        for table, before in company.after_backlog.items():
            assert one(app, f"SELECT count(*) FROM {table}") > before  # type: ignore[operator]
        historical, live = app.execute(
            "SELECT count(*) FILTER (WHERE updated_at <= %s), count(*) FILTER (WHERE updated_at > %s) FROM rentals",
            (live_from, live_from),
        ).fetchone() or (0, 0)
        assert historical > live > 0
        # nothing pretends to have been written between the backlog's end and the writing of the live stretch
        assert one(app, "SELECT min(updated_at) > max(started_at) FROM rentals WHERE updated_at > "
                        f"'{live_from.isoformat()}'")  # fmt: skip
        refund_of_old = app.execute(
            "SELECT count(*) FROM rentals WHERE status = 'refunded' AND updated_at > %s AND ended_at < %s",
            (live_from, live_from - timedelta(hours=1)),
        ).fetchone()
        assert refund_of_old and refund_of_old[0] >= 4, "closed windows change"
        states = "SELECT count(*) FROM vehicles v WHERE vehicle_state <> (SELECT vehicle_state FROM vehicle_state_log l"
        states += " WHERE l.vehicle_id = v.id ORDER BY occurred_at DESC, id DESC LIMIT 1)"
        assert one(app, states) == 0


def test_the_reader_reads_the_listed_tables_and_nothing_writes(company: Company, postgres: PostgresState) -> None:
    with psycopg.connect(postgres.url("primary", "fleetgauge_reader", DATABASE), autocommit=True) as reader:
        for table in ("rentals", "vehicle_state_log", "fleetgauge_heartbeat"):
            reader.execute(f"SELECT * FROM {table} LIMIT 1".encode())
        reader.execute("SET default_transaction_read_only = off")
        for forbidden in (
            "UPDATE rentals SET fare_krw = 0",
            "SELECT * FROM riders",
            "DELETE FROM payments",
            "SELECT * FROM vehicles",
            "DELETE FROM fleetgauge_heartbeat",
            "SELECT fleetgauge_beat()",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(forbidden.encode())


def test_a_second_company_is_refused(company: Company, tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="already holds rentals"):
        load_backlog(
            company.plan,
            primary_url=company.app_url,
            dba_url=company.dba_url,
            kafka_bootstrap=company.kafka,
            truth_path=tmp_path / "truth.sqlite",
            source_sql=SOURCE_SQL,
            topic_prefix=PREFIX,
        )


def beat(connection: psycopg.Connection) -> tuple[datetime, datetime]:
    """One heartbeat; returns beat_at and oldest_xact_start."""
    connection.execute("SELECT fleetgauge_beat()")
    row = connection.execute("SELECT beat_at, oldest_xact_start FROM fleetgauge_heartbeat").fetchone()
    assert row is not None
    return row[0], row[1]


def test_the_mark_waits_for_the_oldest_transaction(company: Company) -> None:
    with (
        psycopg.connect(company.dba_url, autocommit=True) as job,
        psycopg.connect(company.app_url) as writer,
        psycopg.connect(company.app_url) as idle,
    ):
        beat_at, oldest = beat(job)
        assert timedelta(0) < beat_at - oldest < timedelta(seconds=5)
        began = writer.execute("SELECT now()").fetchone()
        assert began
        idle.execute("SELECT 1")
        wait_for(lambda: beat(job)[0] > began[0] + timedelta(seconds=2))
        assert beat(job)[1] == began[0], "held by a transaction that has not written yet"
        writer.execute("UPDATE rentals SET updated_at = now() WHERE id = (SELECT id FROM rentals LIMIT 1)")
        assert beat(job)[1] == began[0]
        writer.rollback()
        idle.rollback()
        wait_for(lambda: beat(job)[1] > began[0])


def test_the_mark_stands_still_while_a_prepared_transaction_waits(company: Company) -> None:
    with psycopg.connect(company.dba_url, autocommit=True) as job, psycopg.connect(company.app_url) as writer:
        if one(job, "SHOW max_prepared_transactions") == "0":
            pytest.skip("the primary allows no prepared transactions, so none can be missed")
        began = writer.execute("SELECT now()").fetchone()
        assert began
        beat(job)
        time.sleep(1.5)  # let the clock pass the mark's allowance
        writer.execute("PREPARE TRANSACTION 'simulator-test'")
        try:
            for _ in range(3):
                assert beat(job)[1] <= began[0], "`prepared` is later than the rows' now()"
        finally:
            job.execute("ROLLBACK PREPARED 'simulator-test'")
        wait_for(lambda: beat(job)[1] > began[0])


def test_the_heartbeat_beats_and_outlives_a_lost_connection(company: Company) -> None:
    with Heartbeat(company.app_url, every_s=0.05) as heart:
        wait_for(lambda: heart.written >= 3)
        with psycopg.connect(company.dba_url, autocommit=True) as dba:
            dba.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'scooter-heartbeat'"
                " AND datname = current_database()"
            )
        wait_for(lambda: heart.error is not None or heart.written >= 6)
        written = heart.written
        wait_for(lambda: heart.written > written and heart.error is None)

"""Operations and Fleet health beside the simulator's books, from Kafka and the primary to the panel."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from dashboards import queries
from kafka.admin import KafkaAdminClient
from pydantic import SecretStr

from fleetgauge import pipeline
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.rollup import load_definitions, raise_failures
from fleetgauge.settings import (
    ElasticsearchSettings,
    KafkaSettings,
    MetricsSettings,
    RollupSettings,
    Settings,
    SourceSettings,
)
from fleetlab.demo.books import Books
from fleetlab.demo.report import Check
from fleetlab.demo.verify import Aggregates
from fleetlab.demo.verify_company import by_tile
from fleetlab.demo.verify_dashboards import dashboards
from fleetlab.simulator import Heartbeat, Scale, Timeline, Truth, load_backlog
from fleetlab.simulator.records import TOPICS
from fleetlab.stack import StackState
from fleetlab.stack.state import DISTINCT_KEY

ROOT = Path(__file__).parents[3]
METRICS = (
    *("vehicle_state", "battery_swap", "rebalancing", "connectivity"),
    *("battery", "device_error", "device_report", "tip_over", "tip_over_tile"),
)
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def checks(stack: StackState, metrics_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Check]]:
    postgres, name = stack.need_postgres(), f"books_{uuid4().hex[:8]}"
    folder, prefix = tmp_path_factory.mktemp("books"), f"{name}."
    content = folder / "content"
    for one in METRICS:
        shutil.copytree(ROOT / "sql" / "metrics" / one, content / "sql" / "metrics" / one)
    shutil.copytree(ROOT / "schemas", content / "schemas")
    (content / "consumers").mkdir()
    declared = (ROOT / "consumers" / "device_events.py").read_text("utf-8")
    own = {"topic": f"{prefix}device-events", "index": f"{name.replace('_', '-')}-device-events"}
    for key, value in own.items():
        assert f'{key}="device-events"' in declared
        declared = declared.replace(f'{key}="device-events"', f'{key}="{value}"')
    (content / "consumers" / "device_events.py").write_text(declared)
    settings = Settings(
        content=content,
        kafka=KafkaSettings(bootstrap_servers=stack.need_kafka().bootstrap),
        elasticsearch=ElasticsearchSettings(url=stack.need_elasticsearch().url),
        metrics=MetricsSettings(
            url=SecretStr(postgres.url("metrics", "fleetgauge", name)),  # type: ignore[arg-type]
            owner_url=SecretStr(postgres.url("metrics", "fleetgauge_owner", name)),  # type: ignore[arg-type]
        ),
        sources={
            "operations": SourceSettings(url=SecretStr(postgres.url("replica", "fleetgauge_reader", name)))  # type: ignore[arg-type]
        },
        rollup=RollupSettings(distinct_key=SecretStr(DISTINCT_KEY)),
    )
    with psycopg.connect(postgres.primary_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER scooter_app")
    with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {metrics_template} OWNER fleetgauge_owner")
    try:
        yield list(_compared(stack, settings, prefix, name, folder / "truth.sqlite"))
    finally:
        client = KafkaAdminClient(bootstrap_servers=stack.need_kafka().bootstrap)
        client.delete_topics(sorted(set(client.list_topics()) & {f"{prefix}{topic}" for topic in TOPICS}))
        client.close()
        for url in (postgres.primary_admin_url, postgres.metrics_admin_url):
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _compared(stack: StackState, settings: Settings, prefix: str, name: str, truth_path: Path) -> Iterator[Check]:
    postgres = stack.need_postgres()
    app = postgres.url("primary", "scooter_app", name)
    plan = Timeline.ending(Scale(vehicles=40, days=2, live_seconds=0), datetime.now(UTC) - timedelta(minutes=3))
    load_backlog(
        plan,
        primary_url=app,
        dba_url=postgres.url("primary", "postgres", name),
        kafka_bootstrap=stack.need_kafka().bootstrap,
        truth_path=truth_path,
        source_sql=ROOT / "sql" / "source",
        topic_prefix=prefix,
    )
    pipeline.migrate(settings)
    assert consume(load_consumer(settings.content, "device_events"), settings, ConsumeOptions(True)).caught_up
    with Heartbeat(app, every_s=0.2):
        pipeline_settled = datetime.now(UTC)
        for grain in ("minute", "hour", "day"):
            for source in ("operations", "device_events"):
                raise_failures(pipeline.runs(settings, grain, None, (), source, None))
    definitions, truth = load_definitions(settings.content), Truth(truth_path)
    books = Books(
        truth,
        pipeline_settled,
        {one: found.grace for one, found in definitions.items()},
        {one: found.grains for one, found in definitions.items()},
    )
    with psycopg.connect(postgres.url("metrics", "grafana", name), autocommit=True) as grafana:
        yield from dashboards(grafana, truth, books, ROOT, queries, pipeline_settled)
    with psycopg.connect(postgres.url("metrics", "analyst", name)) as analyst:
        yield from (by_tile(Aggregates(analyst, books), truth, grain) for grain in ("hour", "day"))  # type: ignore[arg-type]


def test_every_panel_shows_what_the_books_say(checks: list[Check]) -> None:
    assert [one for one in checks if one.differences] == []
    assert len(checks) > 20
    # How many are silent is unsure while events came since the metric looked; the table is compared device by device.
    unsure = {"fleetgauge-fleet-health: Silent"}
    assert [one.name for one in checks if not one.compared and one.name not in unsure] == []

"""A metrics database that the real rollup has filled: rentals from the replica, commands from their events."""

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from fleetgauge import pipeline
from fleetgauge.commands.materialise import materialise_documents
from fleetgauge.commands.pages import Page
from fleetgauge.commands.store import CommandSource, open_store
from fleetgauge.cost.tariff import apply_tariffs
from fleetgauge.progress.cursor import Offsets
from fleetgauge.progress.offsets import GroupProgress, PartitionProgress
from fleetgauge.rollup import load_definitions, raise_failures, run_metrics
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.settings import MetricsSettings, RollupSettings, Settings, SourceSettings
from fleetlab.simulator import Heartbeat, Scale, Timeline, operations
from fleetlab.stack import PostgresState
from fleetlab.stack.state import DISTINCT_KEY

ROOT = Path(__file__).parents[2]
SOURCE = CommandSource("device-commands", "dashboards", "device-commands")


@dataclass(frozen=True)
class Filled:
    """A filled metrics database."""

    grafana_url: str = field(repr=False)
    replica_url: str = field(repr=False)
    """Production's replica, as its reader."""
    analyst_url: str = field(repr=False)
    settings: Settings
    """Those of the pipeline."""
    now: datetime
    """Where the company's history ends: some rides are under way then."""


class Documents:
    """The company's command events as if read from Elasticsearch; that path is tested elsewhere."""

    def __init__(self, plan: Timeline) -> None:
        self.partitions: dict[int, list[bytes]] = {}
        for records in plan.backlog():
            for one in records:
                if one.topic == SOURCE.topic and not one.fault and one.value is not None:
                    self.partitions.setdefault(one.partition, []).append(one.value)

    def closed(self, index: str) -> list[str]:
        return []

    def documents(self, index: str) -> dict[str, int]:
        return {}

    def pages(self, index: str, spans: Mapping[int, Offsets] | None, **_: Any) -> Generator[Page]:
        for partition, found in sorted(self.partitions.items()):
            yield Page(found, partition, len(found) - 1)

    def progress(self, now: datetime) -> GroupProgress:
        done = tuple(PartitionProgress(p, 0, len(f), len(f), None) for p, f in sorted(self.partitions.items()))
        return GroupProgress(SOURCE.topic, SOURCE.group, "dashboards", now, done)


@pytest.fixture(scope="session")
def filled(postgres: PostgresState, metrics_template: str) -> Iterator[Filled]:
    """Three days of a small company, rolled up at all grains; databases of these tests' own."""
    name = f"dashboards_{uuid4().hex[:12]}"
    now = last_evening()
    plan = Timeline.ending(Scale(vehicles=40, days=3, rate=25, live_seconds=0), now)
    try:
        with psycopg.connect(postgres.primary_admin_url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} OWNER scooter_app")
        with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {metrics_template} OWNER fleetgauge_owner")
        with psycopg.connect(postgres.url("primary", "postgres", name), autocommit=True) as admin:
            admin.execute("ALTER SCHEMA public OWNER TO scooter_app")
        app_url = postgres.url("primary", "scooter_app", name)
        operations.create_schema(operations.app_engine(app_url))
        operations.run_source_sql(postgres.url("primary", "postgres", name), ROOT / "sql" / "source")
        operations.copy_history(app_url, plan)
        replica = postgres.url("replica", "fleetgauge_reader", name) + "?target_session_attrs=standby"
        settings = Settings(
            content=ROOT,
            metrics=MetricsSettings(
                url=SecretStr(postgres.url("metrics", "fleetgauge", name)),
                owner_url=SecretStr(postgres.url("metrics", "fleetgauge_owner", name)),
            ),
            sources={"operations": SourceSettings(url=SecretStr(replica))},
            rollup=RollupSettings(distinct_key=SecretStr(DISTINCT_KEY)),
        )
        definitions = load_definitions(ROOT, pipeline.key_id(settings))
        migrate(settings, definitions)
        with psycopg.connect(postgres.url("metrics", "fleetgauge_owner", name), autocommit=True) as owner:
            apply_tariffs(owner, ROOT)
        documents = Documents(plan)
        with open_store(settings.metrics, SOURCE) as store:
            watermark = materialise_documents(store, documents, documents.progress(now), SOURCE).watermark
        with Heartbeat(app_url, every_s=0.2):
            _wait_for_heartbeat(postgres.url("replica", "postgres", name))
            for source in ("operations", "commands"):
                chosen = [one for one in definitions.values() if one.source == source]
                raise_failures(
                    run_metrics(settings, chosen, "minute", watermark=watermark if source == "commands" else None)
                )
        grafana, analyst = (postgres.url("metrics", login, name) for login in ("grafana", "analyst"))
        yield Filled(grafana, replica, analyst, settings, now)
    finally:
        for url in (postgres.metrics_admin_url, postgres.primary_admin_url):
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def last_evening() -> datetime:
    """The last time that it was half past eight in Seoul: in the small hours hardly anybody rides."""
    now = datetime.now(UTC)
    evening = now.replace(hour=11, minute=30, second=0, microsecond=0)
    return evening if evening <= now else evening - timedelta(days=1)


def _wait_for_heartbeat(replica_url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with psycopg.connect(replica_url, autocommit=True) as connection:
                if connection.execute("SELECT 1 FROM fleetgauge_heartbeat").fetchone():
                    return
        except psycopg.Error:
            pass  # the replica has not replayed the new database yet
        time.sleep(0.1)
    raise TimeoutError("the heartbeat did not reach the replica within 30 s")

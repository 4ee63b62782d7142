"""Real servers for the integration tests: started once for each run, only those that the selected tests ask for.

With FLEETLAB_HOME_REUSE set to the home of a running stack, it is used and left running: handy while writing tests.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from dashboard_world import filled
from laboratory_folder import fast_folder
from pydantic import SecretStr

from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.settings import MetricsSettings, Settings, load
from fleetlab.stack import (
    ElasticsearchState,
    KafkaState,
    PostgresState,
    Service,
    Silent,
    Stack,
    StackState,
)

__all__ = ["filled"]  # a fixture of dashboards and analysts

CONTENT = Path(__file__).parents[2]
JAVA_OPTIONS = (
    "-XX:TieredStopAtLevel=1 -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote -XX:-AlwaysPreTouch"
)
"""Class files are not verified, which is a seventh of what Elasticsearch's start takes: their checksums are known. Most
of its heap is never used, so it is not touched.
"""
Starter = Callable[[set[Service]], StackState]


@pytest.fixture(scope="session", autouse=True)
def quick_servers() -> Iterator[None]:
    """Every server that a test starts lives for minutes, in which the optimising compiler takes more than it gives.

    Postgres waits for no disk: a killed server loses nothing by that, only a power cut would. Each login of thousands
    would take four milliseconds to hash a password that is random anyway. Airflow forks tasks with what they import.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETLAB_JAVA_OPTS", JAVA_OPTIONS)
        patch.setenv("FLEETLAB_POSTGRES_OPTS", "fsync=off full_page_writes=off scram_iterations=1")
        patch.setenv("FLEETLAB_AIRFLOW_PRELOAD", "fleetgauge.pipeline")
        yield


@pytest.fixture(scope="session")
def start_services() -> Iterator[Starter]:
    """Starts servers of this run's stack, those that are up already staying as they are."""
    reused = os.environ.get("FLEETLAB_HOME_REUSE")
    if reused:
        running = Stack(Path(reused))
        yield lambda services: running.up(services, progress=Silent())
        return
    home = Path(tempfile.mkdtemp(prefix="fleetlab-test-", dir=fast_folder()))
    home.chmod(0o755)  # else root's servers, which run as nobody, would need copies of all programs
    stack = Stack(home)
    try:
        yield lambda services: stack.up(services, progress=Silent(), guard=True, wipe_on_guard=True)
    finally:
        stack.down(wipe=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(start_services: Starter) -> PostgresState:
    """Primary, replica and metrics cluster; no schema but what `fleetlab up` makes."""
    return start_services({"postgres"}).need_postgres()


@pytest.fixture(scope="session")
def metrics_template(postgres: PostgresState) -> str:
    """A metrics database with all migrations and no metric, to be copied: `CREATE DATABASE … TEMPLATE …`."""
    name = "metrics_template"
    migrate(Settings(metrics=_empty_database(postgres, name, "template1")), {})
    return name


@pytest.fixture(scope="session")
def content_template(postgres: PostgresState, metrics_template: str) -> str:
    """The same with every table and view of the project's metrics, by the key `0a0a0a0a`; no row."""
    name = "content_template"
    metrics = _empty_database(postgres, name, metrics_template)
    migrate(Settings(metrics=metrics, content=CONTENT), load_definitions(CONTENT, "0a0a0a0a"))
    return name


def _empty_database(postgres: PostgresState, name: str, template: str) -> MetricsSettings:
    with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name}")  # of a stack that is used again
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER fleetgauge_owner")
    url, owner_url = (SecretStr(postgres.url("metrics", login, name)) for login in ("fleetgauge", "fleetgauge_owner"))
    return MetricsSettings(url=url, owner_url=owner_url)


@pytest.fixture(scope="session")
def kafka(start_services: Starter) -> KafkaState:
    """One broker, without topics; give those of a test a name of their own."""
    return start_services({"kafka"}).need_kafka()


@pytest.fixture(scope="session")
def elasticsearch(start_services: Starter) -> ElasticsearchState:
    """One node; give the indices of a test a name of their own."""
    return start_services({"elasticsearch"}).need_elasticsearch()


@pytest.fixture(scope="session")
def stack(start_services: Starter) -> StackState:
    """Everything but Airflow."""
    return start_services({"postgres", "kafka", "elasticsearch"})


@pytest.fixture
def settings(stack: StackState, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of the stack; processes that the test starts read the same (FLEETGAUGE_CONFIG)."""
    monkeypatch.setenv("FLEETGAUGE_CONFIG", stack.config)
    return load()

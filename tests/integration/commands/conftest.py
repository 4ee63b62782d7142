"""A metrics database of its own for each module, migrated by the real migrations."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from command_world import SOURCE
from pydantic import SecretStr

from fleetgauge.commands.materialise import materialise_documents
from fleetgauge.commands.store import open_store
from fleetgauge.settings import MetricsSettings
from fleetlab.stack import PostgresState


@pytest.fixture(scope="module")
def metrics(postgres: PostgresState, content_template: str) -> Iterator[MetricsSettings]:
    """Logins of a fresh metrics database with every table and view of the project."""
    name = f"commands_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {content_template} OWNER fleetgauge_owner")
    found = MetricsSettings(
        url=SecretStr(postgres.url("metrics", "fleetgauge", name)),
        owner_url=SecretStr(postgres.url("metrics", "fleetgauge_owner", name)),
    )
    yield found
    with psycopg.connect(postgres.metrics_admin_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def connection(metrics: MetricsSettings) -> Iterator[psycopg.Connection]:
    """The owner, in autocommit."""
    with psycopg.connect(metrics.owner_url.get_secret_value(), autocommit=True) as found:
        yield found


@pytest.fixture
def empty(connection: psycopg.Connection) -> Callable[[], None]:
    """Forgets every attempt and cursor; called before the test and by it."""

    def forget() -> None:
        connection.execute("DELETE FROM fleetgauge.command_event")
        connection.execute("DELETE FROM fleetgauge.command_attempt")
        connection.execute("DELETE FROM fleetgauge.command_cursor")

    forget()
    return forget


@pytest.fixture
def attempts(connection: psycopg.Connection, empty: Callable[[], None]) -> Callable[[str], list[tuple]]:
    """Reads columns of the table, which is empty when the test begins."""

    def read(columns: str) -> list[tuple]:
        return connection.execute(
            f"SELECT {columns} FROM fleetgauge.command_attempt ORDER BY command_id, device_id, attempt"
        ).fetchall()

    return read


@pytest.fixture
def materialise_listed(metrics: MetricsSettings):
    """Materialises documents that a test hands in, through a connection of its own, as the pipeline's login."""

    def run(documents, progress, settle=timedelta(0)):
        with open_store(metrics, SOURCE) as store:
            return materialise_documents(store, documents, progress, SOURCE, settle=settle)

    return run

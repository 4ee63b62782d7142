"""A metrics database with every table and view of the project, one for each module."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.store.partitions import ensure
from fleetgauge.settings import MetricsSettings
from fleetlab.stack import PostgresState

CONTENT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bill(postgres: PostgresState, content_template: str) -> Iterator[MetricsSettings]:
    """Its logins."""
    name = f"cost_{uuid4().hex[:12]}"
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
def owner(bill: MetricsSettings) -> Iterator[psycopg.Connection]:
    """The owner, in autocommit. Tables of days have room for the year 2026."""
    assert bill.owner_url is not None
    with psycopg.connect(bill.owner_url.get_secret_value(), autocommit=True) as found:
        for definition in load_definitions(CONTENT, "0a0a0a0a").values():
            days = [level for level in definition.levels if level.grain == "day"]
            with found.transaction():
                ensure(found, definition, days, [datetime(2026, 6, 1, tzinfo=UTC)])
        yield found

"""Servers and databases of a benchmark: its own laboratory, gone afterwards."""

import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from fleetgauge.settings import MetricsSettings, RollupSettings, Settings, SourceSettings
from fleetlab.cli.options import end_on_sigterm
from fleetlab.stack import PostgresState, Service, Silent, Stack, StackState
from fleetlab.stack.state import DISTINCT_KEY, PostgresServer

ROOT = Path(__file__).parents[2]

Connection = psycopg.Connection[tuple[Any, ...]]


_POSTGRES: tuple[Service, ...] = ("postgres",)


@contextmanager
def laboratory(
    home: Path | None, services: Collection[Service] = _POSTGRES, folder: Path | None = None
) -> Iterator[StackState]:
    """Servers, Postgres alone by default; in `home` as they run there, else started here and wiped afterwards.

    `folder`: where their files then lie, instead of the system's place for temporary ones.
    """
    end_on_sigterm()
    if home is not None:
        yield Stack(home).up(services, progress=Silent())
        return
    with tempfile.TemporaryDirectory(prefix="fleetgauge-bench-", dir=folder) as made:
        Path(made).chmod(0o755)
        stack = Stack(Path(made) / "lab")
        try:
            yield stack.up(services, progress=Silent(), guard=True, wipe_on_guard=True)
        finally:
            stack.down(wipe=True)


@dataclass(frozen=True)
class Databases:
    """A production database with its replica, and a metrics database, both called `name`."""

    postgres: PostgresState
    name: str
    primary: Connection
    """Production as its superuser, in autocommit; so are the other two."""
    replica: Connection
    metrics: Connection
    settings: Settings

    def url(self, server: PostgresServer, login: str) -> str:
        """Of one of the two databases."""
        return self.postgres.url(server, login, self.name)

    def beat(self) -> None:
        """Write production's heartbeat and wait until the replica shows it, and with it all that was committed."""
        self.primary.execute("SELECT fleetgauge_beat()")
        lsn = scalar(self.primary, "SELECT pg_current_wal_flush_lsn()")
        deadline = time.monotonic() + 300
        while not scalar(self.replica, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", lsn):
            if time.monotonic() > deadline:
                raise RuntimeError("the replica does not catch up")
            time.sleep(0.01)


@contextmanager
def databases(postgres: PostgresState, name: str, schema: str) -> Iterator[Databases]:
    """Fresh databases; `schema` is run in production, before its heartbeat is set up. Dropped afterwards."""
    admins = [postgres.url("primary", "postgres", "postgres"), postgres.url("metrics", "postgres", "postgres")]
    owners = ("scooter_app", "fleetgauge_owner")
    for url, owner in zip(admins, owners, strict=True):
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {name} OWNER {owner}")
    settings = Settings(
        metrics=MetricsSettings(
            url=SecretStr(postgres.url("metrics", "fleetgauge", name)),
            owner_url=SecretStr(postgres.url("metrics", "fleetgauge_owner", name)),
        ),
        sources={"operations": SourceSettings(url=SecretStr(postgres.url("replica", "fleetgauge_reader", name)))},
        rollup=RollupSettings(distinct_key=SecretStr(DISTINCT_KEY)),
        content=ROOT,
    )
    try:
        with (
            psycopg.connect(postgres.url("primary", "postgres", name), autocommit=True) as primary,
            psycopg.connect(postgres.url("replica", "postgres", "postgres"), autocommit=True) as replica,
            psycopg.connect(postgres.url("metrics", "postgres", name), autocommit=True) as metrics,
        ):
            primary.execute(schema)
            primary.execute((ROOT / "sql" / "source" / "02_heartbeat.sql").read_text())
            found = Databases(postgres, name, primary, replica, metrics, settings)
            found.beat()
            yield found
    finally:
        for url in admins:
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def scalar(connection: Connection, query: str, *values: Any) -> Any:
    """The only value of the only row."""
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]

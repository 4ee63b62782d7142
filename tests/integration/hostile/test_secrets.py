"""No secret is ever written: planted in every address and login, with every connection failing in every way.

Each way is tried with every command that connects, and with the functions that Airflow's tasks call; then all that was
said (stdout, stderr, logs, the errors themselves with their causes, the metrics database's own records) is searched.
"""

import socket
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from fault_table import fault
from rollup_world import World
from secret_world import CORE, SECRET, Field, answering, garbage, planted_field, silence

from fleetgauge import pipeline, settings
from fleetlab.stack import PostgresState

ESCAPED = quote(SECRET, safe="")
ON_POSTGRES = [
    "migrate",
    "migrate --dry-run",
    "run --source operations",
    "run --source operations --grain hour",
    "run --source operations --dry-run",
    "backfill rental --from 2026-11-20 --to 2026-11-21 --reason x",
    "backfill --list",
    "reconcile rental --days 1",
    "freshness",
    "show rental --last 1h",
    "plan",
    "doctor",
    "doctor --sql",
    "exporter --once",
    "test rental",
    "retention --only partitions",
]


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Field:
    return planted_field(tmp_path, monkeypatch)


def tasks() -> dict[str, Callable[[], object]]:
    """What the DAGs' task functions do; the functions themselves add Airflow's exception around the text."""
    now = datetime.now(UTC)

    def compare() -> None:
        pipeline.raise_unreconciled(
            pipeline.reconcile(settings.load(), (now - timedelta(days=1), now), source="operations")
        )

    def expire() -> None:
        for one in pipeline.drop_partitions(settings.load()):
            print(one)  # noqa: T201 (a task's outcome is printed into its log)

    return {
        "task roll_up": lambda: pipeline.run(settings.load(), "operations", "minute"),
        "task compare": compare,
        "task drop_expired_partitions": expire,
    }


def echoing_postgres(connection: socket.socket) -> None:
    """Asks for the password in clear text, and repeats it in its refusal."""
    (length,) = struct.unpack("!i", connection.recv(4))
    if struct.unpack("!i", connection.recv(length - 4)[:4]) == (80877103,):  # wants TLS
        connection.sendall(b"N")
        (length,) = struct.unpack("!i", connection.recv(4))
        connection.recv(length - 4)
    connection.sendall(b"R" + struct.pack("!ii", 8, 3))
    password = connection.recv(4096)[5:].rstrip(b"\0")
    told = b"SFATAL\0VFATAL\0C28P01\0Mpassword " + password + b" is wrong\0\0"
    connection.sendall(b"E" + struct.pack("!i", 4 + len(told)) + told)


UNREADABLE = {
    "bad scheme": f"postgresqll://u:{ESCAPED}@127.0.0.1/db",
    "no scheme": f"u:{ESCAPED}@127.0.0.1/db",
    "one slash": f"postgresql:/u:{ESCAPED}@127.0.0.1/db",
    "bad percent": f"postgresql://u:%{CORE}%@127.0.0.1/db",
    "at sign": f"postgresql://u:x@{CORE}@127.0.0.1/db",
    "slash": f"postgresql://u:{CORE}/x@127.0.0.1/db",
    "bad port": f"postgresql://u:x@127.0.0.1:{CORE}/db",
    "bad option": f"postgresql://u@127.0.0.1/db?passwrod={CORE}",
    "keywords": f"host=127.0.0.1 password={CORE}",
}
UNREACHABLE = {
    "bad host": f"postgresql://u:{ESCAPED}@no-such-host.invalid/db",
    "refused port": f"postgresql://u:{ESCAPED}@127.0.0.1:1/db",
    "bad sslmode": f"postgresql://u:{ESCAPED}@127.0.0.1:1/db?sslmode={CORE}",
    "bad certificate": f"postgresql://u:{ESCAPED}@127.0.0.1:1/db?sslmode=verify-full&sslrootcert=/{CORE}",
    "socket": f"postgresql://u:{ESCAPED}@/db?host=/tmp/nowhere",
}


def test_an_address_that_cannot_be_read_writes_no_word_of_the_secret(field: Field) -> None:
    for way, url in UNREADABLE.items():
        _plant_postgres(field, url)
        before = field.failed
        for line in ("run --source operations", "freshness", "migrate", "exporter --once"):
            field.command(line)
        assert field.failed > before, f"nothing failed with {way}"


@fault(
    "An address of Postgres is mistyped, its server is away, refuses the login, is not trusted, silent or no Postgres.",
    number="stays as it was",
    freshness="an error that names the key, never its text",
    doctor="fail: the key, and what to do",
    exporter="fleetgauge_exporter_up 0",
    exit_code="78, 75 or 70 by what went wrong",
)
@pytest.mark.parametrize(
    "every",
    [3, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
    ids=["some commands", "all commands"],
)
def test_postgres_fails_without_a_word_of_the_secret(field: Field, postgres: PostgresState, every: int) -> None:
    commands = ON_POSTGRES[::every]
    for way, url in UNREADABLE.items() if every == 1 else ():  # else the test above does
        _plant_postgres(field, url)
        _try(field, way, ["run --source operations", "doctor", "freshness", "migrate", "exporter --once"])
    for way, url in UNREACHABLE.items():
        _plant_postgres(field, url)
        _try(field, way, commands if way == "refused port" else ON_POSTGRES[::4])
    real = f"u:{ESCAPED}@127.0.0.1:{postgres.metrics.port}/metrics"
    for way, url in {
        "unknown login": f"postgresql://{real}",
        "wrong password": f"postgresql://fleetgauge:{ESCAPED}@127.0.0.1:{postgres.metrics.port}/metrics",
        "no TLS": f"postgresql://{real}?sslmode=require",
    }.items():
        _plant_postgres(field, url)
        _try(field, way, commands)
    for respond in (garbage, silence, echoing_postgres):
        with answering(respond) as port:
            _plant_postgres(field, f"postgresql://u:{ESCAPED}@127.0.0.1:{port}/db?connect_timeout=2")
            if respond is silence:  # each waits for two seconds, and all connect in one place
                field.command("run --source operations")
                continue
            _try(field, respond.__name__, commands)


def _plant_postgres(field: Field, url: str) -> None:
    field.set(METRICS__URL=url, METRICS__OWNER_URL=url, SOURCES__OPERATIONS__URL=url)


def _try(field: Field, way: str, commands: list[str]) -> None:
    before = field.failed
    for line in commands:
        field.command(line)
    for name, work in tasks().items():
        field.task(name, work)
    assert field.failed > before, f"nothing failed with {way}"


def test_what_a_failed_run_leaves_in_the_metrics_database_holds_no_secret(
    field: Field, world: World, postgres: PostgresState
) -> None:
    owner = world.settings.metrics.owner_url
    assert owner is not None
    field.set(METRICS__URL=world.settings.metrics.url.get_secret_value(), METRICS__OWNER_URL=owner.get_secret_value())
    field.set(SOURCES__OPERATIONS__URL="postgresql://u@127.0.0.1:1/db")
    field.command("migrate")
    commands = ["run --source operations", ON_POSTGRES[5]]
    with answering(echoing_postgres) as port:
        for url in (
            UNREACHABLE["refused port"],
            f"postgresqll://u:{ESCAPED}@127.0.0.1/db",
            f"postgresql://fleetgauge_reader:{ESCAPED}@127.0.0.1:{postgres.replica.port}/scooter",
            f"postgresql://u:{ESCAPED}@127.0.0.1:{port}/db",
        ):
            field.set(SOURCES__OPERATIONS__URL=url)
            _try(field, url, commands)
        for line in ("freshness", "exporter --once", "backfill --list --json", "run --source operations --dry-run"):
            field.command(line)
    for table in ("activity", "backfill", "run"):
        rows = world.metrics.execute(f"SELECT * FROM fleetgauge.{table}").fetchall()
        assert any("source operations" in str(row) for row in rows), f"{table} has nothing to tell"
        field.search(table, str(rows))

"""No secret is ever written: planted in every address and login, with every connection failing in every way.

Each way is tried with every command that connects, and with the functions that Airflow's tasks call; then all that was
said (stdout, stderr, logs, the errors themselves with their causes, the metrics database's own records) is searched.
"""

import base64
import contextlib
import io
import logging
import shutil
import socket
import socketserver
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
import structlog
from fault_table import fault
from rollup_world import World

from fleetgauge import pipeline, settings
from fleetgauge.cli import main
from fleetgauge.errors import FleetgaugeError
from fleetgauge.ingest.operate import index_retention, launch
from fleetgauge.kafka import kafka_clients, login
from fleetgauge.progress import offsets
from fleetgauge.rollup.execute.pace import Pace
from fleetlab.stack import PostgresState

ROOT = Path(__file__).parents[3]
CORE = "Tr0ub4dor"
SECRET = f"{CORE}&3 zz"
ESCAPED = quote(SECRET, safe="")
FORBIDDEN = (
    CORE,
    base64.b64encode(f"writer:{SECRET}".encode()).decode(),
    base64.b64encode(CORE.encode()).decode()[:10],
)
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
ON_ELASTICSEARCH = [
    "consume device-events --until-caught-up --http-port 0",
    "indices",
    "indices --dry-run",
    "retention --only indices",
]
ON_KAFKA = [
    "consume device-events --until-caught-up --http-port 0",
    "consume device-events --from-time 2026-11-20T00:00:00Z --dry-run",
    "dlq ls device-events",
    "dlq show device-events",
    "dlq replay device-events",
    "doctor",
]


class Field:
    """Runs commands and tasks under settings that cannot work, and keeps what they said."""

    def __init__(self, content: Path, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.set(CONTENT=str(content), ROLLUP__DISTINCT_KEY=f"{CORE} of fingerprints, long enough")
        self.failed = 0

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(f"FLEETGAUGE_{name}", value)

    def clear(self, *names: str) -> None:
        for name in names:
            self._patch.delenv(f"FLEETGAUGE_{name}", raising=False)

    def command(self, line: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        self._patch.setattr(sys, "argv", ["fleetgauge", *line.split()])
        code: object = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = ended.code
            finally:
                structlog.reset_defaults()
                logging.basicConfig(force=True)
        said = f"{out.getvalue()}\n{err.getvalue()}"
        self.search(line, said)
        assert code != 2, f"{line} is no command any more: {said}"
        assert "Traceback" not in said, f"{line}: {said}"
        self.failed += code != 0

    def task(self, name: str, work: Callable[[], object]) -> None:
        """What Airflow would log: the error with its causes and the lines that it went through."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                work()
            except FleetgaugeError as error:
                self.failed += 1
                out.write("".join(traceback.format_exception(error)))
            finally:
                structlog.reset_defaults()
        self.search(name, out.getvalue())

    def search(self, what: str, said: str) -> None:
        for secret in FORBIDDEN:
            assert secret not in said, f"{what} wrote a secret: …{said[max(0, said.index(secret) - 300) :][:600]}"


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Field:
    """Short of patience; what needs no Kafka or Elasticsearch reads two metrics of Postgres alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kafka_clients, "TIMEOUT_S", 0.6)
    monkeypatch.setattr(login, "_TIMEOUT_S", 0.3)
    monkeypatch.setattr(launch, "_START_LIMIT_S", 0.1)
    patient = offsets.read_progress
    monkeypatch.setattr(offsets, "read_progress", lambda *a, **_: patient(*a, timeout_s=0.6))
    monkeypatch.setattr(Pace, "failed", _give_up)  # patience is not what is tried here
    content = tmp_path / "content"
    (content / "sql" / "metrics").mkdir(parents=True)
    for name in ("schemas", "consumers", "sql/source", "sql/tariffs"):
        (content / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "sql" / "metrics" / "rental", content / "sql" / "metrics" / "rental")
    return Field(content, monkeypatch)


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


# --- servers that answer as none should -------------------------------------------------------------------------------


@contextmanager
def answering(respond: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose every connection `respond` gets."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                respond(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def garbage(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n\0\0 nonsense" * 20)


def silence(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


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


@contextmanager
def stub(status: int, body: Callable[[str], bytes]) -> Iterator[str]:
    """An Elasticsearch that answers everything with this status, and a body made from the login that it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                self.rfile.read(int(self.headers["content-length"] or 0))
                answer = body(self.headers["authorization"] or "")
                self.send_response(status)
                self.send_header("x-elastic-product", "Elasticsearch")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def echo(authorization: str) -> bytes:
    """As a proxy's debugging page does it: what it was sent, and what that means in clear text."""
    plain = base64.b64decode(authorization.partition(" ")[2] + "==").decode("utf-8", "replace")
    return f'{{"error": {{"type": "security_exception", "reason": "{authorization} = {plain}"}}}}'.encode()


def _give_up(_: Pace, error: Exception) -> None:
    raise error


# --- Postgres ---------------------------------------------------------------------------------------------------------

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
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_postgres_fails_without_a_word_of_the_secret(field: Field, postgres: PostgresState) -> None:
    for way, url in UNREADABLE.items():
        _plant_postgres(field, url)
        _try(field, way, ["run --source operations", "doctor", "freshness", "migrate", "exporter --once"])
    for way, url in UNREACHABLE.items():
        _plant_postgres(field, url)
        _try(field, way, ON_POSTGRES if way == "refused port" else ON_POSTGRES[::4])
    real = f"u:{ESCAPED}@127.0.0.1:{postgres.metrics.port}/metrics"
    for way, url in {
        "unknown login": f"postgresql://{real}",
        "wrong password": f"postgresql://fleetgauge:{ESCAPED}@127.0.0.1:{postgres.metrics.port}/metrics",
        "no TLS": f"postgresql://{real}?sslmode=require",
    }.items():
        _plant_postgres(field, url)
        _try(field, way, ON_POSTGRES)
    for respond in (garbage, silence, echoing_postgres):
        with answering(respond) as port:
            _plant_postgres(field, f"postgresql://u:{ESCAPED}@127.0.0.1:{port}/db?connect_timeout=2")
            commands = ON_POSTGRES if respond is not silence else ["run --source operations", "doctor"]
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


# --- what the metrics database keeps ----------------------------------------------------------------------------------


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


# --- Elasticsearch and Kafka ------------------------------------------------------------------------------------------

LOGINS = [
    {"ELASTICSEARCH__USERNAME": "writer", "ELASTICSEARCH__PASSWORD": SECRET},
    {"ELASTICSEARCH__API_KEY": base64.b64encode(CORE.encode()).decode()},
]


@pytest.mark.parametrize("planted", LOGINS, ids=["password", "api key"])
def test_elasticsearch_fails_without_a_word_of_the_secret(
    field: Field, planted: dict[str, str], tmp_path: Path
) -> None:
    field.set(**planted, ELASTICSEARCH__REQUEST_TIMEOUT_S="0.5", KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    for url in (f"htp://{CORE}", f"http://u:{CORE}@h:9200", f"http://h:{CORE}", f"http://h/?key={CORE}", CORE):
        field.set(ELASTICSEARCH__URL=url)
        _commands(field, ON_ELASTICSEARCH[1:2])
    with (
        answering(garbage) as noise,
        answering(silence) as mute,
        stub(401, echo) as refusing,
        stub(403, echo) as forbidding,
        stub(400, echo) as objecting,
        stub(200, lambda _: b"<html>") as foreign,
    ):
        for url in (
            "http://no-such-host.invalid:9200", "http://127.0.0.1:1", f"http://127.0.0.1:{noise}",
            f"http://127.0.0.1:{mute}", f"https://127.0.0.1:{noise}", refusing, forbidding, objecting, foreign,
        ):  # fmt: skip
            field.set(ELASTICSEARCH__URL=url)
            _commands(field, ON_ELASTICSEARCH if url == refusing else ON_ELASTICSEARCH[:2])
            field.task("task delete_expired_days", _delete_expired_days)
    (tmp_path / f"{CORE}.pem").write_text("no certificate")
    field.set(ELASTICSEARCH__URL="https://127.0.0.1:1")
    for path in (CORE, f"{CORE}.pem"):
        field.set(ELASTICSEARCH__CA_FILE=path)
        _commands(field, ON_ELASTICSEARCH[1:])


def _delete_expired_days() -> None:
    for outcome in index_retention.run(settings.load()):
        print(outcome)  # noqa: T201
        if outcome.error is not None:
            raise outcome.error


def test_kafka_away_or_foreign_writes_no_word_of_the_secret(field: Field) -> None:
    field.set(KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT", KAFKA__SASL_MECHANISM="PLAIN")
    field.set(KAFKA__USERNAME="writer", KAFKA__PASSWORD=SECRET)
    with answering(garbage) as noise:
        for servers in (f"h:{CORE}", "127.0.0.1:1", f"127.0.0.1:{noise}"):
            field.set(KAFKA__BOOTSTRAP_SERVERS=servers)
            _commands(field, ON_KAFKA[2:3])


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_kafka_fails_without_a_word_of_the_secret(field: Field, protocol: str, tmp_path: Path) -> None:
    field.set(KAFKA__SECURITY_PROTOCOL=protocol)
    if protocol.startswith("SASL"):
        field.set(KAFKA__SASL_MECHANISM="PLAIN", KAFKA__USERNAME="writer", KAFKA__PASSWORD=SECRET)
    for servers in (CORE, f"u:{CORE}@h:9092", f"h:{CORE}"):
        field.set(KAFKA__BOOTSTRAP_SERVERS=servers)
        _commands(field, ON_KAFKA[2:3])
    with answering(garbage) as noise, answering(silence) as mute, stub(200, lambda _: b"{}") as well:
        field.set(ELASTICSEARCH__URL=well)
        for servers in ("no-such-host.invalid:9092", "127.0.0.1:1", f"127.0.0.1:{noise}", f"127.0.0.1:{mute}"):
            field.set(KAFKA__BOOTSTRAP_SERVERS=servers)
            _commands(field, ON_KAFKA if servers == "127.0.0.1:1" else ON_KAFKA[1:3])
        if protocol == "SASL_SSL":
            (tmp_path / f"{CORE}.pem").write_text("no certificate")
            for name in ("CA_FILE", "CERT_FILE"):
                for path in (CORE, f"{CORE}.pem"):
                    field.set(**{f"KAFKA__{name}": path})
                    _commands(field, ON_KAFKA[2:3])
                field.clear(f"KAFKA__{name}")


def _commands(field: Field, commands: list[str]) -> None:
    for line in commands:
        before = field.failed
        field.command(line)
        assert field.failed > before or line.startswith(("doctor", "retention")), f"{line} did not fail"

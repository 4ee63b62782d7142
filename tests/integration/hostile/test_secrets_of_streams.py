"""No error of Elasticsearch or Kafka, and no log line, holds a word of a secret."""

import base64
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from secret_world import CORE, SECRET, Field, answering, garbage, planted_field, silence

from fleetgauge import settings
from fleetgauge.ingest.operate import index_retention

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


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Field:
    return planted_field(tmp_path, monkeypatch)


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
@pytest.mark.timeout(1800)
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

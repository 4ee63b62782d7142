"""The start of a process without its servers, what it says meanwhile, and that no secret is ever in it."""

import json
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from kafka.errors import KafkaTimeoutError
from pydantic import SecretStr
from structlog.testing import capture_logs

from fleetgauge.clock import SystemClock
from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.errors import FleetgaugeError, Stop, Terminal, Transient
from fleetgauge.ingest.check.batch import DeadLetter
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters import dead_letter_sink, dead_letter_topic
from fleetgauge.ingest.deadletters.dead_letter_sink import KafkaDeadLetters, ensure_topic
from fleetgauge.ingest.operate import launch
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.ingest.read import rewind, source
from fleetgauge.ingest.stopping import StopRequest, on_signals, until_over
from fleetgauge.kafka import kafka_clients
from fleetgauge.kafka.records import Record
from fleetgauge.observability.status_server import Http
from fleetgauge.progress.offsets import read_progress
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings, Settings, load

ROOT = Path(__file__).parents[4]
NOWHERE = "127.0.0.1:1"
SECRETS = ("sasl-Passw0rd", "es-Passw0rd", "Api-K3y", "metrics-Passw0rd", "replica-Passw0rd")


def secretive(**elasticsearch: Any) -> Settings:
    """Secrets wherever the settings may hold one, and servers that are not there."""
    return Settings(
        content=ROOT,
        kafka=KafkaSettings(
            bootstrap_servers=NOWHERE,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            username="ingest",
            password=SecretStr(SECRETS[0]),
        ),
        elasticsearch=ElasticsearchSettings(
            **{"url": f"http://{NOWHERE}", "username": "writer", "password": SecretStr(SECRETS[1]), **elasticsearch}
        ),
        metrics={"url": f"postgresql://fleetgauge:{SECRETS[3]}@127.0.0.1:1/metrics"},
        sources={"operations": {"url": f"postgresql://reader:{SECRETS[4]}@127.0.0.1:1/scooter"}},
    )


@pytest.fixture
def said() -> Callable[..., None]:
    """Fails if a text, or anything in it, holds a planted secret."""

    def check(*texts: object) -> None:
        for text in texts:
            assert not [secret for secret in SECRETS if secret in f"{text} {text!r}"]

    return check


class Server(HTTPServer):
    """Answers everything alike, with the name of Elasticsearch."""

    status = 401

    def __init__(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                error = {"type": "security_exception", "reason": "unable to authenticate"}
                body = b"" if self.command == "HEAD" else json.dumps({"error": error}).encode()
                self.send_response(server.status)
                self.send_header("X-Elastic-Product", "Elasticsearch")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = answer  # noqa: N815 (names of the base class)

            def log_message(self, format: str, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_without_elasticsearch_it_says_at_once_that_it_waits_and_ends_with_75(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, said: Callable[..., None]
) -> None:
    warned, looked = threading.Event(), threading.Event()
    seen: dict[str, Any] = {}

    class Patient(launch.ElasticsearchBulk):
        """From its second request on, it waits until somebody has looked: the process cannot end before."""

        def request(self, method: str, path: str, body: bytes | None) -> Answer:
            assert not warned.is_set() or looked.wait(60)
            warned.set()
            return super().request(method, path, body)

    monkeypatch.setattr(launch, "ElasticsearchBulk", Patient)

    def look(logs: list[Any]) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(line["event"] == "waiting for Elasticsearch" for line in logs):
            time.sleep(0.01)
        port = next(line["port"] for line in logs if line["event"] == "serving metrics")
        for path in ("readyz", "healthz", "metrics"):
            answer = httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=30)
            seen[path] = answer.status_code, answer.text
        looked.set()

    with capture_logs() as logs:
        looking = threading.Thread(target=look, args=(logs,))
        looking.start()
        with pytest.raises(
            Transient, match=r"waited \d+ s; start Elasticsearch, or correct elasticsearch.url"
        ) as raised:
            launch.consume(consumer, secretive(start_limit_s=2.0), ConsumeOptions(), Http())
        looking.join()
    assert raised.value.exit_code == 75
    assert seen["readyz"][0] == 503 and "device-events: Elasticsearch at" in seen["readyz"][1]
    assert seen["healthz"] == (200, "device-events: ok\n")
    assert seen["metrics"][0] == 200
    (waiting,) = (line for line in logs if line["event"] == "waiting for Elasticsearch")
    assert (waiting["seconds"], waiting["consumer"], waiting["log_level"]) == (2.0, "device-events", "warning")
    assert all(line.get("consumer") or line.get("consumers") for line in logs)
    said(raised.value, logs, seen)


def test_one_that_fails_ends_the_others_in_good_order(
    consumer: Consumer, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first waits for a server that is not there, the second is refused at once."""
    second = replace(consumer, name="second", index="second")
    real, made = launch.ElasticsearchBulk, [server.server_address[1], 1]

    def connect(settings: ElasticsearchSettings, connections: int) -> Any:
        url = f"http://127.0.0.1:{made.pop()}"
        return real(settings.model_copy(update={"url": url}), connections)

    monkeypatch.setattr(launch, "ElasticsearchBulk", connect)
    started = time.monotonic()
    with capture_logs() as logs, pytest.raises(Stop, match="401 security_exception"):
        launch.consume_all([consumer, second], secretive(start_limit_s=60.0), ConsumeOptions())
    assert time.monotonic() - started < 20
    assert [(line["consumer"], line["exit_code"]) for line in logs if line["event"] == "failed"] == [("second", 70)]
    assert [line["consumer"] for line in logs if line["event"] == "ended"] == ["device-events"]


# Secrets


@pytest.mark.parametrize(
    "settings",
    [
        {"elasticsearch": {"url": f"http://writer:{SECRETS[1]}@127.0.0.1:9200"}},
        {"kafka": {"bootstrap_servers": f"ingest:{SECRETS[0]}@127.0.0.1:9092"}},
    ],
)
def test_an_address_with_a_login_is_refused_without_repeating_it(
    settings: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., None]
) -> None:
    ((section, values),) = settings.items()
    ((key, value),) = values.items()
    file = tmp_path / "fleetgauge.toml"
    file.write_text(f'[{section}]\n{key} = "{value}"\n')
    assert tomllib.loads(file.read_text()) == settings
    monkeypatch.setenv("FLEETGAUGE_CONFIG", str(file))
    with pytest.raises(
        Terminal, match=rf"{section}.{key}: .*must not hold a login; set username and password"
    ) as error:
        load()
    said(error.value)
    file.write_text("")
    monkeypatch.setenv(f"FLEETGAUGE_{section.upper()}__{key.upper()}", value)
    with pytest.raises(Terminal, match="must not hold a login") as error:
        load()
    said(error.value)


def test_settings_can_be_printed(said: Callable[..., None]) -> None:
    settings = secretive(api_key=SecretStr(SECRETS[2]))
    said(settings, settings.kafka, settings.elasticsearch, settings.model_dump(), settings.model_dump_json())


@pytest.mark.parametrize("login", [{}, {"api_key": SecretStr(SECRETS[2])}], ids=["password", "api-key"])
@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_of_elasticsearch_holds_no_secret(
    consumer: Consumer,
    server: Server,
    status: int,
    login: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    said: Callable[..., None],
) -> None:
    server.status = status
    settings = secretive(url=f"http://127.0.0.1:{server.server_address[1]}", start_limit_s=1.0, **login)
    with capture_logs() as logs, pytest.raises(FleetgaugeError, match=str(status)) as raised:
        launch.consume(consumer, settings, ConsumeOptions(), Http())
    assert raised.value.exit_code == (70 if status < 500 else 75)
    said(raised.value, logs, caplog.text)


def test_kafka_away_holds_no_secret(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, said: Callable[..., None]
) -> None:
    monkeypatch.setattr(kafka_clients, "TIMEOUT_S", 0.6)
    kafka = secretive().kafka
    dead_letter = dead_letter_sink.DeadLetter(
        dead_letter_sink.Record("t", 0, 1, 0, None, b"x", []), "contract", "because"
    )

    def read() -> None:
        with dead_letter_topic.opened(kafka, consumer.dead_letter_topic):
            pass

    failing: list[Callable[[], object]] = [
        lambda: ensure_topic(kafka, consumer),
        lambda: source.connect(kafka, consumer),
        lambda: read_progress(kafka, consumer.topic, consumer.group, SystemClock(), timeout_s=0.6),
        lambda: rewind.plan(kafka, consumer, rewind.Rewind(SystemClock().now())),
        lambda: KafkaDeadLetters(kafka, consumer, "").send([dead_letter]),
        read,
    ]
    for action in failing:
        with capture_logs() as logs, pytest.raises(Transient) as raised:
            action()
        said(raised.value, logs)
        assert "\n" not in str(raised.value)
    said(caplog.text)


def test_dead_letters_that_kafka_no_longer_takes_do_not_spoil_a_good_end(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[float] = []

    class Away:
        def send(self, topic: str, **record: Any) -> Any:
            return SimpleNamespace(get=lambda timeout: None)

        def close(self, timeout: float) -> None:
            closed.append(timeout)
            raise KafkaTimeoutError("Timeout waiting for future")

    monkeypatch.setattr(dead_letter_sink, "connect_producer", lambda *_: Away())
    dead_letters = KafkaDeadLetters(secretive().kafka, consumer, "")
    dead_letters.send([DeadLetter(Record("t", 0, 1, 2, None, b"x", []), "contract", "because")])
    dead_letters.close()
    assert len(closed) == 1


def test_tracebacks_in_the_log_are_without_local_variables(said: Callable[..., None]) -> None:
    code = (
        "import structlog\n"
        "from fleetgauge.cli.output import configure_logging\n"
        "configure_logging(verbose=True)\n"
        "def fail(password):\n"
        "    raise ValueError('no')\n"
        "try:\n"
        f"    fail({SECRETS[0]!r})\n"
        "except ValueError:\n"
        "    structlog.get_logger().exception('unexpected')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    line = json.loads(done.stderr)
    assert line["exception"][0]["exc_type"] == "ValueError" and line["exception"][0]["frames"][-1]["name"] == "fail"
    said(done.stderr)


def test_a_signal_that_does_not_wake_the_main_thread_is_heard() -> None:
    """One that comes just before the thread blocks interrupts nothing; here another thread gets it."""
    stop = StopRequest()

    def work() -> bool:
        time.sleep(0.2)  # the main thread waits meanwhile; if not yet, it hears the signal anyway
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return stop.asked.wait(10)

    with on_signals(stop), ThreadPoolExecutor(1) as pool:
        heard = pool.submit(work)
        until_over([heard])
    assert heard.result()


def test_the_first_failure_ends_the_wait() -> None:
    def fail() -> None:
        raise RuntimeError

    with ThreadPoolExecutor(2) as pool:
        begun = threading.Event()
        others = [pool.submit(begun.wait, 10), pool.submit(fail)]
        until_over(others)
        assert not others[0].done()
        begun.set()

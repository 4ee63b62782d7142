"""Settings that hold a secret, servers that echo it, and where it might have gone."""

import base64
import contextlib
import io
import logging
import shutil
import socket
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from fleetgauge.cli import main
from fleetgauge.errors import FleetgaugeError
from fleetgauge.kafka import kafka_clients, login
from fleetgauge.progress import offsets
from fleetgauge.progress.pace import Pace

ROOT = Path(__file__).parents[3]
CORE = "Tr0ub4dor"
SECRET = f"{CORE}&3 zz"
FORBIDDEN = (
    CORE,
    base64.b64encode(f"writer:{SECRET}".encode()).decode(),
    base64.b64encode(CORE.encode()).decode()[:10],
)


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


def planted_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Field:
    """Short of patience; what needs no Kafka or Elasticsearch reads two metrics of Postgres alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kafka_clients, "TIMEOUT_S", 0.6)
    monkeypatch.setattr(login, "TIMEOUT_S", 0.3)
    monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__START_LIMIT_S", "0.1")
    patient = offsets.read_progress
    monkeypatch.setattr(offsets, "read_progress", lambda *a, **_: patient(*a, timeout_s=0.6))
    monkeypatch.setattr(Pace, "failed", give_up)  # patience is not what is tried here
    content = tmp_path / "content"
    (content / "sql" / "metrics").mkdir(parents=True)
    for name in ("schemas", "consumers", "sql/source", "sql/tariffs"):
        (content / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "sql" / "metrics" / "rental", content / "sql" / "metrics" / "rental")
    return Field(content, monkeypatch)


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


def give_up(_: Pace, error: Exception) -> None:
    raise error

"""/metrics, /healthz and /readyz over HTTP, in a thread of their own."""

import errno
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from fleetgauge.errors import Terminal

Check = Callable[[], str | None]
"""None when well, else one sentence on what is wrong. Called from any thread; must not block."""
PORTS = range(9400, 9420)
"""Where processes of one machine serve unless told otherwise, and `fleetgauge top` looks."""

CLIENT_S = 10.0
"""How long a client is waited for that neither asks nor reads; each has a thread until then."""


@dataclass(frozen=True)
class Http:
    """Where `/metrics`, `/healthz` and `/readyz` are served."""

    host: str = "127.0.0.1"
    port: int | None = 0
    """0: any free one. None: the first free one of `PORTS`, else any. The log names it."""


class StatusServer:
    """Serves until `close`. `port` is the one really bound, which matters when 0 was asked for."""

    def __init__(
        self, http: Http, registry: CollectorRegistry, healthy: Mapping[str, Check], ready: Mapping[str, Check]
    ) -> None:
        """The checks go by consumer. Raises `Terminal` if the port is taken."""
        checks = {"/healthz": healthy, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            timeout = CLIENT_S

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                elif path in checks:
                    found = {name: check() for name, check in checks[path].items()}
                    lines = [f"{name}: {wrong or 'ok'}\n" for name, wrong in sorted(found.items())]
                    status = 503 if any(found.values()) else 200
                    self._answer(status, "".join(lines).encode(), "text/plain; charset=utf-8")
                else:
                    self._answer(404, b"try /metrics, /healthz or /readyz\n", "text/plain; charset=utf-8")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """A scrape is not an event."""

        self._server = _listen(http, Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # of 5, a few clients at once would have to try again, a second later


def _listen(http: Http, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    for port in (*PORTS, 0) if http.port is None else (http.port,):
        try:
            return _Server((http.host, port), handler)
        except OSError as error:
            if http.port is not None or error.errno != errno.EADDRINUSE:
                raise Terminal(
                    f"cannot serve metrics on {http.host}:{port}: {error}; choose another --http-port or --http-host"
                ) from None
    raise AssertionError("port 0 is never taken")

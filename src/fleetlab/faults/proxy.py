"""A loopback proxy in front of Elasticsearch that answers bulk requests as the real server does on a bad day.

Only what that server cannot be made to do on demand lives here. What reaches it and what it stores is never lied about:
an event that the proxy refuses is taken out of the request, one that the proxy claims as stored was stored.
"""

import json
import socket
import struct
import sys
import threading
from collections import Counter, deque
from contextlib import closing, suppress
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_TIMEOUT_S = 120.0
_EVERY = 5
"""Of the events of a request, every fifth gets the item-level fault."""
_LINGER = struct.Struct("ii")
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


class Fault(StrEnum):
    """What may happen to one bulk request; some are about any request."""

    UNAVAILABLE = "http-503"
    OVERLOADED = "http-429"
    TOO_LARGE = "http-413"
    """Refuses a request of several events; a single one passes, as any server takes the smallest."""
    UNAUTHORIZED = "http-401"
    TIME_OUT = "time-out"
    """Everything is stored, but no answer comes."""
    RESET = "reset"
    """Everything is stored, but the connection is reset half-way through the answer."""
    ITEM_OVERLOADED = "item-429"
    ITEM_FORBIDDEN = "item-403"
    ITEM_UNKNOWN = "item-unknown"
    """An error that no version of the server is known to give."""
    HTML = "html"
    """Any request, also one that is no bulk: the page of something in between, and nothing reaches the server."""
    TRUNCATED = "truncated"
    """Any request: the server's answer ends half-way, as if that were all."""
    EMPTY = "empty"
    """Any request: the server's answer without its body."""


class _Error(NamedTuple):
    status: int
    type: str
    reason: str


_WHOLE = {
    Fault.UNAVAILABLE: _Error(503, "unavailable_shards_exception", "primary shard is not active"),
    Fault.OVERLOADED: _Error(429, "circuit_breaking_exception", "[parent] Data too large"),
    Fault.TOO_LARGE: _Error(413, "content_too_long_exception", "entity content is too long"),
    Fault.UNAUTHORIZED: _Error(401, "security_exception", "token expired"),
}
_GARBLED = (Fault.HTML, Fault.TRUNCATED, Fault.EMPTY)
_ITEM = {
    Fault.ITEM_OVERLOADED: _Error(429, "es_rejected_execution_exception", "rejected execution of primary operation"),
    Fault.ITEM_FORBIDDEN: _Error(403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized"),
    Fault.ITEM_UNKNOWN: _Error(400, "never_seen_before_exception", "nobody knows this one"),
}


class FaultProxy:
    """Listens on a free loopback port while used as a context manager; thread-safe."""

    def __init__(self, upstream: str) -> None:
        """`upstream`: `http://host:port` of a server, which need not be up."""
        parts = urlsplit(upstream)
        assert parts.hostname is not None and parts.port is not None
        self.upstream = (parts.hostname, parts.port)
        self.applied: Counter[Fault] = Counter()
        """How often each fault was met."""
        self.requests = 0
        """Bulk requests that came in."""
        self.events = 0
        """Events in bulk requests that the server answered, whatever it said."""
        self._faults: deque[Fault] = deque()
        self._lasting: Fault | None = None
        self._lock = threading.Lock()
        self._warm = False
        self._warming = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fault-proxy")

    @property
    def url(self) -> str:
        """Where a client connects instead of `upstream`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def inject(self, fault: Fault, times: int = 1) -> None:
        """The next `times` bulk requests that nothing else is meant for meet this fault."""
        with self._lock:
            self._faults.extend([fault] * times)

    def break_down(self, fault: Fault) -> None:
        """Every bulk request meets this fault until `heal`."""
        with self._lock:
            self._lasting = fault

    def heal(self) -> None:
        """From now on nothing is wrong."""
        with self._lock:
            self._lasting = None
            self._faults.clear()

    # Called by the connections

    def fault_of(self, events: int) -> Fault | None:
        """What a bulk request of so many events meets."""
        with self._lock:
            self.requests += 1
            fault = self._lasting
            if fault is None and self._faults and (self._faults[0] is not Fault.TOO_LARGE or events > 1):
                fault = self._faults.popleft()
            if fault is Fault.TOO_LARGE and events == 1:
                fault = None
            if fault is not None:
                self.applied[fault] += 1
            return fault

    def garbled(self) -> Fault | None:
        """What a request that is no bulk meets while something lasts that is about all of them."""
        with self._lock:
            if self._lasting not in _GARBLED:
                return None
            self.applied[self._lasting] += 1
            return self._lasting

    def warm_up(self) -> None:
        """Make a server that has just started answer one bad request by itself, before it gets any other.

        Its first two exceptions must not be thrown at the same moment (see `stack/elasticsearch.py`). Raises `OSError`
        if it is away.
        """
        with self._warming:
            if not self._warm:
                with closing(HTTPConnection(*self.upstream, timeout=_TIMEOUT_S)) as connection:
                    connection.request("GET", "/no-such-index")
                    connection.getresponse().read()
                self._warm = True

    def lost(self) -> None:
        """The server gave no answer: it may be another process next time."""
        self._warm = False

    def answered(self, events: int) -> None:
        """The server has dealt with so many events."""
        with self._lock:
            self.events += events


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], proxy: FaultProxy) -> None:
        super().__init__(address, _Connection)
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        self._opening = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._opening:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._opening:
            self._open.discard(request)
        lingers, _ = _LINGER.unpack(request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size))
        if lingers:
            self.close_request(request)  # without the FIN of a shutdown before the RST
        else:
            super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._opening:
            for request in self._open:  # wakes the threads that wait for a client
                with suppress(OSError):  # its client has gone
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed leaves its connection half-way: nothing to tell."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """One client connection and, in step with it, one to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _TIMEOUT_S
    wbufsize = -1  # head and body leave in one piece
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = HTTPConnection(*self.server.proxy.upstream, timeout=_TIMEOUT_S)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.path.startswith("/_bulk"):
            if (garbled := self.server.proxy.garbled()) is None:
                self._pass(body)
            else:
                self._garble(garbled, body)
            return
        events = body.count(b"\n") // 2
        fault = self.server.proxy.fault_of(events)
        match fault:
            case None:
                self._pass(body, events)
            case Fault.TIME_OUT:
                if self._forward(body, events) is not None:
                    self._await_hang_up()
            case Fault.RESET:
                if (answer := self._forward(body, events)) is not None:
                    self._reset_half_way(*answer)
            case fault if fault in _GARBLED:
                self._garble(fault, body, events)
            case fault if fault in _ITEM:
                self._refuse_items(_ITEM[fault], body)
            case _:
                error = _WHOLE[fault]
                cause = {"type": error.type, "reason": error.reason}
                self._answer(error.status, [], json.dumps({"error": cause, "status": error.status}).encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 (the base class wants them so)

    def _pass(self, body: bytes, events: int = 0) -> None:
        answer = self._forward(body, events)
        if answer is not None:
            self._answer(*answer)

    def _garble(self, fault: Fault, body: bytes, events: int = 0) -> None:
        if fault is Fault.HTML:
            self._answer(200, [("content-type", "text/html")], b"<html><body>Welcome</body></html>")
        elif (answer := self._forward(body, events)) is not None:
            status, headers, text = answer
            self._answer(status, headers, text[: len(text) // 2] if fault is Fault.TRUNCATED else b"")

    def _forward(self, body: bytes, events: int = 0) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """The server's answer; None if there is none, and the client's connection is closed as the server's was."""
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
        try:
            self.server.proxy.warm_up()
            self._upstream.request(self.command, self.path, body or None, headers)
            with closing(self._upstream.getresponse()) as response:
                answer = response.status, response.getheaders(), response.read()
        except (OSError, HTTPException):
            self.server.proxy.lost()
            self.close_connection = True
            return None
        if events:
            self.server.proxy.answered(events)
        return answer

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        declared = next((value for key, value in headers if key.lower() == "content-length"), None)
        for key, value in headers or [("content-type", "application/json"), ("x-elastic-product", "Elasticsearch")]:
            if key.lower() not in _HOP_BY_HOP:
                self.send_header(key, value)
        is_head = self.command == "HEAD" and declared is not None
        self.send_header("content-length", str(declared if is_head else len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _refuse_items(self, error: _Error, body: bytes) -> None:
        lines = body.split(b"\n")[:-1]
        refused = set(range(0, len(lines) // 2, _EVERY))
        kept = b"".join(
            b"%b\n%b\n" % tuple(lines[2 * i : 2 * i + 2]) for i in range(len(lines) // 2) if i not in refused
        )
        items: list[dict[str, Any]] = []
        status, headers = 200, list[tuple[str, str]]()
        if kept:
            answer = self._forward(kept, len(lines) // 2 - len(refused))
            if answer is None:
                return
            status, headers, text = answer
            if status != 200:
                self._answer(status, headers, text)
                return
            items = json.loads(text)["items"]
        for i in sorted(refused):  # ascending, so that each is inserted at its index
            cause = {"type": error.type, "reason": error.reason}
            id_ = json.loads(lines[2 * i])["create"]["_id"]
            items.insert(i, {"create": {"_id": id_, "status": error.status, "error": cause}})
        self._answer(status, headers, json.dumps({"errors": True, "items": items}, separators=(",", ":")).encode())

    def _await_hang_up(self) -> None:
        self.close_connection = True
        self.connection.recv(1)

    def _reset_half_way(self, _status: int, _headers: list[tuple[str, str]], body: bytes) -> None:
        self.close_connection = True
        self.send_response_only(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        # Linger for no time at all: the close sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))

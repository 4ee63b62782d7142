"""The proxy between a client that could be a consumer and a server that stores what it is given."""

import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from fleetlab.faults import Fault, FaultProxy


class Storing(BaseHTTPRequestHandler):
    """Answers bulk requests in Elasticsearch's shape, and anything else with its own path."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        ids = [json.loads(line)["create"]["_id"] for line in body.splitlines()[::2]]
        self.server.stored += ids  # type: ignore[attr-defined]
        items = [{"create": {"status": 201}} for _ in ids]
        self.reply(json.dumps({"errors": False, "items": items}).encode())

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.reply(self.path.encode())

    def do_HEAD(self) -> None:
        self.reply(b"", length=17)

    def reply(self, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Storing)
    server.stored, server.asked = [], []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(server: Any) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[HTTPConnection]:
    client = HTTPConnection("127.0.0.1", urlsplit(proxy.url).port, timeout=5)
    yield client
    client.close()


def bulk(client: HTTPConnection, *ids: str) -> tuple[int, Any]:
    body = "".join(f'{{"create":{{"_index":"x","_id":"{one}"}}}}\n{{"a":1}}\n' for one in ids).encode()
    client.request("POST", "/_bulk?filter_path=errors", body)
    response = client.getresponse()
    return response.status, json.loads(response.read())


def test_without_faults_everything_passes_over_one_connection(
    server: Any, proxy: FaultProxy, client: HTTPConnection
) -> None:
    assert bulk(client, "a", "b") == (200, {"errors": False, "items": [{"create": {"status": 201}}] * 2})
    first = client.sock
    client.request("GET", "/_alias/x?a=b")
    response = client.getresponse()
    assert response.read() == b"/_alias/x?a=b" and response.getheader("x-elastic-product") == "Elasticsearch"
    client.request("HEAD", "/_alias/x")
    response = client.getresponse()
    assert response.read() == b"" and response.getheader("content-length") == "17"
    assert bulk(client, "c")[0] == 200
    assert client.sock is first is not None
    assert server.asked == ["/no-such-index", "/_alias/x?a=b"], "a cold server gets one bad request first"
    assert server.stored == ["a", "b", "c"]
    assert (proxy.requests, proxy.events, sum(proxy.applied.values())) == (2, 3, 0)


@pytest.mark.parametrize(
    ("fault", "status", "error_type"),
    [
        (Fault.UNAVAILABLE, 503, "unavailable_shards_exception"),
        (Fault.OVERLOADED, 429, "circuit_breaking_exception"),
        (Fault.TOO_LARGE, 413, "content_too_long_exception"),
        (Fault.UNAUTHORIZED, 401, "security_exception"),
    ],
)
def test_a_whole_request_is_refused_and_not_stored(
    server: Any, proxy: FaultProxy, client: HTTPConnection, fault: Fault, status: int, error_type: str
) -> None:
    proxy.inject(fault, times=2)
    for _ in range(2):
        answer = bulk(client, "a", "b")
        assert answer[0] == status and answer[1]["error"]["type"] == error_type
    assert server.stored == []
    assert bulk(client, "a", "b")[0] == 200
    assert server.stored == ["a", "b"] and proxy.applied == {fault: 2}


def test_a_single_event_is_never_too_large(server: Any, proxy: FaultProxy, client: HTTPConnection) -> None:
    proxy.inject(Fault.TOO_LARGE)
    assert bulk(client, "a")[0] == 200
    assert bulk(client, "b", "c")[0] == 413
    assert bulk(client, "b", "c")[0] == 200
    proxy.break_down(Fault.TOO_LARGE)
    assert bulk(client, "d")[0] == 200
    assert server.stored == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.ITEM_OVERLOADED, 429), (Fault.ITEM_FORBIDDEN, 403), (Fault.ITEM_UNKNOWN, 400)]
)
def test_items_are_refused_at_their_places_and_the_others_stored(
    server: Any, proxy: FaultProxy, client: HTTPConnection, fault: Fault, status: int
) -> None:
    proxy.inject(fault)
    ids = [f"e{number}" for number in range(12)]
    code, answer = bulk(client, *ids)
    assert code == 200 and answer["errors"] is True
    statuses = [item["create"]["status"] for item in answer["items"]]
    assert len(statuses) == 12 and {i for i, found in enumerate(statuses) if found == status} == {0, 5, 10}
    assert server.stored == [one for number, one in enumerate(ids) if number not in (0, 5, 10)]
    proxy.inject(fault)
    assert [item["create"]["status"] for item in bulk(client, "z")[1]["items"]] == [status]
    assert "z" not in server.stored


def test_a_time_out_stores_and_never_answers(server: Any, proxy: FaultProxy, client: HTTPConnection) -> None:
    proxy.inject(Fault.TIME_OUT)
    client.timeout = 0.3
    with pytest.raises(TimeoutError):
        bulk(client, "a")
    client.close()
    assert server.stored == ["a"]
    client.timeout = 5
    assert bulk(client, "b")[0] == 200


def test_a_reset_stores_and_breaks_off_half_way(server: Any, proxy: FaultProxy, client: HTTPConnection) -> None:
    proxy.inject(Fault.RESET)
    with pytest.raises((ConnectionResetError, HTTPException)):
        bulk(client, *(f"e{number}" for number in range(500)))
    client.close()
    assert len(server.stored) == 500
    assert bulk(client, "b")[0] == 200


def test_a_break_down_lasts_until_it_is_healed(proxy: FaultProxy, client: HTTPConnection) -> None:
    proxy.break_down(Fault.UNAUTHORIZED)
    assert [bulk(client, "a")[0] for _ in range(3)] == [401] * 3
    proxy.heal()
    assert bulk(client, "a")[0] == 200


@pytest.mark.parametrize(
    ("fault", "health", "kept"), [(Fault.HTML, b"<html>", 0), (Fault.TRUNCATED, b"/_clust", 1), (Fault.EMPTY, b"", 1)]
)
def test_garbled_answers_are_200_and_about_any_request(
    server: Any, proxy: FaultProxy, client: HTTPConnection, fault: Fault, health: bytes, kept: int
) -> None:
    proxy.break_down(fault)
    with pytest.raises(ValueError):
        bulk(client, "a")
    client.request("GET", "/_cluster/health")
    response = client.getresponse()
    assert response.status == 200
    text = response.read()
    assert text.startswith(health) and len(text) != len("/_cluster/health")
    assert proxy.applied[fault] == 2 and len(server.stored) == kept
    proxy.heal()
    assert bulk(client, "b")[0] == 200


def test_a_server_that_is_away_closes_the_connection() -> None:
    with FaultProxy("http://127.0.0.1:1") as proxy:
        client = HTTPConnection("127.0.0.1", urlsplit(proxy.url).port, timeout=5)
        with pytest.raises((OSError, HTTPException)):
            bulk(client, "a")
        client.close()
        assert proxy.events == 0


def test_leaving_ends_connections_that_wait_for_their_client(server: Any) -> None:
    with FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
        client = HTTPConnection("127.0.0.1", urlsplit(proxy.url).port, timeout=5)
        proxy.inject(Fault.TIME_OUT)
        client.request("POST", "/_bulk", b'{"create":{"_index":"x","_id":"a"}}\n{}\n')
        deadline = time.monotonic() + 5
        while proxy.events == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with pytest.raises((OSError, HTTPException)):
        client.getresponse()
    client.close()

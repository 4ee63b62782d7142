"""Answers that are too slow as a whole."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from elastic_transport import JsonSerializer
from elasticsearch import ConnectionTimeout

from fleetgauge.elasticsearch.client import connect
from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.errors import Transient
from fleetgauge.settings import ElasticsearchSettings

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"


@pytest.fixture(params=["head", "body"])
def dripping(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that sends a byte every 50 ms: from the first on, or after a proper head."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(client,), daemon=True).start()

    def drip(client: socket.socket) -> None:
        with client:
            client.recv(65536)
            at_once, slowly = (HEAD, b" " * 5000) if request.param == "body" else (b"", HEAD * 5)
            try:
                client.sendall(at_once)
                for byte in slowly:
                    client.sendall(bytes([byte]))
                    if ended.wait(0.05):
                        return
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    ended.set()
    server.close()


def test_an_answer_of_a_byte_at_a_time_is_timed_out_as_a_whole(dripping: str) -> None:
    settings = ElasticsearchSettings(url=dripping, request_timeout_s=0.6)
    bulk = ElasticsearchBulk(settings, connections=1)
    began = time.monotonic()
    with pytest.raises(Transient, match="gave no answer"):
        bulk.request("GET", "/", None)
    assert time.monotonic() - began < 5
    bulk.close()
    client = connect(settings, JsonSerializer()).options(max_retries=0)
    with pytest.raises(ConnectionTimeout):
        client.info()
    client.close()

"""Whoever asks for /metrics, clients that say nothing hold nobody else up, and nothing for ever."""

import socket
import threading
import time
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from fleetgauge.observability import status_server
from fleetgauge.observability.status_server import Http, StatusServer


@pytest.mark.timeout(20)
def test_clients_that_ask_nothing_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "CLIENT_S", 0.5)
    server = StatusServer(Http(), CollectorRegistry(), {"a": lambda: None}, {"a": lambda: None})
    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    silent[0].sendall(b"GET /metr")
    with urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5) as answer:
        assert answer.read() == b"a: ok\n"
    try:
        for one in silent:
            one.settimeout(10)
            assert one.recv(1) == b""
        until = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < until:
            time.sleep(0.02)
        assert threading.active_count() == before
    finally:
        for one in silent:
            one.close()
        server.close()

"""A client of Kafka ends where a listener accepts and then never says a word of TLS."""

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from tests.silent_peers import silent_peer

from fleetgauge.kafka import login
from fleetgauge.kafka.kafka_clients import client_options
from fleetgauge.settings import KafkaSettings


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaSettings]:
    """Settings of a broker that accepts every connection and says nothing; connections are set up within 0.2 s."""
    monkeypatch.setattr(login, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(login.BoundedHandshake, "LIMIT_S", 0.2)
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])

        listening = threading.Thread(target=accept, daemon=True)
        listening.start()
        yield KafkaSettings(bootstrap_servers=f"127.0.0.1:{server.getsockname()[1]}", security_protocol="SSL")
        server.shutdown(socket.SHUT_RDWR)
        listening.join()
    for connection in accepted:
        connection.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("client", [KafkaAdminClient, KafkaConsumer, KafkaProducer])
def test_a_client_gives_up_where_no_handshake_comes(mute: KafkaSettings, client: type) -> None:
    with pytest.raises(KafkaError, match="bootstrap"):
        client(**client_options(mute, timeout_s=0.6))


def test_a_handshake_that_is_overdue_wakes_who_waits_for_it(mute: KafkaSettings) -> None:
    context = client_options(mute)["ssl_context"]
    address = ("127.0.0.1", int(mute.bootstrap_servers.rpartition(":")[2]))
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", do_handshake_on_connect=False) as connection,
        selectors.DefaultSelector() as selector,
    ):
        connection.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            connection.do_handshake()
        selector.register(connection, selectors.EVENT_READ)
        assert selector.select(timeout=10)
        with pytest.raises(TimeoutError, match="no TLS handshake within"):
            connection.do_handshake()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("slowly", [b"", b"\0\0\x10\0" + bytes(2000)])
def test_a_login_is_looked_at_no_longer_than_its_time(slowly: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "TIMEOUT_S", 0.3)
    with silent_peer(slowly=slowly) as port:
        settings = KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            username="u",
            password="p",
        )
        began = time.monotonic()
        login.security(settings)  # a broker that does not answer may be another's matter
        assert time.monotonic() - began < 3

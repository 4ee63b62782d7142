"""A database that lets us in and then is silent, or nearly, ends with an error in its time."""

import struct
import time

import psycopg
import pytest
from tests.silent_peers import silent_peer

from fleetgauge import postgres
from fleetgauge.addresses import DatabaseUrl
from fleetgauge.errors import Conflict
from fleetgauge.postgres import database, postgres_in_time
from fleetgauge.settings import MetricsSettings, SourceSettings

IN = b"R" + struct.pack("!ii", 8, 0) + b"K" + struct.pack("!iii", 12, 7, 7) + b"Z" + struct.pack("!i", 5) + b"I"
"""The login is accepted, and the server is ready."""
NOTICES = b"N" + struct.pack("!i", 4000) + bytes(4000)


def url(port: int, more: str = "") -> DatabaseUrl:
    return DatabaseUrl(f"postgresql://u@127.0.0.1:{port}/d?gssencmode=disable{more}")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_in_time, "LOOK_S", 0.3)
    for module in (postgres_in_time, database):
        monkeypatch.setattr(module, "PATIENCE_S", 0.2, raising=False)
        monkeypatch.setattr(module, "PROBE_S", 0.3, raising=False)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("at_once", "slowly", "mode"),
    [
        (b"", b"E\0\0\x0b\xb8" + b"S" * 2000, "disable"),
        (b"S", b"\x16\x03\x03\x40\0" + bytes(2000), "require"),
    ],
)
def test_connecting_ends_in_its_time(at_once: bytes, slowly: bytes, mode: str) -> None:
    with silent_peer(at_once, slowly) as port:
        found = postgres.metrics(MetricsSettings(url=url(port, f"&sslmode={mode}&connect_timeout=2")))
        began = time.monotonic()
        with pytest.raises(Conflict, match=r"the metrics database broke off: .*timeout expired"):
            found.connect("trial")
        assert time.monotonic() - began < 4


@pytest.mark.timeout(20)
@pytest.mark.parametrize("slowly", [b"", NOTICES])
def test_an_answer_of_a_source_is_waited_for_as_long_as_a_statement_may_take(slowly: bytes) -> None:
    with silent_peer(IN, slowly) as port:
        settings = SourceSettings(url=url(port, "&sslmode=disable"), statement_timeout_s=0.3)
        source = postgres.source("operations", settings)
        connection = source.connect("trial")
        began = time.monotonic()
        with source.translated(), pytest.raises(psycopg.errors.ConnectionTimeout, match="no answer within"):
            connection.execute("SELECT 1")
        assert connection.closed and time.monotonic() - began < 3


@pytest.mark.timeout(20)
def test_so_is_one_of_a_session_that_limits_its_statements() -> None:
    with silent_peer(IN) as port:
        found = postgres.metrics(MetricsSettings(url=url(port, "&sslmode=disable")))
        began = time.monotonic()
        with pytest.raises(Conflict, match="the metrics database broke off: no answer within 1 s"):
            found.connect("trial", session={"statement_timeout": "1s"})
        assert time.monotonic() - began < 4


@pytest.mark.timeout(20)
@pytest.mark.parametrize("slowly", [b"", NOTICES])
def test_a_database_that_is_silent_to_another_connection_too_is_given_up(slowly: bytes) -> None:
    with silent_peer(IN, slowly) as port:
        found = postgres.metrics(MetricsSettings(url=url(port, "&sslmode=disable")))
        began = time.monotonic()
        with pytest.raises(Conflict, match="the metrics database broke off: no answer within"):
            found.connect("trial", session={})
        assert time.monotonic() - began < 5

"""A source that takes a connection and then is silent, or nearly, ends with an error in its time."""

import time

import pytest
from tests.silent_peers import silent_peer

from fleetgauge.addresses import DatabaseUrl
from fleetgauge.errors import Conflict
from fleetgauge.mysql import mysql_database, mysql_source
from fleetgauge.settings import SourceSettings

GREETING = (
    b"\x0a8.0.36\x00" + b"\x01\0\0\0" + b"abcdefgh\0" + b"\xff\xff" + b"\x2d\x02\0" + b"\xff\xdf" + b"\x15"
    + b"\0" * 10 + b"ijklmnopqrst\0" + b"mysql_native_password\0"
)  # fmt: skip
GREETED = len(GREETING).to_bytes(3, "little") + b"\0" + GREETING
IN = b"\x07\0\0\x02\0\0\0\x02\0\0\0"
"""The login is accepted."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("at_once", "slowly", "mode"),
    [
        (b"", b"", "disabled"),
        (b"", b"\xff\xff\x00\0" + bytes(2000), "disabled"),
        (GREETED, b"", "disabled"),
        (GREETED, b"\xff\xff\x00\x02" + bytes(2000), "disabled"),
        (GREETED, b"", "verify_ca"),
        (GREETED, b"\x16\x03\x03\x40\0" + bytes(2000), "verify_ca"),
    ],
)
def test_an_answer_that_does_not_come_is_not_waited_for(
    at_once: bytes, slowly: bytes, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_database, "_CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(mysql_database, "_PATIENCE_S", 0.3)
    with silent_peer(at_once, slowly) as port:
        url = DatabaseUrl(f"mysql://reader@127.0.0.1:{port}/shop?ssl_mode={mode}")
        source = mysql_source("shop", SourceSettings(url=url))
        began = time.monotonic()
        with pytest.raises(Conflict, match=r"source shop broke off: .*time"):
            source.connect(0.1)
        assert time.monotonic() - began < 3


@pytest.mark.timeout(20)
def test_an_answer_that_drips_ends_with_its_statements_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_database, "_CONNECT_TIMEOUT_S", 5.0)
    monkeypatch.setattr(mysql_database, "_PATIENCE_S", 0.2)
    ok = [b"\x07\0\0\x01\0\0\0\x02\0\0\0"] * 2
    with silent_peer(GREETED + IN + b"".join(ok), b"\xff\xff\x00\x01" + bytes(2000)) as port:
        url = DatabaseUrl(f"mysql://reader@127.0.0.1:{port}/shop?ssl_mode=disabled")
        source = mysql_source("shop", SourceSettings(url=url))
        began = time.monotonic()
        with pytest.raises(Conflict, match=r"the answer was not complete in time|timed out"):
            source.connect(0.3)
        assert time.monotonic() - began < 3

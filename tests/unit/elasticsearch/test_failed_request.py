"""A request that fails leaves nothing behind, as many of them as an outage has."""

import gc
import socket
import sys

import pytest

from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.errors import FleetgaugeError
from fleetgauge.settings import ElasticsearchSettings


def test_its_body_is_let_go_of_without_a_collection() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        bulk = ElasticsearchBulk(ElasticsearchSettings(url=f"http://127.0.0.1:{nobody.getsockname()[1]}"))
        body = b'{"index":{}}\n{}\n' * 1_000
        gc.disable()
        try:
            before = sys.getrefcount(body)
            for _ in range(5):
                with pytest.raises(FleetgaugeError):
                    bulk.request("POST", "/_bulk", body)
            assert sys.getrefcount(body) == before
        finally:
            gc.enable()
            bulk.close()

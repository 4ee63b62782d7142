"""Answers of Elasticsearch whose documents only the standard library can read."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from fleetgauge.commands.events import fact
from fleetgauge.commands.pages import ElasticsearchDocuments
from fleetgauge.settings import ElasticsearchSettings

SOUND = {
    "event": {"id": "e-1", "action": "responded"},
    "device": {"id": "sc-1", "model": "m365-pro", "firmware": "2.4.1"},
    "timestamp": 1_763_700_000_900,
    "network": {"carrier": "skt", "sim": "8982000000000000001"},
    "command": {
        "id": "c-1",
        "type": "unlock",
        "attempt": 1,
        "requested_at": 1_763_700_000_000,
        "deadline_at": 1_763_700_030_000,
    },
    "message": {"bytes": 96},
    "result": "failed",
    "error_code": "E_1",
}


class Answering(BaseHTTPRequestHandler):
    """Elasticsearch with one point in time, whose only page is `page`."""

    page = b""

    def answer(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        self.rfile.read(size)
        body = (
            self.page
            if "_search" in self.path
            else b'{"id": "p", "_shards": {"total": 1, "successful": 1, "failed": 0}}'
        )
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 (the library calls them so)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def read() -> Iterator[Callable[..., list[bytes]]]:
    """Documents out of an answer that also holds one that msgspec does not accept: half of a surrogate pair."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, args=[0.01]).start()
    settings = ElasticsearchSettings(url=f"http://127.0.0.1:{server.server_port}")

    def documents(*sources: str) -> list[bytes]:
        hits = [f'{{"_source": {one}, "sort": [0, {n}, 0]}}' for n, one in enumerate((*sources, r'{"a": "\ud800"}'))]
        text = f'{{"pit_id": "p", "hits": {{"hits": [{", ".join(hits)}]}}}}'
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(text)
        Answering.page = text.encode()
        with ElasticsearchDocuments(settings) as found:
            (page,) = found.pages("commands", None)
        assert (page.partition, page.offset, len(page.sources)) == (0, len(sources), len(sources) + 1)
        return [bytes(source) for source in page.sources]

    yield documents
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "-" + "9" * 5000, "9" * 400 + ".5", "-0.0", "12"])
def test_a_number_beyond_pythons_in_a_field_nobody_needs_spoils_no_document(
    number: str, read: Callable[..., list[bytes]]
) -> None:
    text = json.dumps(SOUND)
    odd = text.replace('"sc-1"', f'"sc-1", "extra": [{number}]')
    first, second, _ = read(odd, text)
    assert fact(first) == fact(second) == fact(text.encode())


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "96.0", "-1", "2147483648"])
def test_a_wrong_number_in_a_needed_field_is_wrong_either_way(number: str, read: Callable[..., list[bytes]]) -> None:
    text = json.dumps(SOUND).replace('"bytes": 96', f'"bytes": {number}')
    for source in (text.encode(), read(text)[0]):
        with pytest.raises(ValueError, match=r"\$\.message\.bytes"):
            fact(source)

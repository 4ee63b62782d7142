"""`fleetgauge top`: what the expositions say, as rows."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from prometheus_client import generate_latest
from tests.silent_peers import silent_peer
from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.errors import Terminal
from fleetgauge.http_in_time import answers_within
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.operate import scrape as top
from fleetgauge.observability.status_server import Http, StatusServer

URL = "http://here/metrics"


@pytest.fixture
def families() -> m.Families:
    return m.Families()


@pytest.fixture
def metrics(families: m.Families) -> m.Metrics:
    made = m.Metrics("a", families)
    made.of(m.ASSIGNED).set(4)
    made.of(m.EVENTS, "ok").inc(100)
    made.of(m.EVENTS, "poison").inc(5)
    for partition, (records, seconds) in enumerate([(10, 1.5), (20, 9.5)]):
        made.of(m.LAG_RECORDS, "t", partition).set(records)
        made.of(m.LAG_SECONDS, "t", partition, "append").set(seconds)
        made.of(m.LAG_SECONDS, "t", partition, "event").set(1e6)
    made.of(m.IN_FLIGHT_BYTES).set(2**20)
    return made


def look(families: m.Families, at: float) -> top.Look:
    return {URL: top.samples(URL, generate_latest(families.registry).decode(), at)}


def test_rows_sum_over_partitions_and_take_the_worst_lag(families: m.Families, metrics: m.Metrics) -> None:
    m.Metrics("b", families).of(m.ASSIGNED).set(0)
    before = look(families, 10.0)
    metrics.of(m.EVENTS, "ok").inc(50)
    a, b = top.rows(before, look(families, 12.0))
    assert (a.consumer, a.state, a.assigned, a.events_per_second) == ("a", "ok", 4, 25.0)
    assert (a.lag_records, a.lag_seconds, a.in_flight_bytes) == (30, 9.5, 2**20)
    assert a.events == {"ok": 150, "poison": 5}
    assert (b.consumer, b.state, b.events_per_second) == ("b", "idle", 0.0)
    assert top.total_rate([a, b]) == 25.0


def test_the_first_look_has_no_rate_and_a_restart_none_below_zero(families: m.Families, metrics: m.Metrics) -> None:
    before = look(families, 10.0)
    (first,) = top.rows({}, before)
    assert first.events_per_second is None
    fresh = m.Families()
    m.Metrics("a", fresh).of(m.EVENTS, "ok").inc(20)
    (row,) = top.rows(before, look(fresh, 12.0))
    assert row.events_per_second == 10.0


def test_states_say_what_is_held_up(families: m.Families, metrics: m.Metrics) -> None:
    metrics.of(m.PAUSED).set(4)
    (row,) = top.rows({}, look(families, 1.0))
    assert (row.state, row.paused) == ("paused", 4)
    metrics.of(m.RETRY_DEPTH).set(3)
    (row,) = top.rows({}, look(families, 1.0))
    assert (row.state, row.retry_depth) == ("retrying", 3)


def test_what_is_down_is_shown_unless_it_was_never_there(families: m.Families, metrics: m.Metrics) -> None:
    down = {URL: "down: connection refused"}
    (row,) = top.rows({}, down)
    assert (row.consumer, row.state) == ("", "down: connection refused")
    assert top.rows({}, down, hide_down=True) == []
    assert top.rows(down, down, hide_down=True) == []
    (row,) = top.rows(look(families, 1.0), down, hide_down=True)  # it has just gone
    assert row.state == "down: connection refused"


@pytest.fixture
def nonsense() -> Iterator[str]:
    """A server that is no exporter."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/text" else 500)
            self.end_headers()
            self.wfile.write(b"<html>\xff{{{")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_endpoints_that_fail_or_talk_nonsense_are_down(nonsense: str) -> None:
    found = top.look([f"{nonsense}/text", f"{nonsense}/other", "http://127.0.0.1:1/metrics"])
    reasons = list(found.values())
    assert all(isinstance(reason, str) and reason.startswith("down: ") for reason in reasons)
    assert reasons[1] == "down: HTTP 500"
    with pytest.raises(Terminal, match="file:///etc/passwd' is not an address"):
        top.look(["file:///etc/passwd"])


def test_the_command_prints_plain_lines_and_json(families: m.Families, metrics: m.Metrics) -> None:
    server = StatusServer(Http(), families.registry, {}, {})
    try:
        url = f"http://127.0.0.1:{server.port}/metrics"
        plain = CliRunner().invoke(app, ["top", "--url", url, "--once", "--interval", "0.1"])
        heading, row = plain.output.splitlines()
        assert heading.startswith("consumer") and row.split()[:4] == ["a", f"127.0.0.1:{server.port}", "ok", "0"]
        as_json = CliRunner().invoke(app, ["top", "--url", url, "--json", "--interval", "0.1"])
        assert '"consumer": "a"' in as_json.output and '"lag_seconds": 9.5' in as_json.output
    finally:
        server.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("at_once", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_an_endpoint_that_says_a_byte_at_a_time_is_down(at_once: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (top.PlainHttp, top.EncryptedHttp):
        monkeypatch.setattr(one, "response_class", answers_within(0.3))
    with silent_peer(at_once, b"HTTP/1.1 200 OK" + b"a" * 5000) as port:
        began = time.monotonic()
        (found,) = top.look([f"http://127.0.0.1:{port}/metrics"]).values()
    assert found == "down: the answer was not complete in time" or found == "down: timed out"
    assert time.monotonic() - began < 3


@pytest.mark.timeout(20)
def test_an_endpoint_that_speaks_no_http_is_down() -> None:
    with silent_peer(b"SSH-2.0-OpenSSH\r\n") as port:
        (found,) = top.look([f"http://127.0.0.1:{port}/metrics"]).values()
    assert str(found).startswith("down: ")

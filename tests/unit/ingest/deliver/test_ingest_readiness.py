"""Readiness is what the requests to Elasticsearch say, also when a topic is quiet or a request hangs."""

import threading
import time
from collections.abc import Callable

import pytest

from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.errors import Stop, Transient
from fleetgauge.ingest.deliver.reachable import WatchedBulk


class Scripted:
    """Answers, or raises, what the test put there; counts."""

    def __init__(self) -> None:
        self.next: Answer | Exception | Callable[[], Answer] = Answer(200, b"")
        self.requests = 0

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        self.requests += 1
        if isinstance(self.next, Exception):
            raise self.next
        return self.next if isinstance(self.next, Answer) else self.next()


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def watched(scripted: Scripted, now: list[float]) -> WatchedBulk:
    return WatchedBulk(scripted, lambda: now[0])


def test_not_ready_before_the_first_answer(watched: WatchedBulk) -> None:
    assert watched.wrong() == "Elasticsearch has not answered yet"
    watched.request("PUT", "/_index_template/x", b"{}")
    assert watched.wrong() is None


@pytest.mark.parametrize(
    ("then", "wrong"),
    [
        (Answer(503, b""), "Elasticsearch answers 503"),
        (Answer(502, b""), "Elasticsearch answers 502"),
        (Answer(429, b""), None),  # busy, but there
        (Answer(404, b""), None),
        (Transient("no answer: ConnectionError"), "no answer: ConnectionError"),
        (Stop("not trusted"), "not trusted"),
    ],
)
def test_the_last_request_decides(
    watched: WatchedBulk, scripted: Scripted, then: Answer | Exception, wrong: str | None
) -> None:
    watched.request("POST", "/_bulk", b"")
    scripted.next = then
    if isinstance(then, Exception):
        with pytest.raises(type(then)):
            watched.request("POST", "/_bulk", b"")
    else:
        assert watched.request("POST", "/_bulk", b"") is then
    assert watched.wrong() == wrong
    scripted.next = Answer(200, b"")
    watched.request("POST", "/_bulk", b"")
    assert watched.wrong() is None


def test_a_request_that_hangs_is_told_while_it_hangs(
    watched: WatchedBulk, scripted: Scripted, now: list[float]
) -> None:
    watched.request("PUT", "/x", b"")
    seen: list[str | None] = []

    def hang() -> Answer:
        now[0] += 20
        seen.append(watched.wrong())
        now[0] += 20
        seen.append(watched.wrong())
        return Answer(200, b"")

    scripted.next = hang
    watched.request("POST", "/_bulk", b"")
    assert seen == [None, "Elasticsearch has not answered for 40 s"]
    assert watched.wrong() is None


def test_a_quiet_consumer_asks_by_itself_and_a_busy_one_does_not(
    watched: WatchedBulk, scripted: Scripted, now: list[float]
) -> None:
    watched.request("POST", "/_bulk", b"")
    watched.ask()
    assert scripted.requests == 1
    now[0] += 6
    scripted.next = Transient("connection refused")
    watched.ask()
    assert scripted.requests == 2 and watched.wrong() == "connection refused"
    now[0] += 6
    scripted.next = Answer(404, b"")
    watched.ask()
    assert watched.wrong() is None


def test_the_end_of_an_outage_is_told_once(watched: WatchedBulk, scripted: Scripted, now: list[float]) -> None:
    returns = []
    watched.on_return = lambda: returns.append(now[0])
    here, away = Answer(429, b""), Answer(503, b"")
    for at, scripted.next in ((101, here), (110, away), (111, away), (120, here), (121, here)):
        now[0] = at
        watched.request("POST", "/_bulk", b"")
    assert returns == [101, 120]
    for at, scripted.next in ((130, away), (130.5, here), (131, away), (131.9, here)):  # two requests at a time
        now[0] = at
        watched.request("POST", "/_bulk", b"")
    assert returns == [101, 120]


def test_asking_goes_on_until_the_end(scripted: Scripted) -> None:
    watched = WatchedBulk(scripted, idle_s=0.01)
    watched.keep_asking()
    deadline = time.monotonic() + 10
    while scripted.requests < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    watched.close()
    assert scripted.requests >= 3 and watched.wrong() is None
    (thread,) = (t for t in threading.enumerate() if t.name == "elasticsearch-reachable")
    thread.join(5)
    assert not thread.is_alive()

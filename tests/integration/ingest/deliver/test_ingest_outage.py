"""Elasticsearch is away while events go on coming: memory stays flat, the group stays as it is, nothing is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from ledger_durable import Durable
from ledger_fleet import Fleet, note
from ledger_stream import Stream

from fleetlab.faults import FaultProxy
from fleetlab.stack import Stack, StackState

RATE = 2_000
"""Events per second in the long suite."""
GROWTH = 150 * 1024 * 1024
WARM_S = 10
"""Seconds of events after which the process has all that it needs."""


@contextmanager
def beside(work: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `work` again and again in a thread; what it raises fails the test at the end."""
    stop, errors = threading.Event(), list[BaseException]()

    def loop() -> None:
        try:
            while not stop.wait(every_s):
                work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not errors, errors


def keep_the_rate(stream: Stream, rate: int) -> Callable[[], None]:
    """Produces what is due by the clock, so many events per second."""
    started, produced = time.monotonic(), 0

    def produce() -> None:
        nonlocal produced
        due = int((time.monotonic() - started) * rate) // 100 * 100 - produced
        if due:
            stream.produce(due)
            produced += due

    return produce


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [
        pytest.param(4, RATE // 4, id="4"),
        pytest.param(600, RATE, marks=[pytest.mark.long, pytest.mark.timeout(2400)], id="ten-minutes"),
    ],
)
def test_an_outage_is_ridden_out_with_flat_memory(
    world: Any, stack: StackState, monkeypatch: pytest.MonkeyPatch, seconds: int, rate: int
) -> None:
    servers = Stack(Path(stack.home))
    fleet = Fleet(world)
    stream = Stream(world.settings.kafka.bootstrap_servers, world.consumer.topic, seconds)
    with FaultProxy(world.settings.elasticsearch.url) as proxy:
        monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__URL", proxy.url)
        monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
        process = fleet.start()
        memory = psutil.Process(process.pid).memory_info
        peak = 0

        def watch() -> None:
            nonlocal peak
            peak = max(peak, memory().rss)

        try:
            with beside(keep_the_rate(stream, rate), 0.05):
                fleet.until(lambda: proxy.events >= WARM_S * rate, "it is at work")
                before, answered = memory().rss, proxy.events
                with beside(watch, 0.1):
                    away = time.monotonic()
                    servers.stop("elasticsearch")
                    fleet.until(lambda: fleet.metric(process, "paused_partitions") == 4, "all partitions are paused")
                    fleet.until(lambda: time.monotonic() - away > seconds, "the outage is long enough", seconds + 60.0)
                    held = fleet.metric(process, "in_flight_bytes")
                    servers.up({"elasticsearch"})
                    away = time.monotonic() - away
                    due = answered + away * rate * 0.9
                    fleet.until(lambda: proxy.events > due, "it catches up", 120.0 + away)
            fleet.until(lambda: world.committed() == stream.ends, "it has caught up", every=0.5)
        finally:
            servers.up({"elasticsearch"})
            stream.close()
        assert fleet.members == [process] and not fleet.exits, "it never ended"
        assert fleet.metric(process, "rebalances_total") == 0 and fleet.told("partitions assigned") == 1
        note(f"away {away:.0f} s, memory {before / 1e6:.0f} → {peak / 1e6:.0f} MB, held {held / 1e6:.1f} MB")
        assert peak - before <= GROWTH
        assert held <= 2 * world.consumer.requests * world.consumer.batch_bytes
        fleet.terminate(process)
        fleet.until_left()
    durable = Durable(world, stream)
    stored = durable.all_documents()
    assert len(stored) == len(set(stored)) and set(stored) == stream.documents
    durable.read_dead_letters()
    assert durable.dead_letters == stream.broken

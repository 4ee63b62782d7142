"""The ledger: whatever happens on the way, every event is stored once or dead-lettered once its offset is committed.

Consumers, broker and Elasticsearch are real processes that are stopped and killed; a proxy gives the answers that a
real server does not give on demand. What happens, where and in which order comes from a seed.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_durable import Durable
from ledger_fleet import Fleet, note
from ledger_stream import DAYS, Stream

from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetlab.faults import FAULTS, REFUSALS, Fault, FaultProxy, Incident, Schedule, Step, schedule
from fleetlab.stack import Service, Stack, StackState

EVENTS = 200_000
"""As many as the long suite sends."""
REQUEST_TIMEOUT_S = "8"
"""What the fault `TIME_OUT` costs. Shorter, and a node that has just started on a busy machine gets its work twice."""


class Run:
    """One run of a schedule."""

    def __init__(self, world: Any, plan: Schedule, proxy: FaultProxy, servers: Stack, stream: Stream) -> None:
        self.world = world
        self.plan = plan
        self.proxy = proxy
        self.servers = servers
        self.stream = stream
        self.fleet = Fleet(world)
        self.durable = Durable(world, stream)
        self.rng = random.Random(plan.seed)
        self.compared = 0

    def all_steps(self) -> None:
        self.fleet.start()
        for number, step in enumerate(self.plan.steps, 1):
            started = time.monotonic()
            base = self.proxy.events
            self.stream.produce(step.before)
            self.fleet.until(lambda due=base + step.dealt_with: self.proxy.events >= due, f"step {number}: at work")
            self._strike(step)
            if step.look:
                self.compare()
            if not self.fleet.members:
                self.fleet.start()
            note(f"{number:2}. {step.what}: {time.monotonic() - started:.1f} s")
        started = time.monotonic()
        self.fleet.until(lambda: self.world.committed() == self.stream.ends, "everything is committed", every=0.5)
        note(f"catching up: {time.monotonic() - started:.1f} s")
        (last,) = self.fleet.members
        self.fleet.terminate(last)
        self.fleet.until_left()

    def compare(self) -> None:
        """Committed first, then durable: what is committed in between only makes the test milder by itself."""
        self.compared += self.durable.compare(self.world.committed())

    def _strike(self, step: Step) -> None:
        match step.what:
            case Fault() if step.what in REFUSALS:
                self._refuse(step)
            case Fault():
                met = self.proxy.applied[step.what] + step.times
                self.proxy.inject(step.what, step.times)
                self.stream.produce(step.after)
                self.fleet.until(lambda: self.proxy.applied[step.what] >= met, f"{step.what} was met")
            case Incident.KILL_CONSUMER:
                self._end("kill")
                self.stream.produce(step.after)
            case Incident.TERMINATE_CONSUMER:
                self._end("terminate")
                self.stream.produce(step.after)
            case Incident.SECOND_MEMBER:
                self._second_member(step)
            case Incident.STOP_KAFKA:
                with self._away(step, "kafka"):
                    pass
                self.stream.produce(step.after)
            case Incident.STOP_ELASTICSEARCH:
                with self._away(step, "elasticsearch"):
                    self.stream.produce(step.after)
            case Incident.KILL_SERVERS:
                with self._away(step, "kafka", "elasticsearch", kill=True):
                    pass
                self.stream.produce(step.after)
            case Incident.READ_ONLY:
                self._read_only(step)
            case Incident.DELETE_INDEX:
                self._delete(step)

    def _refuse(self, step: Step) -> None:
        assert isinstance(step.what, Fault)
        self.fleet.settle()
        self.proxy.break_down(step.what)
        self.stream.produce(step.after)
        self.fleet.until_refused()
        self.compare()
        self.proxy.heal()

    def _end(self, how: str) -> None:
        (process,) = self.fleet.members
        if how == "kill":
            self.fleet.kill(process)
        else:
            self.fleet.terminate(process)

    def _second_member(self, step: Step) -> None:
        (first,) = self.fleet.members
        second = self.fleet.start()
        self.fleet.until(
            lambda: self.fleet.metric(second, "assigned_partitions") == 2, "the second member has its part"
        )
        self.stream.produce(step.after)
        self.fleet.until(lambda: self.fleet.metric(second, "events_total") > 0, "the second member is at work")
        self.fleet.terminate(self.rng.choice([first, second]))

    @contextmanager
    def _away(self, step: Step, *services: Service, kill: bool = False) -> Iterator[None]:
        if not step.end:
            self.fleet.settle()
        before = self.fleet.members[0]
        if step.end == "kill":
            self._end("kill")
        for service in services:
            self.servers.stop(service, kill=kill)
        if step.end == "terminate":
            self._end("terminate")
        if step.end:
            self.fleet.start()
        yield
        self.servers.up(services)
        if "kafka" in services:
            self.stream.reconnect()
        if not step.end:
            self.fleet.tend()
            assert before.poll() is None, "it rode out the outage"

    def _index(self, day: int) -> str:
        at = time.gmtime(self.stream.started / 1000 - 86_400 * day)
        return f"{self.world.consumer.index}-{time.strftime('%Y.%m.%d', at)}"

    def _read_only(self, step: Step) -> None:
        index, block = self._index(self.rng.randrange(DAYS)), self.rng.choice(("write", "read_only"))
        path = f"/{index}/_settings"
        self.fleet.until(lambda: self.world.bulk.request("HEAD", f"/{index}", None).status == 200, f"{index} is there")
        self.world.ask("PUT", path, {f"index.blocks.{block}": True})
        told = self.fleet.told("cluster_block_exception")
        self.stream.produce(step.after)
        self.fleet.until(lambda: self.fleet.told("cluster_block_exception") > told, "the block was met")
        self.world.ask("PUT", path, {f"index.blocks.{block}": None})

    def _delete(self, step: Step) -> None:
        index = self._index(DAYS - 1)
        self.fleet.until(lambda: self.world.bulk.request("HEAD", f"/{index}", None).status == 200, f"{index} is there")
        self.world.ask("DELETE", f"/{index}")
        victims = self.stream.lose_victims()
        self.durable.forget(self.stream.victims)
        self.stream.produce(step.after, again=victims)


@pytest.fixture
def servers(stack: StackState) -> Iterator[Stack]:
    """The servers of the run, to be stopped and started; all are up again afterwards."""
    servers = Stack(Path(stack.home))
    yield servers
    servers.up({"kafka", "elasticsearch"})


def keep_the_ledger(world: Any, servers: Stack, plan: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    note(str(plan))
    with FaultProxy(world.settings.elasticsearch.url) as proxy:
        monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__URL", proxy.url)
        monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
        monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__REQUEST_TIMEOUT_S", REQUEST_TIMEOUT_S)
        stream = Stream(world.settings.kafka.bootstrap_servers, world.consumer.topic, plan.seed)
        try:
            run = Run(world, plan, proxy, servers, stream)
            run.all_steps()
        finally:
            stream.close()

    assert world.committed() == stream.ends
    started = time.monotonic()
    stored = run.durable.all_documents()
    assert len(stored) == len(set(stored)), "a document is there twice"
    assert set(stored) == stream.documents
    sample = set(random.Random(plan.seed).sample(stored, 1_000))
    assert run.durable.find(sample) == sample, "documents have the ids of their records"
    run.durable.read_dead_letters()
    assert run.durable.dead_letters == stream.broken
    mappings = world.ask("GET", f"/{world.consumer.index}-*/_mapping")
    assert len(mappings) == DAYS
    assert {found["mappings"]["dynamic"] for found in mappings.values()} == {"false"}
    assert all(proxy.applied[fault] for fault in (*FAULTS, *REFUSALS))
    assert {-9, 0, 70} <= set(run.fleet.exits)

    note(f"verifying: {time.monotonic() - started:.1f} s")

    started = time.monotonic()
    valid = sum(stream.ends.values()) - len(stream.broken)
    again = replace(world.consumer, name=f"{world.consumer.name}-again", batch_records=5_000)
    summary = consume(again, world.settings, ConsumeOptions(until_caught_up=True))
    assert summary.events == {"ok": 0, "duplicate": valid, "poison": len(stream.broken)}
    world.ask("POST", f"/{world.consumer.index}-*/_refresh")
    assert run.durable.count() == len(stored)
    run.durable.read_dead_letters()
    assert run.durable.dead_letters == stream.broken
    note(f"replay: {time.monotonic() - started:.1f} s")
    note(f"proxy: {proxy.requests} requests, {dict(proxy.applied)}; exits {run.fleet.exits}; compared {run.compared}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", ["batch_records=1_000"], indirect=True)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ledger(world: Any, servers: Stack, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small stream; and the servers go down with the first seed only, since each start takes long."""
    keep_the_ledger(world, servers, schedule(seed, EVENTS // 40, outages=seed == 1), monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("world", ["batch_records=1_000"], indirect=True)
@pytest.mark.parametrize("seed", [1, 2, 3, *range(100, 120)])
def test_ledger_with_many_seeds(world: Any, servers: Stack, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_the_ledger(world, servers, schedule(seed, EVENTS), monkeypatch)

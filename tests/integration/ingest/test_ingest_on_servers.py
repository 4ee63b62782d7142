"""Ingest against real Kafka and Elasticsearch: nothing lost, nothing twice, whatever happens on the way."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from fleetgauge.elasticsearch.transport import Answer, ElasticsearchBulk
from fleetgauge.errors import Stop
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions

TO_THE_END = ConsumeOptions(until_caught_up=True)


@contextmanager
def trickle(world: Any, event: Callable[..., dict[str, Any]]) -> Iterator[list[str]]:
    """Produces in the background while the block runs; what was sent is complete afterwards."""
    sent: list[str] = []
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.wait(0.02):
            values = [event(number + i) for i in range(40)]
            world.send(values)
            sent.extend(f"{value['device']['id']}:{value['event']['id']}" for value in values)
            number += 40

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def test_every_event_is_stored_once_or_dead_lettered_with_its_reason(world: Any, event: Any, id_of: Any) -> None:
    good = [event(number) for number in range(3000)]
    broken = [
        b"not json",
        b"",
        json.dumps(event(1)).encode()[:-5],
        json.dumps({**event(2), "speed": "fast"}).encode(),
        json.dumps({**event(3), "timestamp": 1_500_000_000_000}).encode(),
        json.dumps({**event(4), "kafka": {"offset": 1}}).encode(),
        json.dumps(event(5)).replace('"speed"', '"x": 1, "x": 2, "speed"').encode(),  # only Elasticsearch sees this
        json.dumps(event(6)).replace('"speed"', '"x": ' + "9" * 1500 + ', "speed"').encode(),
    ]
    world.send([*good[:2000], *broken[:4], *good[1900:], *broken[4:], *good[:100]])
    world.producer.send(world.consumer.topic, key=b"k", value=None, partition=2, headers=[("h", b"1")])
    world.producer.flush(30)

    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 3000, "duplicate": 200, "poison": 9}
    assert sum(summary.committed.values()) == 3209 and summary.drained
    stored = world.stored()
    assert sorted(hit["_id"] for hit in stored) == sorted(id_of(value) for value in good)
    sample = stored[0]
    assert sample["_source"]["@timestamp"] == sample["_source"]["timestamp"]
    assert sample["_source"]["geo.location"] == [127.0, 37.5]
    day = time.strftime("%Y.%m.%d", time.gmtime(sample["_source"]["timestamp"] / 1000))
    assert sample["_index"] == f"{world.consumer.index}-{day}"
    assert len({hit["_index"] for hit in stored}) == 3

    dead_letters = world.dead_letters()
    assert {dead_letter.value for dead_letter in dead_letters} == {*broken, None}
    headers = {dead_letter.value: dict(dead_letter.headers) for dead_letter in dead_letters}
    assert {value: found["fleetgauge.error_type"] for value, found in headers.items()} == {
        broken[0]: b"not_json",
        broken[1]: b"not_json",
        broken[2]: b"not_json",
        broken[3]: b"contract",
        broken[4]: b"out_of_time_range",
        broken[5]: b"contract",
        broken[6]: b"document_parsing_exception",
        broken[7]: b"document_parsing_exception",
        None: b"tombstone",
    }
    tombstone = next(dead_letter for dead_letter in dead_letters if dead_letter.value is None)
    assert tombstone.key.decode().startswith(f"{world.consumer.topic}-2-")
    found = headers[None]
    assert found["fleetgauge.topic"].decode() == world.consumer.topic
    assert found["fleetgauge.partition"] == b"2" and found["fleetgauge.class"] == b"poison"
    assert found["fleetgauge.key"] == b"k" and found["h"] == b"1"
    assert found["fleetgauge.contracts"] == b"battery=1,location=1"
    assert abs(int(found["fleetgauge.timestamp"]) - time.time() * 1000) < 600_000

    mapping = world.ask("GET", f"/{sample['_index']}/_mapping")[sample["_index"]]["mappings"]
    assert mapping["dynamic"] == "false"
    assert mapping["properties"]["geo"]["properties"]["location"]["type"] == "geo_point"
    assert mapping["properties"]["kafka"]["properties"]["offset"]["type"] == "long"

    # A replay of the whole topic by another group adds nothing.
    again = consume(replace(world.consumer, name=f"{world.consumer.name}-again"), world.settings, TO_THE_END)
    assert again.events == {"ok": 0, "duplicate": 3200, "poison": 9}
    assert len(world.stored()) == 3000
    assert {dead_letter.value for dead_letter in world.dead_letters()} == {*broken, None}

    # And there is nothing left to do for the first one.
    assert consume(world.consumer, world.settings, TO_THE_END).events == {"ok": 0, "duplicate": 0, "poison": 0}


@pytest.mark.parametrize("world", ["batch_records=500"], indirect=True)
def test_sigterm_kill_and_a_second_member_lose_nothing(world: Any, event: Any, wait_until: Any) -> None:
    with trickle(world, event) as sent:
        first = world.start("--json")
        wait_until(lambda: world.metric(first, "fleetgauge_ingest_events_total") > 300, "first member at work")
        second = world.start()
        wait_until(lambda: world.metric(second, "fleetgauge_ingest_assigned_partitions") == 2, "second member joined")
        wait_until(lambda: world.metric(second, "fleetgauge_ingest_events_total") > 100, "second member at work")
        first.send_signal(signal.SIGTERM)
        output, _ = first.communicate(timeout=30)
        assert first.returncode == 0, world.stderr(first)
        assert json.loads(output)["drained"] is True
        assert json.loads(output)["events"]["ok"] > 300
        wait_until(
            lambda: world.metric(second, "fleetgauge_ingest_assigned_partitions") == 4, "all partitions taken over"
        )
        before = world.metric(second, "fleetgauge_ingest_events_total")
        wait_until(lambda: world.metric(second, "fleetgauge_ingest_events_total") > before + 300, "still at work")
        second.send_signal(signal.SIGKILL)
        second.wait(10)
    third = world.start("--until-caught-up", "--json")
    output, _ = third.communicate(timeout=60)
    assert third.returncode == 0, world.stderr(third)
    stored = [hit["_id"] for hit in world.stored()]
    assert len(stored) == len(set(stored))
    assert set(stored) == set(sent) and len(sent) > 1000
    assert sum(world.committed().values()) == len(sent)


@pytest.mark.parametrize("world", ["batch_records=100"], indirect=True)
def test_a_write_block_is_ridden_out_by_pausing(world: Any, event: Any, wait_until: Any) -> None:
    world.send([event(number, timestamp=int(time.time() * 1000)) for number in range(400)])
    consume(world.consumer, world.settings, TO_THE_END)
    index = {hit["_index"] for hit in world.stored()}.pop()
    world.ask("PUT", f"/{index}/_settings", {"index.blocks.write": True})
    world.send([event(number, timestamp=int(time.time() * 1000)) for number in range(400, 2000)])
    process = world.start("--until-caught-up", "--json")
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_paused_partitions") == 4, "partitions paused")
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_retry_depth") >= 3, "several attempts")
    assert sum(world.committed().values()) == 400
    assert process.poll() is None
    world.ask("PUT", f"/{index}/_settings", {"index.blocks.write": None})
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(output)["events"] == {"ok": 1600, "duplicate": 0, "poison": 0}
    assert len(world.stored()) == 2000 and not world.dead_letters()
    retried = [line for line in world.log(process) if line["event"] == "events are being retried"]
    assert retried[0]["error_type"] == "cluster_block_exception"
    assert retried[0]["consumer"] == world.consumer.name


@pytest.mark.parametrize("world", ["batch_records=100"], indirect=True)
def test_a_rebalance_during_an_outage_reads_again_what_it_had_to_drop(world: Any, event: Any, wait_until: Any) -> None:
    def today(first: int, last: int) -> list[dict[str, Any]]:
        return [event(number, timestamp=int(time.time() * 1000)) for number in range(first, last)]

    world.send(today(0, 400))
    consume(world.consumer, world.settings, TO_THE_END)
    index = {hit["_index"] for hit in world.stored()}.pop()
    world.ask("PUT", f"/{index}/_settings", {"index.blocks.write": True})
    world.send(today(400, 4000))
    first = world.start("--json")
    wait_until(lambda: world.metric(first, "fleetgauge_ingest_retry_depth") >= 1, "work that cannot be drained")
    second = world.start("--json")
    # The first member gives up after its drain limit; half of the partitions come back to it.
    wait_until(lambda: world.metric(second, "fleetgauge_ingest_assigned_partitions") == 2, "second member joined")
    wait_until(lambda: world.metric(first, "fleetgauge_ingest_assigned_partitions") == 2, "first member goes on")
    world.ask("PUT", f"/{index}/_settings", {"index.blocks.write": None})
    world.send(today(4000, 4400))
    wait_until(lambda: sum(world.committed().values()) == 4400, "all committed")
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
    for process in (first, second):
        process.communicate(timeout=30)
        assert process.returncode == 0, world.stderr(process)
    assert len(world.stored()) == 4400 and not world.dead_letters()


def test_sigterm_during_an_outage_leaves_the_rest_uncommitted(world: Any, event: Any, wait_until: Any) -> None:
    world.send([event(number, timestamp=int(time.time() * 1000)) for number in range(100)])
    consume(world.consumer, world.settings, TO_THE_END)
    index = {hit["_index"] for hit in world.stored()}.pop()
    world.ask("PUT", f"/{index}/_settings", {"index.blocks.write": True})
    world.send([event(number, timestamp=int(time.time() * 1000)) for number in range(100, 200)])
    process = world.start("--json")
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_retry_depth") >= 1, "retrying")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)  # the second one does not wait for what is under way
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(output)["drained"] is False
    assert sum(world.committed().values()) == 100
    world.ask("PUT", f"/{index}/_settings", {"index.blocks.write": None})
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 100


@pytest.mark.parametrize("world", ["dead_letters=DeadLetterLimit(consecutive=50)"], indirect=True)
def test_a_topic_of_only_broken_payloads_stops_at_the_limit(world: Any) -> None:
    world.send([b"broken"] * 400)
    process = world.start("--until-caught-up")
    process.communicate(timeout=60)
    assert process.returncode == 70
    last = world.stderr(process).splitlines()[-1]
    assert last.startswith("fleetgauge: ") and "records in a row are broken" in last and "not_json" in last
    assert "Traceback" not in world.stderr(process)
    assert not world.dead_letters() and not sum(world.committed().values())  # only that the limit was reached


class Refusing(ElasticsearchBulk):
    """The real server, but after some bulk requests the login is refused: an answer that cannot be made there."""

    left = 2

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        if path.startswith("/_bulk"):
            self.left -= 1
            if self.left < 0:
                return Answer(401, b'{"error":{"type":"security_exception","reason":"token expired"},"status":401}')
        return super().request(method, path, body)


@pytest.mark.parametrize("world", ["batch_records=200"], indirect=True)
def test_a_refused_login_stops_without_commit_or_burial_and_heals_by_a_restart(world: Any, event: Any) -> None:
    world.send([event(number) for number in range(4000)])
    bulk = Refusing(world.settings.elasticsearch)
    with pytest.raises(Stop, match="401 security_exception: token expired; check elasticsearch"):
        consume(world.consumer, world.settings, TO_THE_END, bulk=bulk)
    bulk.close()
    stored = len(world.stored())
    assert 0 < stored < 4000
    assert sum(world.committed().values()) <= stored
    assert not world.dead_letters()
    consume(world.consumer, world.settings, TO_THE_END)
    assert len(world.stored()) == 4000
    assert sum(world.committed().values()) == 4000


def test_an_index_deleted_under_way_comes_back_with_its_mapping(world: Any, event: Any, wait_until: Any) -> None:
    today = int(time.time() * 1000)
    world.send([event(number, timestamp=today) for number in range(50)])
    process = world.start()
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_events_total") == 50, "first events")
    index = {hit["_index"] for hit in world.stored()}.pop()
    world.ask("DELETE", f"/{index}")
    world.send([event(number, timestamp=today) for number in range(50, 90)])
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_events_total") == 90, "events after the deletion")
    assert len(world.stored()) == 40
    assert world.ask("GET", f"/{index}/_mapping")[index]["mappings"]["dynamic"] == "false"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0

"""Record times that producers make up, and what they may open."""

import json
from typing import Any

import ingest_world
import pytest
from fault_table import fault
from ingest_world import TO_THE_END, World
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from fleetgauge.ingest.operate.launch import consume
from fleetgauge.progress import topic_times

world, event, wait_until = ingest_world.world, ingest_world.event_, ingest_world.wait_until_
DAY_MS = 86_400_000
YEAR_2001 = 978_307_200_000


def days(world: World) -> set[str]:
    found = world.bulk.request("GET", f"/{world.consumer.index}-*?filter_path=*.settings.index.uuid", None)
    return set(json.loads(found.body))


@fault(
    "Record times of a topic with CreateTime are event times, from 2001 on",
    number="without such events, which are dead letters; the others go on",
    freshness="ok",
    doctor="warns: the topic has CreateTime",
    exporter="`fleetgauge_ingest_dead_letters_total`, `record_time`",
    exit_code="0",
)
def test_no_index_is_opened_on_a_producers_word_alone(world: World, event: Any) -> None:
    for number in range(100):
        at = YEAR_2001 + number * DAY_MS // 2
        world.producer.send(
            world.consumer.topic, json.dumps(event(number, timestamp=at)).encode(), partition=0, timestamp_ms=at
        )
    world.send([event(1_000 + number) for number in range(8)])
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 8, "duplicate": 0, "poison": 100}
    assert {dict(dead_letter.headers)["fleetgauge.error_type"] for dead_letter in world.dead_letters()} == {
        b"record_time"
    }
    assert len(days(world)) == 3
    told = topic_times.warning(world.settings.kafka, world.consumer.topic)
    assert told is not None and "message.timestamp.type=CreateTime" in told and "LogAppendTime" in told


def test_where_the_broker_says_the_time_nobody_else_does(world: World, event: Any) -> None:
    admin = KafkaAdminClient(bootstrap_servers=world.settings.kafka.bootstrap_servers)
    by_broker = {"message.timestamp.type": "LogAppendTime"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, world.consumer.topic, by_broker)])
    admin.close()
    assert topic_times.warning(world.settings.kafka, world.consumer.topic) is None
    world.send([event(1, timestamp=YEAR_2001)], timestamp_ms=YEAR_2001)
    world.send([event(2)], timestamp_ms=YEAR_2001)
    assert consume(world.consumer, world.settings, TO_THE_END).events == {"ok": 1, "duplicate": 0, "poison": 1}
    (dead_letter,) = world.dead_letters()
    assert dict(dead_letter.headers)["fleetgauge.error_type"] == b"out_of_time_range"


@fault(
    "A producer writes the header `fleetgauge.timestamp`",
    number="right, without such events, which are dead letters",
    freshness="ok",
    doctor="ok",
    exporter="`fleetgauge_ingest_dead_letters_total`, `out_of_time_range`",
    exit_code="0",
)
def test_a_header_that_a_replay_did_not_sign_opens_no_day(world: World, event: Any) -> None:
    for number in range(50):
        at = event(0)["timestamp"] - (8 + number) * DAY_MS
        headers = [("fleetgauge.timestamp", b"%d" % at), ("fleetgauge.origin", b"a-0-1"), ("fleetgauge.tries", b"1")]
        payload = json.dumps(event(number, timestamp=at)).encode()
        world.producer.send(world.consumer.topic, payload, partition=0, headers=headers)
    world.producer.flush(30)
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 0, "duplicate": 0, "poison": 50}
    found = [dict(dead_letter.headers) for dead_letter in world.dead_letters()]
    assert {headers["fleetgauge.error_type"] for headers in found} == {b"out_of_time_range"}
    assert {headers["fleetgauge.tries"] for headers in found} == {b"1"}
    assert not days(world)


@pytest.mark.parametrize("world", ["new_days=2"], indirect=True)
@fault(
    "More daily indices are new within an hour than `new_days` allows",
    number="late: the consumer waits, nothing is lost",
    freshness="late",
    doctor="the consumer is behind",
    exporter="`fleetgauge_ingest_retry_depth`, lag",
    exit_code="none: it goes on when the hour is over",
)
def test_a_consumer_opens_so_many_days_and_then_waits(world: World, event: Any, wait_until: Any) -> None:
    world.send([event(number) for number in range(12)])  # of three days
    process = world.start("--http-port", "0")

    def waiting() -> bool:
        return any("new_days" in str(line.get("because")) for line in world.log(process))

    wait_until(waiting, "the consumer says why it waits")
    assert len(days(world)) == 2
    assert world.metric(process, "fleetgauge_ingest_retry_depth") >= 1
    process.terminate()
    assert process.wait(60) == 0

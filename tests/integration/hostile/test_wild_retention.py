"""Kafka's retention deletes records before they are read: nothing brings them back, so that everything tells it."""

from typing import Any

import ingest_world
from ingest_world import TO_THE_END, World
from kafka import KafkaAdminClient, TopicPartition

from fleetgauge.clock import SystemClock
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.progress.offsets import GroupProgress, read_progress
from fleetgauge.rollup.operating import doctor
from fleetgauge.rollup.sources.stream import EventStream

world, event = ingest_world.world, ingest_world.event_


def progress(world: World) -> GroupProgress:
    return read_progress(world.settings.kafka, world.consumer.topic, world.consumer.group, SystemClock())


def told(world: World) -> list[str]:
    """What doctor says of deleted records."""
    one = world.consumer
    stream = EventStream(one.topic, one.group, one.index)
    found = doctor.examine(world.settings, {}, {one.name: stream})
    return [line.said for line in found if "were deleted before they were read" in line.said and line.status == "warn"]


def test_records_that_retention_deleted_first_are_told_for_long(world: World, event: Any) -> None:
    world.send([event(number) for number in range(40)])
    consume(world.consumer, world.settings, TO_THE_END)
    assert told(world) == []
    world.send([event(100 + number) for number in range(40)])
    admin = KafkaAdminClient(bootstrap_servers=world.settings.kafka.bootstrap_servers)
    try:
        admin.delete_records({TopicPartition(world.consumer.topic, 1): 13, TopicPartition(world.consumer.topic, 2): 5})
    finally:
        admin.close()
    said = told(world)
    assert len(said) == 1 and f"3 record(s) of partition 1 of {world.consumer.topic}" in said[0]
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 37
    assert told(world) == said
    world.send([event(200 + number) for number in range(8)])
    consume(world.consumer, world.settings, TO_THE_END)
    assert told(world) == said  # whoever reads on does not forget it
    assert [part.missed for part in progress(world).partitions] == [0, 3, 0, 0]
    assert len(world.stored()) == 85

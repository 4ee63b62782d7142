"""Events that a device sends again while the UTC day ends."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import ingest_world
from fault_table import fault
from ingest_world import TO_THE_END, World, wait_until

from fleetgauge.ingest.operate.launch import consume

world, event = ingest_world.world, ingest_world.event_
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def ms(**after: float) -> int:
    return round((MIDNIGHT + timedelta(**after)).timestamp() * 1000)


def days(world: World, id_: str) -> Counter[str]:
    """By index, the documents with this event id."""
    return Counter(one["_index"] for one in world.stored() if one["_source"]["event"]["id"] == id_)


@fault(
    "A device sends an event again with a new time, and UTC midnight lies between the two",
    number="right: it counts once, on the day of its first time; an hour or more from midnight it is another event",
    freshness="ok",
    doctor="ok",
    exporter="`fleetgauge_ingest_resent_total`, class duplicate",
    exit_code="0",
)
def test_an_event_sent_again_over_midnight_counts_once(world: World, event: Any) -> None:
    first = [event(number, timestamp=ms(seconds=-30 - number)) for number in range(200)]
    late = event(900, timestamp=ms(minutes=-70))
    world.send([*first, late])
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 201

    again = [{**one, "timestamp": one["timestamp"] + 300_000} for one in first[:150]]
    other = [{**one, "timestamp": one["timestamp"] + 300_000, "speed": 9.5} for one in first[150:160]]
    fresh = event(901, timestamp=ms(seconds=-5))
    both = [fresh, {**fresh, "timestamp": ms(seconds=5)}]
    beyond = {**late, "timestamp": ms(minutes=70)}
    process = world.start("--http-port", "0")
    for number, one in enumerate([*again, *other]):  # each to the partition of its first
        world.producer.send(world.consumer.topic, value=json.dumps(one).encode(), partition=number % 4)
    for one in (*both, beyond):
        world.producer.send(world.consumer.topic, value=json.dumps(one).encode(), partition=0)
    world.producer.flush(30)
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_events_total") == 163, "all are read")
    assert world.metric(process, "fleetgauge_ingest_resent_total") == 151
    process.terminate()
    assert process.wait(30) == 0, world.stderr(process)
    assert len(world.stored()) == 201 + 10 + 1 + 1
    yesterday, today = (f"{world.consumer.index}-{MIDNIGHT + timedelta(days=ago):%Y.%m.%d}" for ago in (-1, 0))
    assert days(world, "e-000000") == {yesterday: 1}
    assert days(world, "e-000150") == {yesterday: 1, today: 1}  # it says something else, so it is another event
    assert days(world, "e-000901") == {yesterday: 1}
    assert days(world, "e-000900") == {yesterday: 1, today: 1}
    assert not world.dead_letters()

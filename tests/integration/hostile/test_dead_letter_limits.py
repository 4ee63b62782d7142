"""Dead-letter limits on real servers: no restart forgets them, an operator lifts them, one model does not stop all."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import ingest_world
import pytest
from alert_replay import exposition, firing
from command_line import in_process
from fault_table import fault
from ingest_world import World, event
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from fleetgauge.errors import Stop, Terminal
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.limit_exports import LimitCollector
from fleetgauge.ingest.operate.service import ConsumeOptions

TO_THE_END = ConsumeOptions(until_caught_up=True)
LIMIT = "dead_letters=DeadLetterLimit(consecutive=50, ratio=0.1, minimum=100)"
NUMBERS = 'fleetgauge_business_until_timestamp_seconds{metric="telemetry",over="15m"} 1\n'
BY_MODEL = "dead_letters=DeadLetterLimit(consecutive=50, ratio=0.1, minimum=100, by='device.model')"

world = ingest_world.world


def command(world: World, *arguments: str, code: int = 0) -> Any:
    ended, out, err = in_process(*arguments, FLEETGAUGE_CONTENT=str(world.content))
    assert ended == code, out + err
    assert "Traceback" not in err
    return json.loads(out) if "--json" in arguments else out + err


def kinds(world: World) -> Counter[str]:
    """Dead letters by class, each once."""
    found = {(x.key, x.value): dict(x.headers)["fleetgauge.class"].decode() for x in world.dead_letters()}
    return Counter(found.values())


@fault(
    "Every fourth event is broken, and a supervisor starts the consumer again and again",
    number="what is good up to the stop; nothing behind it",
    freshness="error once the next window is overdue",
    doctor="fail: the limit was reached, with partition and reason",
    exporter="lag of the partition grows; overdue",
    exit_code="consume 70, at every start",
)
@pytest.mark.parametrize("world", [f"batch_records=40, {LIMIT}"], indirect=True)
def test_a_limit_that_was_reached_holds_over_every_restart(world: World, tmp_path: Path) -> None:
    forged = [("fleetgauge.tries", b"1"), ("fleetgauge.origin", f"{world.consumer.topic}-0-1".encode())]
    flood = [b"broken %d" % n if n // 4 % 4 == 3 else event(n) for n in range(1600)]
    world.send(flood[:800], headers=forged)  # what any producer may write evades nothing
    world.send(flood[800:])
    process = world.start("--until-caught-up")
    process.communicate(timeout=60)
    assert process.returncode == 70, world.stderr(process)
    assert "fleetgauge dlq accept" in world.stderr(process).splitlines()[-1]
    before = kinds(world).total()
    assert before <= 4 * 25
    for _ in range(3):
        with pytest.raises(Stop, match=r"records are broken in .*dlq accept"):
            consume(world.consumer, world.settings, TO_THE_END)
        assert kinds(world).total() == before
    shown = command(world, "dlq", "limit", world.consumer.name, "--json")
    stopped = [one for one in shown["partitions"] if one["halted"]]
    assert stopped and {one["error_type"] for one in stopped} == {"not_json"}
    assert "stopped: " in command(world, "dlq", "limit", world.consumer.name)
    doctor = command(world, "doctor", "--json", code=78)
    said = [f for f in doctor["findings"] if f["about"] == f"dead letters of {world.consumer.name}"]
    assert [f["status"] for f in said] == ["fail"] * len(stopped) and "not_json" in said[0]["said"]

    if shutil.which("promtool"):
        limits = LimitCollector(world.settings)
        limits.refresh()
        fired = firing(tmp_path, exposition(limits), "fleetgauge_exporter_up 1\n", NUMBERS, consumers=0, fleetgauge=1)
        assert fired == {
            "FleetgaugeDeadLetterLimit": f"consumer {world.consumer.name} was stopped by its limit of dead letters"
        }

    accept = ["dlq", "accept", world.consumer.name, "--type", "not_json", "--for"]
    assert command(world, *accept, "500", "--dry-run", "--json")["dry_run"]
    with pytest.raises(Stop):
        consume(world.consumer, world.settings, TO_THE_END)
    assert kinds(world).total() == before
    command(world, *accept, "5", "--until", "2001-01-01T00:00:00Z", code=78)
    assert "ends the stop of partition" in command(world, *accept, "30", "--reason", "firmware 2.4.1")
    with pytest.raises(Stop):  # so many, and then the limit again
        consume(world.consumer, world.settings, TO_THE_END)
    some = kinds(world).total()
    assert before <= some < 400  # whole fetches, or nothing of them
    command(world, *accept, "1000")
    done = consume(world.consumer, world.settings, TO_THE_END)
    assert done.caught_up and kinds(world) == {"poison": 400}
    assert {dead_letter.value for dead_letter in world.dead_letters()} == {
        value for value in flood if isinstance(value, bytes)
    }
    assert command(world, "dlq", "ls", world.consumer.name, "--json")["open"] == 400  # none hides behind another
    assert len(world.stored()) == 1200
    shown = command(world, "dlq", "limit", world.consumer.name, "--json")
    assert {a.get("note") for one in shown["partitions"] for a in one["accepted"]} == {"firmware 2.4.1", None}


@pytest.mark.parametrize("world", [LIMIT], indirect=True)
def test_a_limit_reached_in_the_very_first_batch_is_not_forgotten(world: World) -> None:
    world.send([b"broken"] * 400)
    for _ in range(2):
        with pytest.raises(Stop, match="50 records in a row are broken"):
            consume(world.consumer, world.settings, TO_THE_END)
    world.send([event(number) for number in range(400)])
    with pytest.raises(Stop):
        consume(world.consumer, world.settings, TO_THE_END)
    assert kinds(world).total() == 0 and sum(world.committed().values()) == 0
    shown = command(world, "dlq", "accept", world.consumer.name, "--type", "not_json", "--for", "100", "--json")
    assert shown["ended_in_partitions"]
    done = consume(world.consumer, world.settings, TO_THE_END).events
    assert done["ok"] + done["duplicate"] == 400 == done["poison"] == kinds(world).total()


@fault(
    "The clock of one model rolls over: all of its events lie 19 years back",
    number="right for all others; those of the model are missing",
    freshness="ok",
    doctor="warn: the model is quarantined, with the number of its dead letters",
    exporter="fleetgauge_ingest_quarantined_partitions 1 for the model",
    exit_code="consume 0",
)
@pytest.mark.parametrize("world", [f"batch_records=100, {BY_MODEL}"], indirect=True)
def test_one_model_whose_clock_rolled_over_stops_no_other(world: World) -> None:
    def one(number: int) -> dict[str, Any]:
        old = number // 4 % 3 == 0
        model = "max-g30" if old else "m365"
        changes = {"timestamp": event(number)["timestamp"] - 1024 * 7 * 86_400_000} if old else {}
        return event(number, device={"id": f"{model}-{number % 50}", "model": model, "firmware": "1"}, **changes)

    events = [one(number) for number in range(2400)]
    world.send(events[:1200])
    first = consume(world.consumer, world.settings, TO_THE_END)
    world.send(events[1200:])
    process = world.start("--until-caught-up", "--json")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, world.stderr(process)
    second = json.loads(output)["events"]
    assert first.events["ok"] + second["ok"] == len(world.stored()) == 1600
    assert "poison" not in second or second["poison"] == 0  # a restart still knows that it is quarantined
    found = kinds(world)
    assert found.total() == 800 and found["quarantine"] > 650
    shown = command(world, "dlq", "ls", world.consumer.name, "--class", "quarantine", "--json")
    assert shown["dead_letters"] == found["quarantine"]
    doctor = command(world, "doctor", "--json", code=78)
    said = [f for f in doctor["findings"] if f["about"] == f"dead letters of {world.consumer.name}"]
    assert said and {f["status"] for f in said} == {"warn"} and "max-g30" in said[0]["said"]
    command(
        world, "dlq", "accept", world.consumer.name, "--type", "out_of_time_range", "--value", "max-g30", "--for", "0"
    )
    limit = command(world, "dlq", "limit", world.consumer.name, "--json")
    assert not any(one["quarantined"] for one in limit["partitions"])


@fault(
    "The dead-letter topic takes less than the source topic",
    number="not begun",
    freshness="error once the next window is overdue",
    doctor="fail: both sizes, and the command that raises one",
    exporter="overdue",
    exit_code="consume 78, before it reads",
)
def test_a_dead_letter_topic_that_is_too_small_is_told_before_it_is_needed(world: World) -> None:
    admin = KafkaAdminClient(bootstrap_servers=world.settings.kafka.bootstrap_servers)
    try:
        admin.create_topics([NewTopic(world.consumer.dead_letter_topic, 1, 1)])  # as the broker makes it
        for _ in range(2):
            with pytest.raises(
                Terminal, match=r"takes records of 1048588 bytes, .* needs 1114124 .*max.message.bytes="
            ):
                consume(world.consumer, world.settings, TO_THE_END)
        doctor = command(world, "doctor", "--json", code=78)
        assert any("takes records of 1048588 bytes" in f["said"] for f in doctor["findings"])
        admin.delete_topics([world.consumer.dead_letter_topic])
        wide = {"max.message.bytes": "33554432", "cleanup.policy": "compact"}
        admin.create_topics([NewTopic(world.consumer.dead_letter_topic, 1, 1, topic_configs=wide)])
        with pytest.raises(Terminal, match="is compacted"):
            consume(world.consumer, world.settings, TO_THE_END)
    finally:
        admin.close()

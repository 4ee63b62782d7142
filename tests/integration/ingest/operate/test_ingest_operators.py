"""What operators use, on real servers: dead letters replayed, topics rewound, several consumers in one process."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import in_process
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import NewTopic

from fleetgauge.clock import SystemClock
from fleetgauge.errors import Terminal
from fleetgauge.ingest import Consumer, DeadLetterLimit
from fleetgauge.ingest.deadletters.dead_letter_topic import Filter
from fleetgauge.ingest.deadletters.replay import Result, Validator, replay
from fleetgauge.ingest.operate.launch import consume, contracts_of
from fleetgauge.ingest.operate.service import ConsumeOptions
from fleetgauge.ingest.read import rewind as back
from fleetgauge.ingest.read.rewind import Rewind
from fleetgauge.ingest.stopping import StopRequest

ROOT = Path(__file__).parents[4]
TO_THE_END = ConsumeOptions(until_caught_up=True)


def command(world: Any, *arguments: str, code: int = 0) -> Any:
    """Run `fleetgauge`; what it printed, as JSON if it is."""
    ended, out, err = in_process(*arguments, FLEETGAUGE_CONTENT=str(world.content))
    assert ended == code, err
    assert "Traceback" not in err
    return json.loads(out) if "--json" in arguments else out + err


@pytest.fixture
def admin(world: Any) -> Iterator[KafkaAdminClient]:
    made = KafkaAdminClient(bootstrap_servers=world.settings.kafka.bootstrap_servers)
    yield made
    made.close()


# Dead letters

READING = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "reading",
    "description": "A level, without an id of its own: the position in the topic stands in.",
    "type": "object",
    "required": ["kind", "version", "timestamp", "level"],
    "properties": {
        "kind": {"const": "reading"},
        "version": {"type": "integer", "minimum": 1, "maximum": 1},
        "timestamp": {"type": "integer", "format": "epoch_millis"},
        "level": {"type": "number", "minimum": 0, "maximum": 100},
    },
}


def contract(world: Any, maximum: int) -> None:
    folder = world.content / "schemas"
    if folder.is_symlink():
        folder.unlink()
        shutil.copytree(ROOT / "schemas", folder)
    properties = {**READING["properties"], "level": {"type": "number", "minimum": 0, "maximum": maximum}}  # type: ignore[dict-item]
    text = json.dumps({**READING, "properties": properties})
    (folder / "events" / "reading.json").write_text(text)


def replayed(
    world: Any, consumer: Consumer, *types: str, again: bool = False, stop: StopRequest | None = None
) -> Result:
    validator = Validator(consumer, contracts_of(world.settings, consumer), SystemClock())
    return replay(world.settings.kafka, consumer, Filter(types), validator, stop or StopRequest(), again=again)


def test_dead_letters_are_replayed_once_after_the_contract_was_mended(world: Any, wait_until: Any) -> None:
    contract(world, maximum=100)
    file = next((world.content / "consumers").glob("*.py"))
    file.write_text(file.read_text().replace("('location', 'battery')", "('reading',)"))
    consumer = replace(world.consumer, contracts=("reading",))
    now = int(time.time() * 1000)
    good = [{"kind": "reading", "version": 1, "timestamp": now, "level": level % 100} for level in range(8)]
    high = [{**good[0], "level": 500 + number} for number in range(5)]
    refused = json.dumps(good[0]).encode()[:-1] + b', "x": ' + b"9" * 1500 + b"}"  # Elasticsearch alone refuses this
    world.send([*good, *high, b"\xff\x00not json", refused], headers=[("trace", b"t-1")])
    assert consume(consumer, world.settings, TO_THE_END).events == {"ok": 8, "duplicate": 0, "poison": 7}
    again = consume(replace(consumer, name=f"{consumer.name}-again"), world.settings, TO_THE_END)
    assert again.events["poison"] == 7  # the same dead letters a second time

    index = command(world, "dlq", "ls", consumer.name, "--json")
    assert (index["dead_letters"], index["open"], index["repeats"], index["foreign"]) == (7, 7, 7, 0)
    by_type = {(group["error_type"], group["contracts"]) for group in index["groups"]}
    assert by_type == {
        ("contract", "reading=1"),
        ("not_json", "reading=1"),
        ("document_parsing_exception", "reading=1"),
    }
    text = command(world, "dlq", "ls", consumer.name, "--type", "contract")
    assert "500" not in text and "5 dead letters, 5 open" in text  # never a payload

    key = next(group["newest"] for group in index["groups"] if group["error_type"] == "not_json")
    shown = command(world, "dlq", "show", consumer.name, key)
    assert r"\xff\x00not json" in shown and "trace: t-1" in shown and "error_type: not_json" in shown
    shown = command(world, "dlq", "show", consumer.name, "--type", "contract", "--json")
    assert json.loads(shown["payload"]["text"])["level"] >= 500 and shown["tries"] == 1
    assert "holds no dead letter x-0-1" in command(world, "dlq", "show", consumer.name, "x-0-1", code=78)

    # Nothing is replayed that would only come back.
    assert replayed(world, consumer) == Result(7, 1, {"contract": 5, "not_json": 1})
    contract(world, maximum=1000)
    planned = command(world, "dlq", "replay", consumer.name, "--dry-run", "--json")
    assert (planned["chosen"], planned["replayed"], planned["still_broken"]) == (6, 5, {"not_json": 1})
    asked = StopRequest()
    asked.ask()  # Ctrl-C before the first chunk
    assert replayed(world, consumer, stop=asked) == Result(6, stopped=True)
    assert consume(consumer, world.settings, TO_THE_END).events == {"ok": 0, "duplicate": 0, "poison": 1}
    text = command(world, "dlq", "replay", consumer.name, "--type", "contract", "--limit", "2")
    assert "2 of 2 dead letters replayed" in text
    assert consume(consumer, world.settings, TO_THE_END).events == {"ok": 2, "duplicate": 0, "poison": 0}
    assert replayed(world, consumer, "contract") == Result(3, 3)
    assert consume(consumer, world.settings, TO_THE_END).events == {"ok": 3, "duplicate": 0, "poison": 0}

    index = command(world, "dlq", "ls", consumer.name, "--json")
    assert (index["dead_letters"], index["open"], index["came_back"], index["replayed"]) == (7, 2, 1, 5)
    assert replayed(world, consumer, "contract") == Result(0, 0)

    # A second replay stores nothing twice, though these events have no id of their own.
    assert replayed(world, consumer, "contract", again=True) == Result(5, 5)
    assert consume(consumer, world.settings, TO_THE_END).events == {"ok": 0, "duplicate": 5, "poison": 0}
    stored = world.stored()
    assert sorted(hit["_source"]["level"] for hit in stored) == [*range(8), *range(500, 505)]
    origins = {dead_letter.key.decode() for dead_letter in world.dead_letters()}
    assert {hit["_id"] for hit in stored if hit["_source"]["level"] >= 500} < origins


# --from-time


def rewound(since: datetime) -> ConsumeOptions:
    return ConsumeOptions(until_caught_up=True, rewind=Rewind(since))


def test_from_time_reads_again_once_and_says_what_is_gone(
    world: Any, event: Any, admin: KafkaAdminClient, wait_until: Any
) -> None:
    world.send([event(number) for number in range(400)])
    time.sleep(0.05)  # the boundary lies between two milliseconds
    since = datetime.now(UTC)
    world.send([event(number) for number in range(400, 600)])
    assert consume(world.consumer, world.settings, TO_THE_END).events["ok"] == 600

    plan = back.plan(world.settings.kafka, world.consumer, Rewind(since))
    assert [(part.start, part.end, part.again, part.available_from) for part in plan.partitions] == [
        (100, 150, 50, None)
    ] * 4
    assert consume(world.consumer, world.settings, rewound(since)).events["duplicate"] == 200
    assert consume(world.consumer, world.settings, rewound(since)).events["duplicate"] == 200  # it was through
    later = rewound(datetime.now(UTC) + timedelta(hours=1))
    assert consume(world.consumer, world.settings, later).events["duplicate"] == 0

    # Records that nobody has read yet are never skipped, whatever the instant.
    world.send([event(number) for number in range(600, 640)])
    assert consume(world.consumer, world.settings, later).events["ok"] == 40

    # A supervisor's restart with the same arguments goes on instead of beginning again.
    process = world.start("--from-time", since.isoformat(), "--http-port", "0")
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_events_total") == 240, "read again")
    wait_until(lambda: sum(world.committed().values()) == 640, "committed")
    with pytest.raises(Terminal, match=r"1 members of group .* are running"):
        consume(world.consumer, world.settings, rewound(since - timedelta(seconds=1)))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    process = world.start("--from-time", since.isoformat(), "--http-port", "0")
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_assigned_partitions") == 4, "started again")
    assert [
        line for line in world.log(process) if line["event"] == "already rewound to this instant; going on from there"
    ]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert sum(world.committed().values()) == 640

    # Retention has deleted a part of what is asked for.
    admin.delete_records({TopicPartition(world.consumer.topic, 2): 120})
    long_ago = (since - timedelta(days=1)).isoformat()
    text = command(world, "consume", world.consumer.name, "--from-time", long_ago, "--dry-run")
    lines = [line for line in text.splitlines() if line.startswith("  partition")]
    assert ["older than" in line for line in lines] == [False, False, True, False]
    assert "partition 2: offset 120 of 120 to 160, 40 again" in lines[2]
    process = world.start("--from-time", long_ago, "--until-caught-up", "--json", "--http-port", "0")
    output, _ = process.communicate(timeout=60)
    assert json.loads(output)["events"] == {"ok": 0, "duplicate": 520, "poison": 0}
    (told,) = (line for line in world.log(process) if "retention has deleted" in line["event"])
    assert (told["consumer"], told["partition"], told["offset"]) == (world.consumer.name, 2, 120)
    assert datetime.fromisoformat(told["available_from"]) >= since
    assert len(world.stored()) == 640


# Several consumers in one process


@pytest.fixture
def other(world: Any, admin: KafkaAdminClient) -> Iterator[Consumer]:
    """A second consumer beside the world's, which stops early at broken records."""
    name = f"b-{world.consumer.name}"
    limit = "dead_letters=DeadLetterLimit(consecutive=20)"
    (world.content / "consumers" / f"{name.replace('-', '_')}.py").write_text(
        "from fleetgauge.ingest import Consumer, DeadLetterLimit\n"
        f"consumer = Consumer({name!r}, {name!r}, ('location',), {name!r}, {limit})\n"
    )
    admin.create_topics([NewTopic(name, 4, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
    yield Consumer(name, name, ("location",), name, dead_letters=DeadLetterLimit(consecutive=20))
    admin.delete_topics(sorted(set(admin.list_topics()) & {name, f"{name}.dlq"}))
    for index in world.ask("GET", f"/{name}-*/_alias"):
        world.ask("DELETE", f"/{index}")
    world.bulk.request("DELETE", f"/_index_template/fleetgauge-{name}", None)


def test_two_consumers_in_one_process_share_metrics_and_end_together(
    world: Any, event: Any, other: Consumer, wait_until: Callable[..., Any]
) -> None:
    process = world.start(other.name, "--http-port", "0")
    ports = wait_until(
        lambda: [line["port"] for line in world.log(process) if line["event"] == "serving metrics"], "serving"
    )
    base = f"http://127.0.0.1:{ports[0]}"
    ready = f"{other.name}: ok\n{world.consumer.name}: ok\n"
    wait_until(lambda: httpx.get(f"{base}/readyz").text == ready, "both ready")
    for path in ("readyz", "healthz"):
        answer = httpx.get(f"{base}/{path}")
        assert (answer.status_code, answer.text) == (200, ready)
    world.send([event(number) for number in range(200)])
    beside = replace(world, consumer=other)
    beside.send([event(number) for number in range(1000, 1100)])
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_events_total") == 300, "both at work")
    assert world.metric(process, "fleetgauge_ingest_append_to_ack_seconds_count") > 0
    assert world.metric(process, "fleetgauge_ingest_build_info") == 2

    wait_until(lambda: sum(world.committed().values()) == 200 and sum(beside.committed().values()) == 100, "committed")
    shown = command(
        world, "top", "--url", f"{base}/metrics", "--url", "http://127.0.0.1:1/metrics", "--interval", "0.2", "--json"
    )
    second, first, down = shown
    assert (first["consumer"], first["events"]["ok"], first["assigned"]) == (world.consumer.name, 200, 4)
    assert (second["consumer"], second["events"]["ok"], second["state"]) == (other.name, 100, "ok")
    assert first["events_per_second"] == 0 and first["url"] == f"{base}/metrics"
    assert down["consumer"] == "" and down["state"].startswith("down: ")
    plain = command(world, "top", "--url", f"{base}/metrics", "--interval", "0.2", "--once")
    assert [line.split()[0] for line in plain.splitlines()] == ["consumer", other.name, world.consumer.name]

    world.send([event(number) for number in range(200, 300)])
    beside.send([b"broken"] * 100)
    process.communicate(timeout=60)
    assert process.returncode == 70
    last = world.stderr(process).splitlines()[-1]
    assert "records in a row are broken" in last and other.topic in last
    failed = [line for line in world.log(process) if line["event"] == "failed"]
    assert [(line["consumer"], line["exit_code"]) for line in failed] == [(other.name, 70)]
    ended = [line for line in world.log(process) if line["event"] == "ended"]
    assert [line["consumer"] for line in ended] == [world.consumer.name] and ended[0]["drained"]
    assert len(world.stored()) == sum(world.committed().values())
    assert sum(beside.committed().values()) == 100 and not beside.dead_letters()

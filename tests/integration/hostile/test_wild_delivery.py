"""What happens between a consumer and its servers: other versions of it, proxies that answer, topics that go away."""

import json
import signal
from typing import Any

import httpx
import ingest_world
import pytest
from command_line import in_process
from fault_table import fault
from ingest_world import ROOT, TO_THE_END, World, wait_until
from kafka import KafkaAdminClient

from fleetgauge.commands.pages import ElasticsearchDocuments
from fleetgauge.errors import Transient
from fleetgauge.ingest.deadletters.dead_letter_sink import ensure_topic
from fleetgauge.ingest.indices.event_indices import Indices
from fleetgauge.ingest.operate.launch import consume, contracts_of
from fleetgauge.rollup.operating.doctor import documents as documents_of
from fleetlab.faults import Fault, FaultProxy

world, event = ingest_world.world, ingest_world.event_


def doctor(world: World, about: str) -> list[dict[str, Any]]:
    _, out, err = in_process("doctor", "--json", FLEETGAUGE_CONTENT=str(world.content))
    assert "Traceback" not in err
    return [found for found in json.loads(out)["findings"] if found["about"] == about]


def newer_content(world: World) -> None:
    """From now on the contract of locations has a field more, and a higher version."""
    schemas = world.content / "schemas"
    schemas.unlink()
    for path in sorted((ROOT / "schemas").rglob("*.json")):
        made = schemas / path.relative_to(ROOT / "schemas")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(path.read_text())
    path = schemas / "events" / "location.json"
    contract = json.loads(path.read_text())
    contract["properties"]["shine"] = {"type": "integer"}
    path.write_text(json.dumps(contract))


def older_content(world: World) -> None:
    schemas = world.content / "schemas"
    for path in sorted(schemas.rglob("*.json")):
        path.write_text((ROOT / "schemas" / path.relative_to(schemas)).read_text())


@fault(
    "A consumer of an older version restarts after a newer one",
    number="right: its index template stays the newer one, and new days have every field",
    freshness="ok",
    doctor="warn: the template is of a newer version, with the fields that this content lacks",
    exporter="`fleetgauge_ingest_index_template_newer` 1",
    exit_code="0",
)
def test_an_older_consumer_takes_no_field_away(world: World, event: Any) -> None:
    newer_content(world)
    newer = Indices(world.bulk, world.consumer.index, contracts_of(world.settings, world.consumer))
    assert newer.prepare() == []
    older_content(world)
    world.send([event(number) for number in range(300)])
    process = world.start("--http-port", "0")
    wait_until(lambda: world.metric(process, "fleetgauge_ingest_events_total") == 300, "all are stored")
    assert world.metric(process, "fleetgauge_ingest_index_template_newer") == 1
    (told,) = (line for line in world.log(process) if "of a newer version than this consumer" in line["event"])
    assert told["newer"] == ["shine"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, world.stderr(process)
    (said,) = doctor(world, f"index template of {world.consumer.index}")
    assert said["status"] == "warn" and said["said"].endswith("which lacks shine")
    fields = world.ask("GET", f"/{world.consumer.index}/_mapping")
    assert len(fields) == 3
    assert all("shine" in day["mappings"]["properties"] for day in fields.values())


@fault(
    "Something in between answers 200 with half of the answer, or without its body, while a consumer starts",
    number="right: it waits, and goes on by itself",
    freshness="error once the next window is overdue",
    doctor="fail: what was answered is not what Elasticsearch says",
    exporter="readyz 503",
    exit_code="0, or 75 after half a minute",
)
@pytest.mark.parametrize("garbled", [Fault.TRUNCATED, Fault.EMPTY])
def test_a_start_waits_until_answers_are_whole(
    world: World, event: Any, garbled: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send([event(number) for number in range(200)])
    with FaultProxy(world.settings.elasticsearch.url) as proxy:
        monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__URL", proxy.url)
        proxy.break_down(garbled)
        process = world.start("--until-caught-up", "--json")
        wait_until(
            lambda: [line for line in world.log(process) if line["event"] == "waiting for Elasticsearch"], "it waits"
        )
        assert "not what Elasticsearch says" in world.stderr(process)
        (said,) = doctor(world, f"index template of {world.consumer.index}")
        assert said["status"] == "fail" and "not what Elasticsearch says" in said["said"]
        proxy.heal()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, world.stderr(process)
    assert json.loads(output)["events"]["ok"] == 200 == len(world.stored())
    assert "Traceback" not in world.stderr(process)


@fault(
    "Something in between answers 200 with a page of HTML, or with half of a bulk answer",
    number="right: nothing is committed, and a restart finishes it",
    freshness="error once the next window is overdue",
    doctor="fail: the server is not Elasticsearch",
    exporter="overdue; the consumer's series end",
    exit_code="consume 70",
)
@pytest.mark.parametrize(
    ("garbled", "once", "told"),
    [
        (Fault.HTML, False, "is not Elasticsearch; check elasticsearch.url"),
        (Fault.HTML, True, "a bulk answer cannot be read"),
        (Fault.TRUNCATED, True, "a bulk answer cannot be read"),
        (Fault.EMPTY, True, "a bulk answer cannot be read"),
    ],
)
def test_an_answer_of_something_else_stops_and_nothing_is_committed(
    world: World, event: Any, garbled: Fault, once: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`once`: the first bulk request alone meets it; else every request does, from the start on."""
    world.send([event(number) for number in range(200)])
    with FaultProxy(world.settings.elasticsearch.url) as proxy:
        monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__URL", proxy.url)
        if once:
            proxy.inject(garbled)
        else:
            proxy.break_down(garbled)
        process = world.start("--until-caught-up")
        process.communicate(timeout=60)
        assert process.returncode == 70, world.stderr(process)
        assert told in world.stderr(process).splitlines()[-1] and "Traceback" not in world.stderr(process)
        assert not sum(world.committed().values()) and proxy.applied[garbled] >= 1
        proxy.heal()
        events = consume(world.consumer, world.settings, TO_THE_END).events
    assert events["ok"] + events["duplicate"] == 200 == len(world.stored())
    assert sum(world.committed().values()) == 200


@fault(
    "The dead-letter topic is deleted while a consumer runs",
    number="right up to the first record that must go there; nothing of its partition behind it",
    freshness="late, then error",
    doctor="the dead-letter topic does not exist yet",
    exporter="readyz 503, with the topic; lag of the partition grows",
    exit_code="0: it goes on as soon as the topic is there",
)
def test_a_dead_letter_topic_that_is_away_is_told_by_readyz(world: World, event: Any) -> None:
    process = world.start("--http-port", "0")
    port = wait_until(
        lambda: next((line["port"] for line in world.log(process) if line["event"] == "serving metrics"), None),
        "serves",
    )

    def ready() -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10)

    wait_until(lambda: ready().status_code == 200, "it is ready")
    admin = KafkaAdminClient(bootstrap_servers=world.settings.kafka.bootstrap_servers)
    admin.delete_topics([world.consumer.dead_letter_topic])
    wait_until(lambda: world.consumer.dead_letter_topic not in admin.list_topics(), "the topic has gone")
    admin.close()
    world.send([event(0), b"broken", event(2), event(3)])
    wait_until(lambda: ready().status_code == 503, "readyz tells")
    wait_until(lambda: f"written to {world.consumer.dead_letter_topic}" in ready().text, "and says what is away")
    assert world.committed().get(1, 0) == 0
    (said,) = doctor(world, f"topics of {world.consumer.name}")
    assert said["said"].startswith(f"{world.consumer.dead_letter_topic} does not exist yet")
    ensure_topic(world.settings.kafka, world.consumer)
    wait_until(lambda: sum(world.committed().values()) == 4, "it goes on by itself")
    wait_until(lambda: ready().status_code == 200, "it is ready again")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, world.stderr(process)
    assert [dead_letter.value for dead_letter in world.dead_letters()] == [b"broken"]
    assert len(world.stored()) == 3


def test_a_closed_day_of_commands_is_named_unless_the_reader_knows_it(world: World, event: Any) -> None:
    world.send([event(number) for number in range(30)])
    consume(world.consumer, world.settings, TO_THE_END)
    closed = sorted(world.ask("GET", f"/{world.consumer.index}/_alias"))[0]
    world.ask("POST", f"/{closed}/_close")
    with ElasticsearchDocuments(world.settings.elasticsearch) as documents:
        with pytest.raises(Transient, match=rf"index_closed_exception: closed \[{closed}\]") as raised:
            list(documents.pages(world.consumer.index, None))
        assert raised.value.exit_code == 75
        told = list(documents_of(world.settings, world.consumer.index))
        assert [status for status, _, _ in told] == ["fail"]
        assert closed in told[0][1] and f"POST /{closed}/_open" in told[0][2]
        world.ask("POST", f"/{closed}/_open?wait_for_active_shards=1")
        assert sum(len(page.sources) for page in documents.pages(world.consumer.index, None)) == 30
        assert [status for status, _, _ in documents_of(world.settings, world.consumer.index)] == ["ok"]

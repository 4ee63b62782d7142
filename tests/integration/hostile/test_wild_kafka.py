"""What producers and disks do to a topic: codecs, sizes, damage, odd headers."""

import json
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import ingest_world
import pytest
from fault_table import fault
from ingest_world import TO_THE_END, UNLIMITED, World, wait_until
from kafka import KafkaProducer, TopicPartition
from kafka.net.compat import KafkaNetClient
from kafka.protocol.producer import ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from fleetgauge.clock import SystemClock
from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.read import rewind
from fleetgauge.progress.offsets import GroupProgress, read_progress
from silent_peers import frozen

world, event = ingest_world.world, ingest_world.event_
MIB = 2**20
_Topic = ProduceRequest.TopicProduceData


def batch_of(values: list[bytes], codec: int = 0, headers: Any = (), first_ms: int | None = None) -> bytes:
    """A record batch as a producer would send it."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 31)
    now = int(time.time() * 1000) if first_ms is None else first_ms
    for value in values:
        builder.append(now, b"k", value, list(headers))
    builder.close()
    return bytes(builder.buffer())


def append(world: World, batch: bytes, partition: int = 0) -> int:
    """Send a batch as it is; returns its first offset."""
    client = KafkaNetClient(bootstrap_servers=world.settings.kafka.bootstrap_servers, client_id="wild")
    try:
        client.check_version(timeout_ms=30_000)
        part = _Topic.PartitionProduceData(index=partition, records=batch)
        request = ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=30_000,
            topic_data=[_Topic(name=world.consumer.topic, partition_data=[part])],
            min_version=3,
            max_version=9,
        )
        deadline = time.monotonic() + 30
        while True:
            node = client.least_loaded_node(bootstrap_fallback=True)
            answer = client.send_and_receive(node, request, timeout_ms=30_000)
            (found,) = answer.responses[0].partition_responses
            if found.error_code not in (3, 5, 6) or time.monotonic() > deadline:  # a topic that was made just now
                break
            time.sleep(0.1)
        assert found.error_code == 0, found
        return int(found.base_offset)
    finally:
        client.close()


def payload(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def memory(pid: int) -> int:
    """The most that a running process has held so far, bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def ids(world: World) -> set[str]:
    return {hit["_source"]["event"]["id"] for hit in world.stored()}


@fault(
    "Producers use gzip, snappy, lz4 and zstd in one topic",
    number="right",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_every_codec_is_read(world: World, event: Any) -> None:
    codecs = [None, "gzip", "snappy", "lz4", "zstd"]
    for number, codec in enumerate(codecs):
        producer = KafkaProducer(
            bootstrap_servers=world.settings.kafka.bootstrap_servers, compression_type=codec, linger_ms=50
        )
        for i in range(200):
            producer.send(world.consumer.topic, value=payload(event(1_000 * number + i)), partition=i % 4)
        producer.flush(30)
        producer.close()
    append(world, batch_of([payload(event(9_000 + i)) for i in range(300)], codec=2))
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 1_300, "duplicate": 0, "poison": 0}


@pytest.mark.parametrize("world", [UNLIMITED], indirect=True)
@fault(
    "A producer sends 240 MiB of JSON in a frame of a mebibyte",
    number="without that record, which is a dead letter",
    freshness="ok",
    doctor="ok",
    exporter="`fleetgauge_ingest_dead_letters_total`, `batch_too_large`",
    exit_code="0",
)
def test_what_was_small_only_while_compressed_does_not_take_the_memory(world: World, event: Any) -> None:
    giant = payload(event(1, more="x" * (240 * MIB)))
    compressed = batch_of([giant], codec=3)
    assert len(compressed) < 1.1 * MIB
    padded = [payload(event(number, more=" " * 100_000)) for number in range(1_000, 1_900)]  # 90 MB of good events
    append(world, batch_of([payload(event(2))]))
    append(world, compressed)
    append(world, batch_of([payload(event(3)), giant[: 120 * MIB], payload(event(4))], codec=4))
    append(world, batch_of(padded, codec=4))
    append(world, batch_of([payload(event(5))]))
    del giant, padded
    process = world.start("--until-caught-up", "--json")
    peak = 0
    while process.poll() is None:  # its own figure would begin with ours
        peak = max(peak, memory(process.pid))
        time.sleep(0.02)
    assert process.returncode == 0, world.stderr(process)
    assert process.stdout is not None
    assert json.loads(process.stdout.read())["events"] == {"ok": 904, "duplicate": 0, "poison": 2}
    assert peak < 400 * MIB
    assert {"e-000002", "e-000003", "e-000004", "e-000005", "e-001000", "e-001899"} <= ids(world)
    dead_letters = world.dead_letters()
    told = [dict(dead_letter.headers) for dead_letter in dead_letters]
    assert [headers["fleetgauge.error_type"] for headers in told] == [b"batch_too_large"] * 2
    assert all(headers["fleetgauge.reason"].startswith(b"decompressed batch too large") for headers in told)
    assert [int(headers["fleetgauge.offset"]) for headers in told] == [1, 3]
    assert dead_letters[0].value[61:] == compressed[61:]  # as it came, so that nothing is lost


@fault(
    "A disk of the broker damages a batch",
    number="without that batch, which is a dead letter",
    freshness="ok",
    doctor="ok",
    exporter="`fleetgauge_ingest_dead_letters_total`, `corrupt_batch`",
    exit_code="0",
)
def test_a_batch_that_a_disk_has_damaged_is_a_dead_letter(world: World, event: Any) -> None:
    append(world, batch_of([payload(event(1))]))
    append(world, batch_of([payload(event(2)), payload(event(3, more="flip-me"))]))
    append(world, batch_of([payload(event(4))]))
    append(world, batch_of([payload(event(5)), payload(event(6, more="flip-me-too"))]), partition=1)
    flip(world, 0, b"flip-me")
    flip(world, 1, b"flip-me-too")
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 2, "duplicate": 0, "poison": 2}
    assert ids(world) == {"e-000001", "e-000004"}
    dead_letters = sorted(world.dead_letters(), key=lambda dead_letter: dead_letter.key)
    assert [dead_letter.key for dead_letter in dead_letters] == [
        f"{world.consumer.topic}-{place}".encode() for place in ("0-1", "1-0")
    ]
    assert dict(dead_letters[0].headers)["fleetgauge.error_type"] == b"corrupt_batch"
    assert b"failed its checksum 3 times" in dict(dead_letters[0].headers)["fleetgauge.reason"]
    assert b"e-000002" in dead_letters[0].value and b"e-000003" in dead_letters[0].value
    assert world.committed() == {0: 4, 1: 2}


def flip(world: World, partition: int, text: bytes) -> None:
    """Damage a byte in the broker's log, as it lies on its disk."""
    home = Path(world.settings_file).parents[1]
    (log,) = home.glob(f"**/{world.consumer.topic}-{partition}/00000000000000000000.log")
    with log.open("r+b") as file:
        at = file.read().index(text)
        file.seek(at)
        file.write(bytes([text[0] ^ 1]))


def transactional(world: World, name: str) -> KafkaProducer:
    producer = KafkaProducer(
        bootstrap_servers=world.settings.kafka.bootstrap_servers,
        transactional_id=f"{world.consumer.name}-{name}",
        linger_ms=5,
    )
    producer.init_transactions()
    return producer


def say(world: World, producer: KafkaProducer, events: list[dict[str, Any]], partition: int) -> None:
    for one in events:
        producer.send(world.consumer.topic, value=payload(one), partition=partition)
    producer.flush(30)


@fault(
    "Producers with transactions: committed, aborted, aborted at the end of a quiet partition",
    number="right",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_a_topic_of_transactions_ends_where_they_end(world: World, event: Any) -> None:
    producer = transactional(world, "a")
    for number in range(3):
        producer.begin_transaction()
        say(world, producer, [event(10 * number + i) for i in range(5)], 0)
        producer.commit_transaction()
    for partition in (0, 1):  # partition 1 never gets anything else
        producer.begin_transaction()
        say(world, producer, [event(900 + i) for i in range(3)], partition)
        producer.abort_transaction()
    producer.close()
    before = datetime.now(UTC)
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.caught_up and summary.events == {"ok": 15, "duplicate": 0, "poison": 0}
    progress = read_progress(world.settings.kafka, world.consumer.topic, world.consumer.group, SystemClock())
    assert {p.partition: (p.committed, p.end) for p in progress.partitions if p.end} == {0: (22, 22), 1: (4, 4)}
    assert progress.lag == 0 and progress.watermark >= before
    again = consume(world.consumer, world.settings, TO_THE_END)
    assert again.caught_up and not sum(again.events.values())


@fault(
    "A transaction stays open",
    number="without what it holds, and not final from its beginning on",
    freshness="late: the watermark stands at its first record",
    doctor="warns: a transaction is open, with the partition",
    exporter="`fleetgauge_ingest_lag_records` 0, the watermark of the topic stands",
    exit_code="0",
)
def test_an_open_transaction_holds_the_watermark_at_its_first_record(world: World, event: Any) -> None:
    def look() -> GroupProgress:
        return read_progress(world.settings.kafka, world.consumer.topic, world.consumer.group, SystemClock())

    world.send([event(i) for i in range(8)])
    producer = transactional(world, "open")
    producer.begin_transaction()
    begun = datetime.now(UTC)
    say(world, producer, [event(100)], 2)
    held = datetime.now(UTC)
    world.send([event(200 + i) for i in range(4)])  # in partition 2 behind the open transaction
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 11, "duplicate": 0, "poison": 0}
    progress = look()
    assert progress.lag == 0
    assert [p.unstable for p in progress.partitions] == [0, 0, 2, 0]
    slack = timedelta(milliseconds=2)
    assert begun - slack <= progress.watermark <= held
    producer.commit_transaction()
    producer.close()
    assert look().lag == 3 and begun - slack <= look().watermark <= held
    again = consume(world.consumer, world.settings, TO_THE_END)
    assert again.events == {"ok": 2, "duplicate": 0, "poison": 0}
    assert look().lag == 0 and look().watermark > held


def test_going_back_to_the_end_does_not_pass_an_open_transaction(world: World, event: Any) -> None:
    world.send([event(i) for i in range(4)])
    producer = transactional(world, "open")
    producer.begin_transaction()
    say(world, producer, [event(100)], 1)
    plan = rewind.plan(world.settings.kafka, world.consumer, rewind.Rewind(datetime.now(UTC) + timedelta(hours=1)))
    assert [part.start for part in plan.partitions] == [1, 1, 1, 1]
    producer.abort_transaction()
    producer.close()


@fault(
    "Header names that are not UTF-8, null or huge header values, the same name twice",
    number="right",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0",
)
def test_odd_headers_disturb_nobody(world: World, event: Any) -> None:
    odd = [("naXme", b"1"), ("naXme", None), ("naXme", b"2"), ("huge", b"x" * 300_000), ("", b"")]
    plain = batch_of([payload(event(1)), b"not JSON", payload(event(2))], headers=odd)
    batch = bytearray(plain.replace(b"naXme", b"na\xffme"))
    batch[17:21] = calc_crc32c(memoryview(batch)[21:]).to_bytes(4, "big")
    append(world, batch_of([payload(event(3))]))
    append(world, bytes(batch))
    append(world, batch_of([payload(event(4 + i)) for i in range(3)], headers=[("h", b"%d" % i) for i in range(5_000)]))
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 6, "duplicate": 0, "poison": 1}
    (dead_letter,) = world.dead_letters()
    assert dead_letter.value == b"not JSON"
    assert [value for name, value in dead_letter.headers if name == "na\\xffme"][:1] == [b"1"]
    assert dict(dead_letter.headers)["huge"] == b"x" * 300_000


def test_good_records_before_one_of_another_format_are_stored(
    world: World, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No broker of today hands out the format of 0.10: here the library's reader finds one."""
    from kafka.errors import CorruptRecordError
    from kafka.record.default_records import DefaultRecordBatch

    from fleetgauge.errors import Stop

    append(world, batch_of([payload(event(1))]))
    append(world, batch_of([payload(event(2))]))
    magic = DefaultRecordBatch.magic
    monkeypatch.setattr(
        DefaultRecordBatch, "magic", property(lambda batch: 1 if batch.base_offset == 1 else magic.fget(batch))
    )
    with pytest.raises(Stop, match=r"offset 1 has the format of Kafka 0.10") as stopped:
        consume(world.consumer, world.settings, TO_THE_END)
    assert isinstance(stopped.value.__cause__, CorruptRecordError)
    assert ids(world) == {"e-000001"}
    assert world.committed()[TopicPartition(world.consumer.topic, 0).partition] == 1


@fault(
    "Kafka's brokers freeze, or the network to them takes connections and passes nothing on",
    number="right: what comes later is stored when they answer again",
    freshness="late, then error",
    doctor="fail: Kafka gives no answer",
    exporter="readyz 503, and `fleetgauge_ingest_kafka_silent_seconds`; lag stays as it was",
    exit_code="0: it goes on by itself, and ends when asked to",
)
def test_brokers_that_say_nothing_are_told_of(world: World, event: Any) -> None:
    world.send([event(0)])
    process = world.start("--http-port", "0")
    port = wait_until(
        lambda: next((line["port"] for line in world.log(process) if line["event"] == "serving metrics"), None),
        "serves",
    )

    def said(path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10)

    wait_until(
        lambda: said("/readyz").status_code == 200 and sum(world.committed().values()) == 1, "it has stored the first"
    )
    broker = int(world.settings.kafka.brokers[0].rpartition(":")[2])
    with frozen(broker):
        wait_until(lambda: "Kafka has not answered for" in said("/readyz").text, "readyz tells")
        silent = re.search(r"^fleetgauge_ingest_kafka_silent_seconds.* ([\d.]+)$", said("/metrics").text, re.M)
        assert silent is not None and float(silent[1]) >= 20
        assert said("/healthz").status_code == 200
    wait_until(lambda: said("/readyz").status_code == 200, "it is ready again")
    world.send([event(1)])
    wait_until(lambda: sum(world.committed().values()) == 2, "it goes on by itself")
    with frozen(broker):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, world.stderr(process)

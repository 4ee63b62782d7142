"""Whatever a payload holds, it ends as a document or as a dead letter: no crash, no endless retry, no stop."""

import json
import os
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from kafka import KafkaProducer

from fleetgauge.ingest.operate.launch import consume
from fleetgauge.ingest.operate.service import ConsumeOptions
from mutations import mutated

TO_THE_END = ConsumeOptions(until_caught_up=True)
UNLIMITED = "dead_letters=DeadLetterLimit(consecutive=10**9, ratio=1.0)"

STORED = "stored"
EXTRA: dict[str, tuple[str, str]] = {
    # name: text put before the first member of a valid event, and what becomes of it
    "number beyond a double": ('"x":1e400,', STORED),
    "number of 401 digits": ('"x":1' + "0" * 400 + ",", STORED),
    "number of 1,500 digits": ('"x":' + "9" * 1500 + ",", "document_parsing_exception"),
    "negative zero": ('"x":-0,"y":-0.0,', STORED),
    "number below a double": ('"x":1E-400,', STORED),
    "beyond 64 bits": ('"x":9223372036854775808,"y":18446744073709551616,', STORED),
    "huge exponent": ('"x":1e99999999999,', STORED),
    "not a number": ('"x":NaN,', "not_json"),
    "leading zero": ('"x":01,', "not_json"),
    "key twice": ('"x":1,"x":2,', "document_parsing_exception"),
    "described key twice": ('"speed":1.5,', "document_parsing_exception"),
    "nested key twice": ('"x":{"a":1,"a":2},', "document_parsing_exception"),
    "kind twice": ('"kind":"location",', "document_parsing_exception"),
    "empty key": ('"":1,', "document_parsing_exception"),
    "empty key in a member that is not indexed": ('"x":{"":{"":1}},', STORED),
    "blank key": ('" ":1,', "document_parsing_exception"),
    "dot as key": ('".":1,', "document_parsing_exception"),
    "two dots in a key": ('"a..b":1,', "document_parsing_exception"),
    "key begins with a dot": ('".a":1,', "document_parsing_exception"),
    "metadata field": ('"_id":"a",', "document_parsing_exception"),
    "object in a described number": ('"heading":{"a":1},', "contract"),
    "list in a described number": ('"heading":[1],', "contract"),
    "second spelling of a described member": ('"event.id":"a",', "contract"),
    "object below a described number": ('"speed.x":1,', "document_parsing_exception"),
    "reserved": ('"kafka":{"offset":1},', "contract"),
    "lists in lists": ('"x":' + "[" * 300 + "1" + "]" * 300 + ",", STORED),
    "objects in objects": ('"x":' + '{"a":' * 300 + "1" + "}" * 300 + ",", STORED),
    "1,001 levels": ('"x":' + "[" * 1001 + "1" + "]" * 1001 + ",", "too_deep"),
    "100,000 levels": ('"x":' + "[" * 100_000 + "1" + "]" * 100_000 + ",", "too_deep"),
    "20,000 members": ('"x":{' + ",".join(f'"k{i}":{i}' for i in range(20_000)) + "},", STORED),
    "a key of 35,000 characters": ('"' + "k" * 35_000 + '":1,', STORED),
    "a string of 900,000 characters": ('"x":"' + "x" * 900_000 + '",', STORED),
    "NUL, escaped": ('"x":"\\u0000","\\u0000":1,', STORED),
    "NUL, raw": ('"x":"\x00",', "not_json"),
    "NUL between members": ("\x00", "not_json"),
    "half a surrogate pair": ('"x":"\\ud800",', "not_json"),
    "half a surrogate pair as key": ('"\\udc00":1,', "not_json"),
    "no character": ('"x":"\ufffe\uffff",', STORED),
    "line separators": ('"x":"\u2028\u2029",\r\n\n', STORED),
    "an action line": ('"x":1}\n{"delete":{"_index":"a","_id":"b"}}\n{', "contract"),
    "an action line in a string": ('"x":"}\\n{\\"delete\\":{}}\\n",', STORED),
}


def payloads(event: Any) -> dict[str, tuple[bytes | None, str]]:
    """Name → payload and what becomes of it; each payload has an id of its own."""
    number = iter(range(10_000))

    def text(**changes: Any) -> bytes:
        return json.dumps(event(next(number), **changes)).encode()

    found: dict[str, tuple[bytes | None, str]] = {
        name: (b"{" + extra.encode() + text()[1:], becomes) for name, (extra, becomes) in EXTRA.items()
    }
    return found | {
        "no value": (None, "tombstone"),
        "nothing": (b"", "not_json"),
        "white space": (b" \n ", "not_json"),
        "null": (b"null", "contract"),
        "a list": (b"[" + text() + b"]", "contract"),
        "a string": (b'"location"', "contract"),
        "two events": (text() + text(), "not_json"),
        "byte-order mark": (b"\xef\xbb\xbf" + text(), "not_json"),
        "UTF-16": (text().decode().encode("utf-16"), "not_json"),
        "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not_json"),
        "not UTF-8 in a string": (text(more="@").replace(b"@", b"\xff"), "not_utf8"),
        "overlong UTF-8": (text(more="@").replace(b"@", b"\xc0\xaf"), "not_utf8"),
        "a surrogate in UTF-8": (text(more="@").replace(b"@", b"\xed\xa0\x80"), "not_utf8"),
        "another consumer's kind": (text(kind="command"), "contract"),
        "no kind": (b'{"version":1}', "contract"),
        "kind is a list": (text(kind=["location"]), "contract"),
        "of a newer version": (text(version=2), "contract"),
        "version is a text": (text(version="1"), "contract"),
        "event time beyond 64 bits": (text(timestamp=10**30), "contract"),
        "event time before the epoch": (text(timestamp=-1), "contract"),
        "id with a slash": (text(device={"id": "a/b", "model": "m", "firmware": "1"}), "contract"),
        "id of 65 characters": (text(device={"id": "a" * 65, "model": "m", "firmware": "1"}), "contract"),
        "words longer than ignore_above": (text(trip_id="t", more="é" * 30_000), STORED),
        "white space and line ends": (b"\r\n\t" + text().replace(b", ", b"\n,\r\n") + b"\n\n", STORED),
        "escapes in place of letters": (text().replace(b'"speed"', b'"\\u0073peed"'), STORED),
    }


@pytest.mark.parametrize("world", [UNLIMITED], indirect=True)
def test_hostile_payloads_are_stored_or_dead_lettered_for_what_they_are(
    world: Any, event: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    sent = payloads(event)
    futures = {
        name: world.producer.send(world.consumer.topic, key=b"k", value=value, partition=number % 4)
        for number, (name, (value, _)) in enumerate(sent.items())
    }
    sent_to = {name: (future.get(timeout=30).partition, future.value.offset) for name, future in futures.items()}
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert sum(summary.committed.values()) == len(sent)
    became = dict.fromkeys(positions(world), STORED)
    dead_letters = world.dead_letters()
    stored = len(became)
    for dead_letter in dead_letters:
        found = dict(dead_letter.headers)
        position = int(found["fleetgauge.partition"]), int(found["fleetgauge.offset"])
        became[position] = found["fleetgauge.error_type"].decode()
    assert {name: became[position] for name, position in sent_to.items()} == {
        name: what for name, (_, what) in sent.items()
    }
    assert {dead_letter.value for dead_letter in dead_letters} == {
        value for value, what in sent.values() if what != STORED
    }

    # A second delivery is a duplicate, however odd: with batches this small each is compared with what is stored.
    again = replace(world.consumer, name=f"{world.consumer.name}-again", batch_records=3)
    summary = consume(again, world.settings, TO_THE_END)
    assert summary.events == {"ok": 0, "duplicate": stored, "poison": len(sent) - stored}
    log = capfd.readouterr().out
    assert "caught up" in log and "another document is stored" not in log


@pytest.mark.parametrize("world", [UNLIMITED], indirect=True)
def test_records_that_were_small_only_while_compressed(world: Any, event: Any) -> None:
    """A topic's limit is about compressed bytes, so a record may be larger than any request may be."""
    mebibyte = 2**20
    large = json.dumps(event(1, more="x" * 20 * mebibyte)).encode()
    beyond = json.dumps(event(2, more="x" * 101 * mebibyte)).encode()
    broken = json.dumps(event(3, more="x" * 33 * mebibyte)).encode()[:-1]
    producer = KafkaProducer(
        bootstrap_servers=world.settings.kafka.bootstrap_servers, compression_type="lz4", max_request_size=2**30
    )
    for value in (large, beyond, broken):
        producer.send(world.consumer.topic, value=value, partition=0).get(timeout=60)
    producer.close()
    world.send([event(number) for number in range(4, 8)])
    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.events == {"ok": 5, "duplicate": 0, "poison": 2}
    dead_letters = {
        dead_letter.value: dict(dead_letter.headers)["fleetgauge.error_type"] for dead_letter in world.dead_letters()
    }
    assert set(dead_letters) == {beyond, broken}
    assert (dead_letters[beyond], dead_letters[broken]) == (b"item_too_large", b"not_json")


@pytest.mark.parametrize("world", [UNLIMITED], indirect=True)
@pytest.mark.parametrize("count", [5_000, pytest.param(200_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_every_mutated_payload_is_stored_or_dead_lettered(world: Any, event: Any, id_of: Any, count: int) -> None:
    seed = int(os.environ.get("FLEETGAUGE_TEST_SEED", random.randrange(2**32)))
    print(f"FLEETGAUGE_TEST_SEED={seed}")  # noqa: T201 (shown when the test fails)
    rng = random.Random(seed)
    futures: list[Any] = []
    payloads = [mutated(rng, event(number)) for number in range(count)]
    for number, payload in enumerate(payloads):
        futures.append(world.producer.send(world.consumer.topic, value=payload, partition=number % 4))
    world.producer.flush(60)
    sent = {(future.value.partition, future.value.offset): at for at, future in enumerate(futures)}
    assert len(sent) == count

    summary = consume(world.consumer, world.settings, TO_THE_END)
    assert summary.drained and sum(summary.committed.values()) == count
    stored = positions(world)
    dead_letters = world.dead_letters()
    types: Counter[bytes] = Counter()
    kinds: Counter[str] = Counter()
    dead_lettered = set()
    for dead_letter in dead_letters:
        found = dict(dead_letter.headers)
        position = int(found["fleetgauge.partition"]), int(found["fleetgauge.offset"])
        assert dead_letter.value == payloads[sent[position]]
        dead_lettered.add(position)
        types[found["fleetgauge.error_type"]] += 1
        kinds[found["fleetgauge.class"].decode()] += 1
    assert not dead_lettered & stored.keys()
    # What is left arrived under an id that was there already: an id itself was damaged.
    ids = set(stored.values())
    left = sent.keys() - dead_lettered - stored.keys()
    assert {id_of(json.loads(payloads[sent[position]])) for position in left} <= ids
    # Two different events that were damaged into one id are rare, and a sample finds them: a collision.
    assert summary.events == {"ok": len(stored), "duplicate": len(left), **kinds}
    assert set(kinds) <= {"poison", "collision"} and kinds["collision"] < 5
    # The damage is neither too mild nor too heavy.
    assert min(len(stored), len(dead_lettered)) > count / 5 and len(types) >= 6


def positions(world: Any) -> dict[tuple[int, int], str]:
    """(partition, offset) → id of every document."""
    world.ask("POST", f"/{world.consumer.index}-*/_refresh")
    found: dict[tuple[int, int], str] = {}
    pit = {"id": world.ask("POST", f"/{world.consumer.index}/_pit?keep_alive=5m")["id"]}
    query: dict[str, Any] = {
        "size": 10_000,
        "pit": pit,
        "_source": False,
        "docvalue_fields": ["kafka.partition", "kafka.offset"],
        "sort": ["_shard_doc"],  # as they lie on disk: in another order each `_id` costs the unpacking of a block
    }
    while hits := world.ask("POST", "/_search?filter_path=hits.hits", query)["hits"]["hits"]:
        for hit in hits:
            fields = hit["fields"]
            found[fields["kafka.partition"][0], fields["kafka.offset"][0]] = hit["_id"]
        query["search_after"] = hits[-1]["sort"]
    world.ask("DELETE", "/_pit", pit)
    return found

"""Names in a valid event that Elasticsearch would take for another field, or for its own."""

import json
from typing import Any

import ingest_world
import pytest
from fault_table import fault
from ingest_world import TO_THE_END, UNLIMITED, World

from fleetgauge.ingest.operate.launch import consume

world, event = ingest_world.world, ingest_world.event_
ODD: dict[str, Any] = {
    "_doc_count": 2_147_483_647,
    "_doc_count.": 5,
    "\\u005fdoc_count": 7,
    "kind.": "battery",
    "kind...": "battery",
    "k\\u0069nd\\u002e": "battery",
    "speed.": 99.5,
    "@timestamp.": 0,
    "timestamp.": 0,
    "kafka.offset.": 3,
    "kafka.offset": 3,
    "kafka.": {"partition": 3},
    "kafka..": {"partition": 3},
    "kafka": {"partition.": 3},
    "event.": {"ingested": 1},
    "event.ingested.": 1,
    "event.id.": "other",
    "device.": {"model": "other"},
    "device.model": "other",
    "network.carrier.": "other",
    "location.": {"lat": 1.0},
    "location.lat": 1.0,
    "geo.": {"location": [1, 2]},
    "geo.location.": [1, 2],
    "": 1,
    " ": 1,
    ".kind": "battery",
    "a..b": 1,
    "kafka. .offset": 1,
    "kafka..offset": 1,
    "_id": "a",
    "_index": "a",
    "_source": {"a": 1},
    "_routing": "a",
    "_field_names": ["kind"],
    "_ignored": ["kind"],
    "_ignored_source": "a",
    "_tier": "hot",
    "_version": 5,
    "_seq_no": 5,
    "_nested_path": "kind",
    "_tsid": "a",
    "_ts_routing_hash": "a",
    "_inference_fields": {},
    "_feature": {"a": 1},
    "_data_stream_timestamp": {},
    "_size": 5,
    "_type": "a",
    "_none_of_these": 1,
    "speed ": 99.5,
}
"""Name as it is written → value."""
WITHIN: dict[str, tuple[str, Any]] = {
    "id.": ("event", "other"),
    "ingested": ("event", 1),
    "ingested.": ("event", 1),
    "model.": ("device", "other"),
    "carrier..": ("network", "other"),
    "lat.": ("location", 1.0),
}
"""Name → the described object that holds it, and the value."""
SINGLE = ("kind", "speed", "@timestamp", "kafka.partition", "kafka.offset", "event.ingested", "device.model")


@pytest.mark.parametrize("world", [UNLIMITED], indirect=True)
@fault(
    "A valid event also holds `_doc_count`, or a name that Elasticsearch reads as a described or reserved one",
    number="right, without such events, which are dead letters",
    freshness="ok",
    doctor="ok",
    exporter="`fleetgauge_ingest_dead_letters_total`, `contract` or `document_parsing_exception`",
    exit_code="0",
)
def test_no_name_gives_a_field_a_second_value_or_counts_a_document_twice(world: World, event: Any) -> None:
    values = [json.dumps(event(n)).encode() for n in range(20)]
    for name, value in ODD.items():
        values.append(b'{"%s": %s, ' % (name.encode(), json.dumps(value).encode()) + with_text(event(len(values)))[1:])
    for name, (parent, value) in WITHIN.items():
        whole = event(len(values))
        whole[parent] = {**whole[parent], name: value}
        values.append(json.dumps(whole).encode())
    world.send(values)
    summary = consume(world.consumer, world.settings, TO_THE_END)
    stored = world.stored()
    assert summary.events["ok"] == len(stored) >= 20
    query = {"size": 1_000, "_source": False, "docvalue_fields": [*SINGLE], "aggs": {"k": {"terms": {"field": "kind"}}}}
    answer = world.ask("POST", f"/{world.consumer.index}/_search", query)
    for hit in answer["hits"]["hits"]:
        assert {name: len(hit["fields"][name]) for name in SINGLE} == dict.fromkeys(SINGLE, 1), hit
    (bucket,) = answer["aggregations"]["k"]["buckets"]
    assert bucket == {"key": "location", "doc_count": len(stored)}
    refused = {json.loads(dead_letter.value)["event"]["id"] for dead_letter in world.dead_letters()}
    kept = [name for number, name in enumerate([*ODD, *WITHIN], 20) if f"e-{number:06d}" not in refused]
    print(kept)  # noqa: T201
    assert set(kept) == {"_none_of_these", "speed "}


def with_text(value: Any) -> bytes:
    return json.dumps(value).encode()

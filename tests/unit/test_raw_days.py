"""Which members of events become which columns, and what stays away unless it is asked for."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from fleetgauge.contracts import ContractSet, load
from fleetgauge.errors import Terminal
from fleetgauge.raw_days import raw_columns

CONTRACTS = load(Path(__file__).parents[2] / "schemas" / "events")
EVENT = {
    "kind": "location",
    "version": 1,
    "event": {"id": "e-1", "action": "location", "dataset": "device.location"},
    "device": {"id": "sc-1", "model": "m", "firmware": "1.0"},
    "timestamp": 1_795_222_805_123,
    "network": {"carrier": "skt", "sim": "8982"},
    "message": {"bytes": 96, "direction": "uplink"},
    "location": {"lat": 37.5, "lng": 127},
    "speed": 4,
    "news": {"of": ["a", 1]},
    "device_more": None,
    "@timestamp": 1_795_222_805_123,
    "event.ingested": 1_795_222_806_000,
    "kafka.partition": 3,
    "kafka.offset": 2**40,
    "geo.location": [127, 37.5],
}


def test_every_member_is_in_its_column_and_nothing_is_lost() -> None:
    (row,) = raw_columns([CONTRACTS["location"]], personal=True).batch([EVENT]).to_pylist()
    plain = raw_columns([CONTRACTS["location"]], personal=True)
    assert (row["device_id"], row["message_bytes"], row["speed"], row["location_lng"]) == ("sc-1", 96, 4.0, 127.0)
    assert (row["kafka_partition"], row["kafka_offset"]) == (3, 2**40)
    assert row["timestamp"].timestamp() == 1_795_222_805.123 and row["ingested_at"].microsecond == 0
    assert json.loads(row["other"]) == {"news": {"of": ["a", 1]}, "device_more": None}
    assert plain.schema.field("timestamp").type == pa.timestamp("ms", tz="UTC")


def test_what_is_short_lived_or_names_a_person_stays_away() -> None:
    short = {path for one in CONTRACTS.values() for path in one.short_lived}
    assert "location" in {path.split(".")[0] for path in short}
    names = raw_columns([CONTRACTS["location"]], personal=False).schema.names
    assert not [name for name in names if name.startswith("location")] and "other" not in names
    assert {"device_id", "speed", "network_sim"} <= set(names)


def test_all_contracts_of_a_consumer_fit_into_one_table() -> None:
    kinds = ("location", "battery", "device_error", "tip_over", "odometer")
    ContractSet([CONTRACTS[kind] for kind in kinds])
    columns = raw_columns([CONTRACTS[kind] for kind in kinds], personal=False)
    assert columns.schema.names[:4] == ["kind", "timestamp", "device_id", "event_id"]
    assert columns.batch([]).num_rows == 0
    examples = [dict(one) for kind in kinds for one in CONTRACTS[kind].examples]
    assert columns.batch(examples).num_rows == len(examples)


def test_a_value_that_a_column_does_not_hold_is_refused() -> None:
    columns = raw_columns([CONTRACTS["location"]], personal=False)
    with pytest.raises(Terminal, match="message_bytes"):
        columns.batch([{**EVENT, "message": {"bytes": 2**63}}])

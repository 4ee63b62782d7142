"""Valid events keep their contracts, broken ones break them: checked by jsonschema, not by the pipeline."""

import json
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from fleetlab.simulator.faults import FAULTS, OUT_OF_TIME, damaged
from fleetlab.simulator.records import DUPLICATE, VALID, Record

SCHEMAS = Path(__file__).parents[3] / "schemas" / "events"
DAY_MS = 86_400_000


@lru_cache(maxsize=1)
def validators() -> dict[str, Draft202012Validator]:
    """A validator for each kind."""
    files = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(schema)) for name, schema in files.items()
    )
    return {
        name.removesuffix(".json"): Draft202012Validator(schema, registry=registry) for name, schema in files.items()
    }


def keeps_contract(value: bytes | None) -> bool:
    """Is it JSON of a known kind that its contract accepts?"""
    try:
        body = json.loads((value or b"").decode())
    except ValueError:
        return False
    kind = body.get("kind")
    return kind in validators() and kind != "common" and validators()[kind].is_valid(body)


def in_time(record: Record) -> bool:
    """Is its timestamp at most 7 days before and 10 minutes after its append time?"""
    at = json.loads(record.value or b"null")["timestamp"]
    return -7 * DAY_MS <= at - record.append_ms <= 600_000


def test_valid_events_keep_their_contracts_and_the_time_range(small_backlog: list[Record]) -> None:
    valid = [r for r in small_backlog if r.fault in (VALID, DUPLICATE)]
    rare = [r for r in valid if r.kind in ("tip_over", "device_error", "odometer")][:300]
    sample = [*valid[::40], *rare]
    assert {r.kind for r in sample} == validators().keys() - {"common"}
    for record in sample:
        assert keeps_contract(record.value), record
        assert in_time(record), record
        body = json.loads(record.value or b"")
        assert (body["event"]["id"], body["device"]["id"], body["timestamp"]) == (
            record.event_id, record.device, record.event_ms,
        )  # fmt: skip
        message = body.get("message", {"bytes": 0, "direction": ""})
        assert (message["bytes"], message["direction"]) == (record.nbytes, record.direction)


def test_telemetry_weighs_about_400_bytes(small_backlog: list[Record]) -> None:
    sizes = [len(r.value or b"") for r in small_backlog if r.fault == VALID and r.topic == "device-events"]
    assert 350 <= sum(sizes) / len(sizes) <= 450


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_records_are_broken(fault: str, small_backlog: list[Record]) -> None:
    valid = [r for r in small_backlog if r.fault == VALID]
    by_kind: dict[str, list[Record]] = {}
    for record in valid[::20]:
        by_kind.setdefault(record.kind, []).append(record)
    rng = random.Random(7)
    for records in by_kind.values():
        for record in records[:40]:
            broken = record._replace(value=damaged(fault, record, f"{record.event_id}.x", rng))
            if fault in OUT_OF_TIME:
                assert keeps_contract(broken.value), "only its time is wrong"
                assert not in_time(broken)
            else:
                assert not keeps_contract(broken.value)


def test_both_topics_have_broken_records_in_small_number(small_backlog: list[Record]) -> None:
    broken = [r for r in small_backlog if r.fault not in (VALID, DUPLICATE)]
    extra = [r for r in broken if r.event_id.endswith(".x")]  # the others are what unkindness makes
    assert {r.topic for r in extra} == {"device-events", "device-commands"}
    assert 1 / 3_000 < len(extra) / len(small_backlog) < 1 / 600
    assert all(r.attempt is None for r in broken)
    for record in broken:
        assert not keeps_contract(record.value) or not in_time(record)

"""Contracts that somebody wrote without thinking of the worst value."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import ingest_world
import pytest
from fault_table import fault
from ingest_world import ROOT, TO_THE_END, World

from fleetgauge.contracts.subset import ContractError
from fleetgauge.ingest.operate.launch import consume

world, event = ingest_world.world, ingest_world.event_


def tag_fits(world: World, rule: dict[str, Any]) -> None:
    """From now on locations may carry a `tag` by this rule."""
    schemas = world.content / "schemas"
    if schemas.is_symlink():
        schemas.unlink()
        for path in sorted((ROOT / "schemas").rglob("*.json")):
            made = schemas / path.relative_to(ROOT / "schemas")
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(path.read_text())
    path = schemas / "events" / "location.json"
    contract = json.loads(path.read_text())
    contract["properties"]["tag"] = {"type": "string", **rule}
    path.write_text(json.dumps(contract))


@fault(
    "A contract's pattern has two ways through one loop, and a device sends the value that tries all of them",
    number="right: such a contract is refused; with one that is accepted the value is a dead letter at once",
    freshness="ok",
    doctor="fail of the consumer, while the contract is refused",
    exporter="the consumer does not start; else dead letters",
    exit_code="78 of lint and consume",
)
def test_no_pattern_stalls_a_consumer(world: World, event: Any) -> None:
    tag_fits(world, {"pattern": "^([a-z]+-?)+$", "maxLength": 200})
    with pytest.raises(ContractError, match=r"location\.json at tag: pattern .* could stall a consumer"):
        consume(world.consumer, world.settings, TO_THE_END)
    linted = subprocess.run(
        [sys.executable, "-m", "fleetgauge", "lint"],
        env={**os.environ, "FLEETGAUGE_CONTENT": str(world.content)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert linted.returncode == 78 and "could stall a consumer" in linted.stdout + linted.stderr
    tag_fits(world, {"pattern": "^([a-z]+-)*[a-z]+$", "maxLength": 200})
    short, long = "a" * 199 + "!", "a" * 200_000 + "!"
    world.send([event(1, tag="left-front"), event(2, tag=short), event(3, tag=long), event(4)])
    began = time.monotonic()
    events = consume(world.consumer, world.settings, TO_THE_END).events
    assert time.monotonic() - began < 30
    assert (events["ok"], events["poison"]) == (2, 2)
    assert {one["_source"]["event"]["id"] for one in world.stored()} == {"e-000001", "e-000004"}
    assert len(world.dead_letters()) == 2

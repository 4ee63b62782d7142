"""An event kind of another trade needs a contract, a consumer file, and no line of engine code."""

import json
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.ingest.consumer import load_consumer

ID = {"type": "string", "minLength": 1, "maxLength": 40, "pattern": "^[A-Za-z0-9._-]+$"}
READING: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "temperature_reading",
    "description": "What a probe in a cold store measured.",
    "type": "object",
    "required": ["kind", "version", "event", "device", "timestamp", "store", "celsius"],
    "properties": {
        "kind": {"const": "temperature_reading"},
        "version": {"type": "integer", "minimum": 1, "maximum": 1},
        "event": {"type": "object", "required": ["id"], "properties": {"id": ID}},
        "device": {"type": "object", "required": ["id"], "properties": {"id": ID}},
        "timestamp": {"type": "integer", "minimum": 0, "maximum": 4102444800000, "format": "epoch_millis"},
        "store": {"type": "string", "minLength": 1, "maxLength": 20},
        "celsius": {"type": "number", "minimum": -90, "maximum": 60, "unit": "Cel", "description": "Of the air."},
        "door_open": {"type": "boolean"},
        "samples": {"type": "array", "items": {"type": "number"}, "maxItems": 8},
    },
}


def reading(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "temperature_reading",
        "version": 1,
        "event": {"id": f"r{number}"},
        "device": {"id": f"probe-{number % 7}"},
        "timestamp": int(time.time() * 1000),
        "store": "busan-2",
        "celsius": -18.5 + number / 100,
        **changes,
    }


def test_a_cold_store_is_content_alone(world: Any, tmp_path: Path) -> None:
    content = tmp_path / "cold-store"
    (content / "schemas" / "events").mkdir(parents=True)
    (content / "consumers").mkdir()
    contract = {**READING, "examples": [reading(0, door_open=True)]}
    (content / "schemas" / "events" / "temperature_reading.json").write_text(json.dumps(contract))
    name = world.consumer.name
    (content / "consumers" / f"{name.replace('-', '_')}.py").write_text(
        "from fleetgauge.ingest import Consumer\n"
        f"consumer = Consumer(name={name!r}, topic={name!r}, contracts=('temperature_reading',), index={name!r})\n"
    )

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, arguments, env={"FLEETGAUGE_CONTENT": str(content)}, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    told = run("lint", "--json")
    assert told["contracts"] == ["temperature_reading"] and told["consumers"] == [name] and not told["problems"]
    assert "temperature_reading.md" in run("contracts", "docs", "--json")["written"]
    page = (content / "docs" / "events" / "temperature_reading.md").read_text()
    assert "| `celsius` | number | yes | ≥ -90, ≤ 60 | Cel | `double` | Of the air. |" in page
    assert f"stored in `{name}-YYYY.MM.DD`" in page
    assert run("contracts", "release", "--json")["released"] == {"temperature_reading": {"from": None, "to": 1}}

    good = [reading(number, samples=[1.5, number], remark="kept") for number in range(500)]
    broken = [
        reading(500, celsius=-300),
        reading(501, store=None),
        reading(502, samples=["cold"]),
        reading(503, kind="location"),
    ]
    world.send([*good[:300], *broken, *good[200:]])
    world.content, world.consumer = content, load_consumer(content, name)
    process = world.start("--until-caught-up", "--json")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, world.stderr(process)
    assert json.loads(output)["events"] == {"ok": 500, "duplicate": 100, "poison": 4}

    stored = {hit["_id"]: hit for hit in world.stored()}
    assert set(stored) == {f"probe-{number % 7}:r{number}" for number in range(500)}
    source = stored["probe-3:r3"]["_source"]
    assert source["celsius"] == good[3]["celsius"] and source["samples"] == [1.5, 3] and source["remark"] == "kept"
    index = stored["probe-3:r3"]["_index"]
    properties = world.ask("GET", f"/{index}/_mapping")[index]["mappings"]["properties"]
    types = {
        field: properties[field].get("type") for field in ("celsius", "store", "door_open", "samples", "timestamp")
    }
    assert types == {
        "celsius": "double", "store": "keyword", "door_open": "boolean", "samples": "double", "timestamp": "date"
    }  # fmt: skip
    assert "geo" not in properties and "remark" not in properties
    coldest = world.ask("POST", f"/{name}/_search", {"size": 0, "aggs": {"t": {"min": {"field": "celsius"}}}})
    assert coldest["aggregations"]["t"]["value"] == -18.5

    dead_letters = world.dead_letters()
    assert sorted(json.loads(dead_letter.value)["event"]["id"] for dead_letter in dead_letters) == [
        "r500",
        "r501",
        "r502",
        "r503",
    ]
    assert {dict(dead_letter.headers)["fleetgauge.error_type"] for dead_letter in dead_letters} == {b"contract"}
    assert dict(dead_letters[0].headers)["fleetgauge.contracts"] == b"temperature_reading=1"

"""What was released stays readable: lint refuses a change that older events or existing indices would not survive."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetgauge.contracts import ContractError, ContractSet, load, released
from fleetgauge.contracts.check import check, unreleased
from fleetgauge.contracts.compatible import changes
from fleetgauge.errors import Terminal

INSTANT = {"type": "integer", "minimum": 0, "maximum": 10**13, "format": "epoch_millis"}
ID = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$"}
HOLDER = {"type": "object", "required": ["id"], "properties": {"id": ID}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A ping.",
    "required": ["kind", "version", "timestamp", "device", "event", "state"],
    "properties": {
        "kind": {"const": "ping"},
        "version": {"type": "integer", "minimum": 1, "maximum": 2},
        "timestamp": INSTANT,
        "device": HOLDER,
        "event": HOLDER,
        "state": {"enum": ["on", "off"]},
        "charge": {"type": "integer", "minimum": 0, "maximum": 100},
        "ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "code": {"type": "string", "maxLength": 8, "pattern": "^[A-Z]+$"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
    },
    "examples": [
        {"kind": "ping", "version": 2, "timestamp": 5, "device": {"id": "d"}, "event": {"id": "e"}, "state": "on"}
    ],
}
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    (tmp_path / "schemas" / "events").mkdir(parents=True)
    put(tmp_path, SCHEMA)
    released.release(tmp_path, load(tmp_path / "schemas" / "events"))
    return tmp_path


def put(content: Path, schema: dict[str, Any], kind: str = "ping") -> None:
    (content / "schemas" / "events" / f"{kind}.json").write_text(json.dumps(schema))


def edited(content: Path, *edits: Edit) -> list[str]:
    """The problems after these changes to the released contract."""
    schema = copy.deepcopy(SCHEMA)
    for edit in edits:
        edit(schema)
    put(content, schema)
    return check(content)[1]


def set_(name: str, **rules: Any) -> Edit:
    return lambda schema: schema["properties"].update({name: {**schema["properties"].get(name, {}), **rules}})


def require(name: str) -> Edit:
    return lambda schema: schema["required"].append(name)


def raise_version(schema: dict[str, Any]) -> None:
    schema["properties"]["version"]["maximum"] = 3


def swap(name: str, old: str, new: str) -> Edit:
    return lambda schema: schema["properties"][name].update({new: schema["properties"][name].pop(old)})


def both(*edits: Edit) -> Edit:
    return lambda schema: [edit(schema) for edit in edits]


@pytest.mark.parametrize(
    ("edit", "path", "what"),
    [
        (require("charge"), "charge", "was optional and is required"),
        (both(set_("new", type="string"), require("new")), "new", "is new and required"),
        (lambda s: s["properties"].pop("code"), "code", "was removed"),
        (set_("charge", type="number"), "charge", "was of type integer and is of type number"),
        (set_("charge", format="epoch_millis"), "charge", "was of type integer and is an instant"),
        (set_("charge", minimum=1), "charge", "has another minimum: it was 0 and is 1"),
        (set_("charge", maximum=99), "charge", "has another maximum: it was 100 and is 99"),
        (set_("ratio", exclusiveMinimum=0.1), "ratio", "minimum: it was 0 (exclusive) and is 0.1 (exclusive)"),
        (swap("ratio", "maximum", "exclusiveMaximum"), "ratio", "maximum: it was 1 and is 1 (exclusive)"),
        (set_("code", maxLength=7), "code", "has another maxLength: it was 8 and is 7"),
        (set_("code", minLength=1), "code", "has another minLength: it was not stated and is 1"),
        (set_("code", pattern="^[A-Z0-9]+$"), "code", "has another pattern"),
        (set_("tags", maxItems=3), "tags", "has another maxItems: it was 4 and is 3"),
        (set_("tags", items={"type": "boolean"}), "tags[]", "was of type string and is of type boolean"),
        (set_("state", enum=["on"]), "state", "lost the value off"),
        (set_("version", maximum=1), "version", "has another maximum: it was 2 and is 1"),
        (
            set_("charge", maximum=2**40),
            "charge",
            "would be long in Elasticsearch, where existing indices have",
        ),
        (lambda s: s["properties"]["device"]["properties"]["id"].update(maxLength=300), "device.id", "other ids"),
    ],
)
def test_what_older_events_would_not_survive_is_refused_at_any_version(
    content: Path, edit: Edit, path: str, what: str
) -> None:
    for edits in ((edit,), (edit, raise_version)):
        if path == "version" and len(edits) > 1:
            continue
        problems = [p for p in edited(content, *edits) if "examples" not in p]
        assert any(p.startswith(f"contract ping.json at {path}") and what in p for p in problems), problems
        assert any("keep what version 2 says" in p for p in problems)
        with pytest.raises(ContractError):
            released.release(content, load(content / "schemas" / "events"))


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (set_("state", enum=["on", "off", "asleep"]), "state"),
        (set_("charge", maximum=200), "charge"),
        (lambda s: s["properties"]["ratio"].pop("maximum"), "ratio"),
        (swap("ratio", "exclusiveMinimum", "minimum"), "ratio"),
        (lambda s: s["properties"]["code"].pop("pattern"), "code"),
        (set_("code", maxLength=16), "code"),
        (lambda s: s["required"].remove("state"), "state"),
    ],
)
def test_what_older_consumers_would_dead_letter_needs_a_higher_version(content: Path, edit: Edit, path: str) -> None:
    (problem,) = edited(content, edit)
    assert problem.startswith(f"contract ping.json at {path}: ")
    assert problem.endswith("raise the maximum of version to 3")
    assert edited(content, edit, raise_version) == []
    assert released.release(content, load(content / "schemas" / "events")) == {"ping": (2, 3)}


def test_an_added_optional_member_is_compatible_and_old_events_still_decode(content: Path) -> None:
    inner = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert edited(content, set_("more", **inner), set_("charge", description="said in other words")) == []
    contracts = load(content / "schemas" / "events")
    assert unreleased(content, contracts) == ["ping"]
    ContractSet(contracts.values()).strict.decode(json.dumps({**SCHEMA["examples"][0], "version": 1}).encode())
    assert released.release(content, contracts, dry_run=True) == {"ping": (2, 2)}
    assert unreleased(content, contracts) == ["ping"]
    released.release(content, contracts)
    assert unreleased(content, contracts) == [] and released.release(content, contracts) == {}
    # From here on the new member is as safe as the others.
    (problem,) = edited(content)
    assert "at more: was removed" in problem


def test_all_problems_are_told_at_once(content: Path) -> None:
    put(content, {**SCHEMA, "examples": []}, "pong")
    problems = edited(content, set_("a.b", type="strin"), set_("charge", minimum="0"))
    assert [problem.partition(":")[0] for problem in problems] == [
        "contract ping.json at charge",
        "contract ping.json",
        "contract ping.json at a.b",
        "contract pong.json at kind",
    ]
    put(content, {**SCHEMA, "examples": []}, "ping")
    (content / "schemas" / "events" / "pong.json").unlink()
    (problem,) = check(content)[1]
    assert problem == "contract ping.json at examples: there is none; add a whole valid event"
    (problem,) = edited(content, lambda s: s["examples"].append({**s["examples"][0], "state": "?"}))
    assert problem.startswith("contract ping.json at examples[1]: breaks its own contract: Invalid enum value '?'")


def test_a_released_kind_may_not_vanish_and_an_unknown_one_not_be_released(content: Path) -> None:
    put(content, {**SCHEMA, "properties": {**SCHEMA["properties"], "kind": {"const": "pong"}}}, "pong")
    contracts = load(content / "schemas" / "events")
    assert released.release(content, contracts, ["pong"]) == {"pong": (None, 2)}
    (content / "schemas" / "events" / "ping.json").unlink()
    problems = check(content)[1]
    assert [p for p in problems if "ping.json: was released and is gone" in p]
    with pytest.raises(Terminal, match="contract pang is not in schemas/events"):
        released.release(content, contracts, ["pang"])


def test_the_release_file_means_what_the_contracts_mean(content: Path) -> None:
    contracts = load(Path(__file__).parents[3] / "schemas" / "events")
    released.release(content, contracts)
    known = released.read(content)
    for kind, contract in contracts.items():
        assert released.schema_of(known[kind].node) == released.schema_of(contract.node)
        assert changes(known[kind], contract) == changes(contract, known[kind]) == []
    (content / released.FILE).write_text('{"ping": {"type": "object", "properties": 1}}')
    (problem,) = [p for p in check(content)[1] if "examples" not in p]
    assert problem.startswith("contract released.json#ping: properties must be an object")

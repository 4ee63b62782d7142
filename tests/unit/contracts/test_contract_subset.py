"""Contracts outside the subset, or against the rules of events, are refused with the location of the problem."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetgauge.contracts import ContractSet, load
from fleetgauge.errors import Terminal

INSTANT = {"type": "integer", "minimum": 0, "maximum": 10**13, "format": "epoch_millis"}
ID = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$"}


def schema(kind: str = "ping", *, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["kind", "version", "timestamp", *required],
        "properties": {
            "kind": {"const": kind},
            "version": {"type": "integer", "minimum": 1, "maximum": 3},
            "timestamp": INSTANT,
            **properties,
        },
    }


def write(folder: Path, **documents: Any) -> Path:
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("member", "complaint"),
    [
        ({"type": "string", "format": "date-time"}, "keyword format is outside"),
        ({"type": "string", "maxlength": 3}, "keyword maxlength is outside"),
        ({"type": "object", "additionalProperties": False}, "keyword additionalProperties is outside"),
        ({"anyOf": []}, "type must be one of"),
        ({"type": ["string", "null"]}, "type must be one of"),
        ({"type": "integer", "format": "int64"}, "the one format is epoch_millis"),
        ({"$ref": "#/$defs/none"}, "names nothing"),
        ({"$ref": "http://else.where/x"}, "must look like"),
        ({"$ref": "#/$defs/x", "minimum": 1}, r"keyword minimum is outside the supported subset beside \$ref"),
        ({"enum": ["a", 1]}, "distinct strings, or distinct integers"),
        ({"const": None}, "distinct strings, or distinct integers"),
        ({"enum": ["a"], "type": "integer"}, "contradicts"),
        ({"type": "string", "pattern": r"^\d+$"}, "may escape punctuation only"),
        ({"type": "string", "pattern": "^(a$"}, "no regular expression"),
        ({"type": "object", "required": ["a"]}, "required names a"),
        (True, "must be an object"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": 0}, "remove one"),
        ({"type": "number", "minimum": "0"}, "minimum is '0'; it must be a number"),
        ({"type": "string", "maxLength": -1}, "maxLength is -1"),
        ({"type": "object", "properties": []}, "properties must be an object"),
    ],
)
def test_refusals_name_file_and_member(tmp_path: Path, member: Any, complaint: str) -> None:
    write(tmp_path, ping=schema(extra=member))
    with pytest.raises(Terminal, match=f"contract ping.json at extra.*{complaint}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("{", "is not JSON"),
        ('{"type": "object", "type": "object"}', "key 'type' occurs twice"),
        ("[]", "is not a JSON object"),
        (schema("pong"), "must be the constant 'ping'"),
        ({**schema(), "required": ["kind", "version"]}, "timestamp must be required"),
        (schema(timestamp={"type": "integer"}), "must be an instant"),
        (schema(version={"type": "integer"}), "must be an integer with a maximum"),
        ({"type": "string"}, "describes no object"),
    ],
)
def test_rules_of_events(tmp_path: Path, document: Any, complaint: str) -> None:
    with pytest.raises(Terminal, match=complaint):
        load(write(tmp_path, ping=document))


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"who": {"type": "string", "subject": "The rider"}}, "at who: subject 'The rider' is no word"),
        ({"who": {"type": "object", "subject": "rider"}}, "at who: subject says whose id it is, and it is no string"),
        ({"who": {"type": "number", "subject": "rider"}}, "at who: subject says whose id it is, and it is no string"),
        ({"at": {**INSTANT, "subject": "rider"}}, "at at: subject says whose id it is, and it is no string"),
        ({"device": {"type": "object", "properties": {"id": {**ID, "subject": "rider"}}}}, "at device.id: an event is"),
        ({"who": {"type": "string", "kept_days": 0}}, "at who: kept_days 0 is no number of days"),
        ({"who": {"type": "string", "kept_days": True}}, "at who: kept_days true is no number of days"),
        ({"timestamp": {**INSTANT, "kept_days": 30}}, "at timestamp: every event is found by it"),
        ({"device": {"type": "object", "kept_days": 30, "properties": {"id": ID}}}, "at device: every event is found"),
        (
            {"l": {"type": "array", "items": {"type": "string", "kept_days": 3}}},
            "at l[]: kept_days is about a whole field",
        ),
    ],
)
def test_persons_and_what_goes_sooner_are_fields_that_can(
    tmp_path: Path, members: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Terminal) as raised:
        load(write(tmp_path, ping=schema(**members)))
    assert complaint in str(raised.value)


def test_persons_are_found_in_objects_lists_and_behind_references(tmp_path: Path) -> None:
    person = {**ID, "subject": "rider"}
    group = {"type": "array", "items": {"type": "object", "properties": {"who": {"$ref": "common.json#/$defs/p"}}}}
    trip = {"type": "object", "kept_days": 30, "properties": {"guest": {**ID, "subject": "guest"}}}
    document = schema(rider=person, group=group, trip=trip)
    found = load(write(tmp_path, ping=document, common={"title": "common", "$defs": {"p": person}}))["ping"]
    assert found.subjects == {"rider": "rider", "group[].who": "rider", "trip.guest": "guest"}
    assert found.short_lived == {"trip": 30}


def test_a_folder_without_contracts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="holds none"):
        load(tmp_path)


def test_references_lead_through_files_and_never_in_circles(tmp_path: Path) -> None:
    common = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "boolean"}, "loop": {"$ref": "#/$defs/loop"}}}
    write(tmp_path, common=common, ping=schema(on={"$ref": "common.json#/$defs/a"}))
    assert load(tmp_path)["ping"].node.properties["on"].type == "boolean"
    write(tmp_path, ping=schema(on={"$ref": "common.json#/$defs/loop"}))
    with pytest.raises(Terminal, match="leads back to itself"):
        load(tmp_path)


def test_events_are_identified_only_by_ids_that_need_no_escaping(tmp_path: Path) -> None:
    def holder(field: Any) -> Any:
        return {"type": "object", "required": ["id"], "properties": {"id": field}}

    safe = schema(required=("device", "event"), device=holder(ID), event=holder(ID))
    loose = schema("pong", required=("device", "event"), device=holder(ID), event=holder({"type": "string"}))
    optional = schema("pung", required=("device",), device=holder(ID), event=holder(ID))
    contracts = load(write(tmp_path, ping=safe, pong=loose, pung=optional))
    assert [contracts[kind].identified for kind in ("ping", "pong", "pung")] == [True, False, False]
    with pytest.raises(Terminal, match="contract pong lacks"):
        ContractSet(contracts[kind] for kind in ("ping", "pong"))


def test_a_single_contract_still_asks_for_its_kind(tmp_path: Path) -> None:
    contracts = ContractSet(load(write(tmp_path, ping=schema())).values())
    with pytest.raises(msgspec.ValidationError, match="kind"):
        contracts.strict.decode(b'{"version": 1, "timestamp": 1}')
    with pytest.raises(msgspec.ValidationError):
        contracts.strict.decode(b'{"kind": "", "version": 1, "timestamp": 1}')


def test_reserved_paths_and_second_spellings_are_refused(tmp_path: Path) -> None:
    ping = schema(event={"type": "object", "properties": {"id": ID}}, **{"class": {"type": "string"}})
    contracts = ContractSet(load(write(tmp_path, ping=ping)).values(), ("@timestamp", "event.ingested", "kafka.offset"))
    event: dict[str, Any] = {
        "kind": "ping",
        "version": 1,
        "timestamp": 1,
        "event": {"id": "a"},
        "class": "x",
        "more": 1,
    }
    contracts.strict.decode(json.dumps(event).encode())
    for extra in (
        {"@timestamp": 1},
        {"kafka": {"offset": 1}},
        {"kafka.offset": 1},
        {"kafka": None},
        {"event.ingested": 1},
        {"event": {"id": "a", "ingested": 1}},
        {"event.id": "b"},
        {"class": 1},
    ):
        with pytest.raises(msgspec.ValidationError):
            contracts.strict.decode(json.dumps({**event, **extra}).encode())


def test_mapping_is_explicit_and_one_type_a_field(tmp_path: Path) -> None:
    ping = schema(
        word={"type": "string"},
        code={"type": "string", "pattern": "^[A-Za-z0-9._-]+$"},
        choice={"enum": ["a", "b"]},
        small={"type": "integer", "minimum": 0, "maximum": 10},
        large={"type": "integer"},
        ratio={"type": "number"},
        on={"type": "boolean"},
        many={"type": "array", "items": {"type": "string"}},
        inner={"type": "object", "properties": {"at": INSTANT}},
    )
    contracts = load(write(tmp_path, ping=ping))
    mapping = ContractSet(contracts.values()).mapping({"kafka.offset": {"type": "long"}})
    properties = mapping["properties"]
    assert mapping["dynamic"] is False
    assert {name: properties[name]["type"] for name in ("word", "choice", "small", "large", "ratio", "on", "many")} == {
        "word": "keyword",
        "choice": "keyword",
        "small": "integer",
        "large": "long",
        "ratio": "double",
        "on": "boolean",
        "many": "keyword",
    }
    assert properties["inner"]["properties"]["at"] == {"type": "date", "format": "epoch_millis", "index": False}
    assert properties["kafka"] == {"properties": {"offset": {"type": "long"}}}
    with pytest.raises(Terminal, match=r"field word of contract ping is written by the pipeline"):
        ContractSet(contracts.values()).mapping({"word": {"type": "long"}})
    # Identifiers are looked up, words are grouped by; what the document holds twice is searchable once.
    assert "index" not in properties["code"] and properties["word"]["index"] is False
    assert properties["timestamp"] == {"type": "date", "format": "epoch_millis", "index": False, "doc_values": False}
    write(tmp_path, pong=schema("pong", code={"type": "string"}))
    assert "index" not in ContractSet(load(tmp_path).values()).mapping({})["properties"]["code"]
    write(tmp_path, pong=schema("pong", word={"type": "boolean"}))
    with pytest.raises(Terminal, match="field word has one type in contract ping and another in pong"):
        ContractSet(load(tmp_path).values()).mapping({})

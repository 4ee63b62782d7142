"""Whatever contract `lint` accepts, the decoder ends with a document or a dead letter for whatever bytes there are."""

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators

from fleetgauge.contracts import Contract, ContractError, ContractSet, load
from fleetgauge.contracts.load import contract_of
from fleetgauge.contracts.subset import ID_PATTERN, SchemaFiles, tree
from fleetgauge.errors import Terminal
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.check.lint_consumers import RESERVED
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.indices.event_indices import END_MS, suffix_fields
from fleetgauge.kafka.records import Records
from mutations import mutated

# As stated in docs/ingest.md, an integer is written without fraction.
INTEGER = Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
)
Reference = validators.extend(Draft202012Validator, type_checker=INTEGER)
NOW = 1_763_700_000_000
FOLDER = Path(__file__).parents[4] / "schemas" / "events"
OWN = load(FOLDER)

NAMES = st.sampled_from(
    ["location", "lat", "lng", "event", "device", "id", "a", "b", "class", "field_0_", "field_1_", "my-name", "höhe",
     "@t", "kafka", "geo", "offset", "properties", "None", "mro", "self", "x y", "", "a.b", "_a", "\ud800", "a\0"]
)  # fmt: skip
NUMBER = st.sampled_from(
    [-(10**30), -1, 0, 1, 3, 90, 2**31, 2**53, 2**63, 10**30, 0.5, -2.5, 1e300, math.nan, math.inf]
)
SIZE = st.sampled_from([0, 1, 2, 5, 10**30, -1, 1.5])
PATTERN = st.sampled_from(
    ["^[a-z]+$", "^[A-Za-z0-9._-]+$", "^[0-9]*$", "a|b", "^(a+)+$", "^.{2,3}$", "[", "é", "^[à-ü]+$", "\ud800", "$",
     "a{9999999999}", r"\d", r"^\.$"]
)  # fmt: skip
WORDS = st.sampled_from(["", "a", "ab", "é", "\ud800", "x" * 300])


def rules(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=known)


def typed(kind: str, **known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return rules(**known).map(lambda found: {"type": kind, **found})


LEAF = (
    typed("string", minLength=SIZE, maxLength=SIZE, pattern=PATTERN)
    | typed("integer", minimum=NUMBER, maximum=NUMBER)
    | st.just({"type": "integer", "format": "epoch_millis"})
    | typed("number", minimum=NUMBER, maximum=NUMBER)
    | typed("number", exclusiveMinimum=NUMBER, exclusiveMaximum=NUMBER)
    | st.just({"type": "boolean"})
    | st.lists(WORDS, max_size=3).map(lambda values: {"enum": values})
    | st.lists(NUMBER, max_size=2).map(lambda values: {"enum": values})
    | st.just({"const": 1})
)


def with_some_required(properties: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    chosen = st.lists(st.sampled_from(sorted(properties)), unique=True) if properties else st.just([])
    return chosen.map(lambda required: {"type": "object", "properties": properties, "required": required})


NODE = st.recursive(
    LEAF,
    lambda inner: (
        st.dictionaries(NAMES, inner, max_size=3).flatmap(with_some_required)
        | st.tuples(inner, rules(minItems=SIZE, maxItems=SIZE)).map(
            lambda found: {"type": "array", "items": found[0], **found[1]}
        )
    ),
    max_leaves=5,
)
LOCATION = (
    st.fixed_dictionaries({}, optional={"lat": typed("number", minimum=NUMBER), "lng": typed("number")})
    .flatmap(with_some_required)
)  # fmt: skip
ID = {"type": "string", "pattern": ID_PATTERN.replace(r"\Z", "$"), "maxLength": 60}
HOLDER = {"type": "object", "required": ["id"], "properties": {"id": ID}}
SCHEMA = st.tuples(
    st.dictionaries(NAMES, NODE, max_size=3), st.none() | LOCATION, st.booleans(), st.lists(NAMES, max_size=2)
)


def schema_of(found: tuple[dict[str, Any], dict[str, Any] | None, bool, list[str]]) -> dict[str, Any]:
    properties, location, identified, required = found
    properties = {
        **properties,
        **({"location": location} if location is not None else {}),
        **({"device": HOLDER, "event": HOLDER} if identified else {}),
        "kind": {"const": "ping"},
        "version": {"type": "integer", "maximum": 3},
        "timestamp": {"type": "integer", "format": "epoch_millis"},
    }
    known = {"kind", "version", "timestamp", *(name for name in required if name in properties)}
    known |= {"device", "event"} if identified else set()
    return {"type": "object", "properties": properties, "required": sorted(known)}


class Clock:
    def now(self) -> Any:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(NOW / 1000, UTC)


def accepted(schema: dict[str, Any]) -> tuple[Contract, ContractSet] | None:
    """As lint does it: for the contract, and for a consumer of it."""
    try:
        contract = contract_of("ping.json", tree(schema, "ping.json", SchemaFiles(None)))  # type: ignore[arg-type]
    except ContractError:
        return None
    try:
        contracts = ContractSet([contract], RESERVED)
        contracts.mapping(suffix_fields(bool(contracts.located)))
    except Terminal:
        return None
    return contract, contracts


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


def valid(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly valid values: bounds that exclude each other leave none."""
    if "enum" in node or "const" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    match node["type"]:
        case "object":
            members = {key: valid(child) for key, child in node.get("properties", {}).items()}
            required = set(node.get("required", ()))
            return st.fixed_dictionaries(
                {key: member for key, member in members.items() if key in required},
                optional={key: member for key, member in members.items() if key not in required},
            )
        case "array":
            return st.lists(valid(node["items"]), min_size=min(node.get("minItems", 0), 3), max_size=5)
        case "string":
            return st.sampled_from(["a", "ab", "12", "é", "", "b.c-d", "x" * 4]) | st.text(max_size=4)
        case "integer":
            return st.sampled_from([0, 1, 3, -1, 2**40, 2**63, 10**25])
        case "number":
            return st.sampled_from([0, 0.25, 1.5, -3.5, 91, 1e20, 2.5])
        case _:
            return st.booleans()


def comparable(value: Any) -> bool:
    """Whether both verdicts are about the same: no name of the pipeline's or Elasticsearch's, no 1.0 for 1."""
    if isinstance(value, dict):
        odd = any("." in key or key.startswith("_") or key in ("kafka", "geo", "ingested") for key in value)
        return not odd and all(comparable(child) for child in value.values())
    if isinstance(value, list):
        return all(comparable(child) for child in value)
    return not (isinstance(value, float) and (value.is_integer() or not math.isfinite(value)))


def verdict(decoder: Decoder, payload: bytes | None) -> str | None:
    """The error type of the dead letter; None for a document."""
    batch = Batch(0.0)
    decoder.add(batch, Records("t", 0, [5], [NOW], [None], [payload]))
    assert len(batch.poison) + batch.documents == 1
    if batch.documents:
        _, document, rest = batch.body([0]).split(b"\n")
        assert not rest
        json.loads(document)
        batch.id_of(0)
    return batch.poison[0].error_type if batch.poison else None


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(found=SCHEMA, data=st.data())
def test_the_decoder_never_raises_and_agrees_with_jsonschema(found: Any, data: st.DataObject) -> None:
    schema = schema_of(found)
    known = accepted(schema)
    event("accepted" if known else "refused")
    assume(known is not None)
    assert known is not None
    _, contracts = known
    decoder = Decoder(Consumer("it", "t", ("ping",), "it"), contracts, Clock())
    for _ in range(5):
        payload = data.draw(valid(schema))
        if not isinstance(payload, dict):
            continue
        payload |= {"kind": "ping", "version": 1, "timestamp": NOW}
        for name, value in data.draw(st.dictionaries(NAMES, ANYTHING, max_size=1)).items():
            payload[name] = value
        try:
            text = json.dumps(payload).encode()
        except ValueError:
            continue
        got = verdict(decoder, text)
        ours = "event" in payload and "event" not in schema["properties"]  # the pipeline writes below it
        if not ours and comparable(payload) and payload.get("timestamp") == NOW and "\\ud8" not in text.decode():
            reference = Reference(with_end(schema))
            assert (got is None) == reference.is_valid(payload), (got, payload)
        location = data.draw(st.integers(0, len(text)))
        verdict(
            decoder,
            text[:location] + data.draw(st.binary(max_size=3)) + text[location + data.draw(st.integers(0, 3)) :],
        )
    verdict(decoder, data.draw(st.binary(max_size=30)))
    verdict(decoder, None)


def damaged(decoder: Decoder, rng: random.Random, event: dict[str, Any], count: int) -> int:
    """So many payloads of which each is the event, damaged; returns how many were documents nevertheless."""
    kept = json.dumps(event)
    return sum(verdict(decoder, mutated(rng, json.loads(kept))) is None for _ in range(count))


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", sorted(OWN))
def test_no_damage_to_an_event_of_our_own_raises(kind: str, count: int) -> None:
    contracts = ContractSet(OWN.values(), RESERVED)
    decoder = Decoder(Consumer("it", "t", tuple(OWN), "it"), contracts, Clock())
    examples = json.loads((FOLDER / f"{kind}.json").read_text())["examples"]
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (shown when the test fails)
    rng, documents = random.Random(seed), 0
    for example in examples:
        documents += damaged(decoder, rng, {**example, "timestamp": NOW}, count // len(examples))
    assert 0 < documents < count  # the damage is neither too mild nor too heavy


@pytest.mark.long
@pytest.mark.timeout(1_800)
@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(found=SCHEMA, seed=st.integers(0, 2**32), data=st.data())
def test_no_damage_to_an_event_of_any_contract_raises(found: Any, seed: int, data: st.DataObject) -> None:
    """200,000 payloads: 100 of each of 2,000 contracts."""
    schema = schema_of(found)
    known = accepted(schema)
    assume(known is not None)
    assert known is not None
    decoder = Decoder(Consumer("it", "t", ("ping",), "it"), known[1], Clock())
    payload = data.draw(valid(schema))
    try:
        json.dumps(payload).encode()
    except ValueError:
        payload = {}
    base = {**payload, "kind": "ping", "version": 1, "timestamp": NOW}
    damaged(decoder, random.Random(seed), base, 100)


def with_end(schema: Any) -> Any:
    """`$` is the very end of the text."""
    if isinstance(schema, dict):
        return {
            key: re.sub(r"(?<!\\)\$$", r"\\Z", value)
            if key == "pattern" and isinstance(value, str)
            else with_end(value)
            for key, value in schema.items()
        }
    return [with_end(item) for item in schema] if isinstance(schema, list) else schema


BASE = schema_of(({}, None, True, []))


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ({"x y": {"type": "boolean"}}, "is no name of a field"),
        ({"\ud800": {"type": "boolean"}}, "is no name of a field"),
        ({"a": {"enum": ["\ud800"]}}, "half a surrogate pair"),
        ({"a": {"type": "number", "minimum": math.nan}}, "finite"),
    ],
)
def test_what_could_not_be_decoded_is_refused_with_its_path(member: dict[str, Any], says: str) -> None:
    schema = {**BASE, "properties": {**BASE["properties"], **member}}
    with pytest.raises(ContractError, match=says):
        contract_of("ping.json", tree(schema, "ping.json", SchemaFiles(None)))  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [0, END_MS - 1], ids=["1970", "9999"])
def test_the_first_and_the_last_day_have_neighbours_where_these_have_names(at: int) -> None:
    known = accepted(BASE)
    assert known is not None
    batch = Batch(0.0)
    payload = {"kind": "ping", "version": 1, "timestamp": at, "device": {"id": "d"}, "event": {"id": "e"}}
    decoder = Decoder(Consumer("it", "t", ("ping",), "it"), known[1], Clock())
    decoder.add(batch, Records("t", 0, [5], [at], [None], [json.dumps(payload).encode()]))
    assert batch.documents == 1
    assert [near[1] for near in batch.near_midnight.values()] == (["it-1969.12.31"] if at == 0 else [])


@pytest.mark.parametrize("location", [{}, {"lat": 1.5}, {"lat": 95.0, "lng": 1.0}, {"lat": 1e300, "lng": 1.0}, None])
def test_half_a_position_or_one_off_the_globe_is_no_position(location: Any) -> None:
    schema = schema_of(
        ({}, {"type": "object", "properties": {"lat": {"type": "number"}, "lng": {"type": "number"}}}, True, [])
    )
    known = accepted(schema)
    assert known is not None
    batch = Batch(0.0)
    ids = {"device": {"id": "d"}, "event": {"id": "e"}}
    payload = {
        "kind": "ping",
        "version": 1,
        "timestamp": NOW,
        **ids,
        **({} if location is None else {"location": location}),
    }
    decoder = Decoder(Consumer("it", "t", ("ping",), "it"), known[1], Clock())
    decoder.add(batch, Records("t", 0, [5], [NOW], [None], [json.dumps(payload).encode()]))
    assert batch.documents == 1 and b"geo.location" not in batch.body([0])
    msgspec.json.decode(batch.body([0]).splitlines()[1])

"""The compiled contracts and the jsonschema library give the same verdict on the same event."""

import json
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators
from jsonschema.protocols import Validator
from referencing import Registry, Resource

from fleetgauge.contracts import Contract, ContractSet, load
from fleetgauge.contracts.subset import Array, Choice, Node, Object, Scalar

FOLDER = Path(__file__).parents[3] / "schemas" / "events"
CONTRACTS = load(FOLDER)
STRICT = ContractSet(CONTRACTS.values())

# The two readings in which contracts are stated to be narrower than the standard.
INTEGER = Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
)
Reference = validators.extend(Draft202012Validator, type_checker=INTEGER)


def reference(contract: Contract) -> Validator:
    def read(name: str) -> Any:
        text = (FOLDER / name).read_text()
        return json.loads(text.replace('+$"', '+\\\\Z"'))

    registry = Registry().with_resource("common.json", Resource.from_contents(read("common.json")))
    return Reference(read(f"{contract.kind}.json"), registry=registry)


REFERENCES = {kind: reference(contract) for kind, contract in CONTRACTS.items()}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NEAR = st.sampled_from(
    [-1, 0, 1, 2, 100, 101, 1.0, 1.5, -0.5, 1e300, 10**30, "", "a", "A-1", "a\n", "ü", "x" * 65, True]
)


def valid(node: Node) -> st.SearchStrategy[Any]:
    match node:
        case Choice(values):
            return st.sampled_from(values)
        case Array(items):
            return st.lists(valid(items), max_size=3)
        case Object(properties, required):
            return st.fixed_dictionaries(
                {key: valid(child) for key, child in properties.items() if key in required},
                optional={key: valid(child) for key, child in properties.items() if key not in required},
            )
        case Scalar("string", rules):
            if "pattern" in rules:
                return st.from_regex(rules["pattern"]).filter(
                    lambda text: rules.get("minLength", 0) <= len(text) <= rules.get("maxLength", 1 << 30)
                )
            return st.text(
                st.characters(exclude_categories=("Cs",)),
                min_size=rules.get("minLength", 0),
                max_size=rules.get("maxLength", 20),
            )
        case Scalar("integer", rules):
            return st.integers(rules.get("minimum"), rules.get("maximum"))
        case Scalar("number", rules):
            return st.floats(rules.get("minimum"), rules.get("maximum"), allow_nan=False) | st.integers(
                int(rules.get("minimum", 0)), int(rules.get("maximum", 9))
            )
        case _:
            return st.booleans()


def locations(event: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(event, dict):
        return [at]
    return [at, *(location for key, value in event.items() for location in locations(value, (*at, key)))]


def mutate(event: dict[str, Any], location: tuple[str, ...], how: str, value: Any) -> Any:
    if not location:
        return value if how == "replace" else {**event, "unknown_member": value}
    copy = json.loads(json.dumps(event))
    parent = copy
    for key in location[:-1]:
        parent = parent[key]
    if how == "drop":
        del parent[location[-1]]
    elif how == "add" and isinstance(parent[location[-1]], dict):
        parent[location[-1]]["unknown_member"] = value
    else:
        parent[location[-1]] = value
    return copy


def verdict(event: Any) -> bool:
    try:
        STRICT.strict.decode(json.dumps(event).encode())
    except msgspec.ValidationError:
        return False
    return True


def expected(event: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str) or event["kind"] not in REFERENCES:
        return False
    return bool(REFERENCES[event["kind"]].is_valid(event))


@pytest.mark.parametrize("kind", sorted(CONTRACTS))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_valid_and_mutated_events_get_the_verdict_of_jsonschema(kind: str, data: st.DataObject) -> None:
    event = data.draw(valid(CONTRACTS[kind].node))
    assert expected(event) and verdict(event)
    for _ in range(6):
        location = data.draw(st.sampled_from(locations(event)))
        how = data.draw(st.sampled_from(("replace", "drop", "add")))
        mutated = mutate(event, location, how, data.draw(NEAR | ANYTHING))
        assert verdict(mutated) == expected(mutated), mutated


@pytest.mark.parametrize("kind", sorted(CONTRACTS))
def test_the_fast_decoder_skips_only_the_words_it_names(kind: str) -> None:
    contracts = ContractSet([CONTRACTS[kind]])
    event = minimal(CONTRACTS[kind])
    words = contracts.words[type(contracts.fast.decode(json.dumps(event).encode()))]
    found = dict(zip(words.paths, words.allowed, strict=True))
    assert found["network.sim"] == b"0123456789"
    assert (
        set(found["device.id"])
        == set(found["event.id"])
        == set((string.ascii_letters + string.digits + "._-").encode())
    )
    event["network"]["sim"] = "not digits"
    contracts.fast.decode(json.dumps(event).encode())
    with pytest.raises(msgspec.ValidationError, match=r"regex .* at `\$\.network\.sim`"):
        contracts.strict.decode(json.dumps(event).encode())


def minimal(contract: Contract) -> Any:
    def build(node: Node) -> Any:
        match node:
            case Choice(values):
                return values[0]
            case Object(properties, required):
                return {key: build(child) for key, child in properties.items() if key in required}
            case Scalar("string"):
                return "1"
            case Scalar("boolean"):
                return True
            case Scalar(_, rules):
                return max(rules.get("minimum", 0), 0)
            case _:
                return []

    return build(contract.node)

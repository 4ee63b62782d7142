"""The law behind `compatible`: whatever a released contract accepted, a compatible successor accepts."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from fleetgauge.contracts.compatible import changes
from fleetgauge.contracts.load import Contract, ContractSet
from fleetgauge.contracts.subset import Array, Choice, Node, Object, Scalar

BOUND = st.integers(-2, 3)
LENGTH = st.integers(0, 3)
PATTERN = st.sampled_from([r"^[a-b]+\Z", r"^[a-z]*\Z"])
POOL = [
    *range(-4, 6), *(number + 0.5 for number in range(-4, 5)), 1.0, True, "", "a", "ab", "abc", "z", "zz", "zzzz", "-",
]  # fmt: skip
"""Every value that the rules below could distinguish."""


def rules(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=known)


def bounds(low: str, high: str) -> st.SearchStrategy[dict[str, Any]]:
    return rules(**{low: BOUND, high: BOUND})


SCALARS: dict[str, st.SearchStrategy[Node]] = {
    "number": st.builds(
        Scalar,
        st.just("number"),
        st.tuples(
            st.sampled_from(("minimum", "exclusiveMinimum")), st.sampled_from(("maximum", "exclusiveMaximum"))
        ).flatmap(lambda names: bounds(*names)),
    ),
    "integer": st.builds(Scalar, st.just("integer"), bounds("minimum", "maximum")),
    "string": st.builds(Scalar, st.just("string"), rules(minLength=LENGTH, maxLength=LENGTH, pattern=PATTERN)),
    "boolean": st.just(Scalar("boolean")),
    "word": st.builds(Choice, st.lists(st.sampled_from(("a", "ab", "z")), min_size=1, unique=True).map(tuple)),
    "code": st.builds(Choice, st.lists(st.integers(0, 2), min_size=1, unique=True).map(tuple)),
}
Wrap = Callable[[Any], Any]


def an_object(member: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    required = st.sampled_from((frozenset[str](), frozenset({"x"})))
    return st.builds(lambda node, names: Object({"x": node}, names), member, required)


def a_list(member: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(Array, member, rules(minItems=LENGTH, maxItems=LENGTH))


SHAPES: dict[str, tuple[Callable[[st.SearchStrategy[Node]], st.SearchStrategy[Node]], Wrap]] = {
    "plain": (lambda member: member, lambda values: values),
    "object": (an_object, lambda values: [{}, *({"x": value} for value in values)]),
    "list": (a_list, lambda values: [[value] * count for count in range(5) for value in values]),
}


def contract(node: Node, *, required: bool) -> Contract:
    properties: dict[str, Node] = {
        "kind": Choice(("ping",)),
        "version": Scalar("integer", {"minimum": 1, "maximum": 1}),
        "timestamp": Scalar("integer", instant=True),
        "member": node,
    }
    names = {"kind", "version", "timestamp", *(["member"] if required else [])}
    return Contract("ping", 1, Object(properties, frozenset(names)), identified=False)


def accepted(by: Contract, payloads: list[bytes]) -> set[bytes]:
    decode = ContractSet([by]).strict.decode

    def is_valid(payload: bytes) -> bool:
        try:
            decode(payload)
        except msgspec.ValidationError:
            return False
        return True

    return {payload for payload in payloads if is_valid(payload)}


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_compatible_successor_accepts_whatever_was_accepted(data: st.DataObject) -> None:
    was, shape = data.draw(st.sampled_from(sorted(SCALARS))), data.draw(st.sampled_from(sorted(SHAPES)))
    becomes = data.draw(st.sampled_from(sorted(SCALARS)) if data.draw(st.integers(0, 9)) == 0 else st.just(was))
    build, wrap = SHAPES[shape]
    old = contract(data.draw(build(SCALARS[was])), required=data.draw(st.booleans()))
    new = contract(data.draw(build(SCALARS[becomes])), required=data.draw(st.booleans()))
    common = {"kind": "ping", "version": 1, "timestamp": 5}
    payloads = [json.dumps(event).encode() for event in (common, *({**common, "member": v} for v in wrap(POOL)))]
    before, after = accepted(old, payloads), accepted(new, payloads)

    found = changes(old, new)
    breaking = any(change.breaking for change in found)
    event("breaking" if breaking else "wider" if found else "same")
    if not breaking:
        assert before <= after, before - after
    if not found:
        assert before == after, after - before

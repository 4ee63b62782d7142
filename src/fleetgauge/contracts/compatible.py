"""What a changed contract means for events that are older than the change, and for consumers that are.

Events outlive their contract: a topic is replayed, a device keeps its old firmware. All of them are read with today's
contract, whatever their version, so it must accept whatever an earlier one accepted, under the same types in
Elasticsearch. Members that no contract described yet are not looked at. Being compatible in this sense is transitive,
so the last release stands for all earlier ones.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleetgauge.contracts.load import Contract
from fleetgauge.contracts.mapping import mapping
from fleetgauge.contracts.subset import Array, Choice, Node, Object, Scalar

_BOUNDS = (("minimum", "exclusiveMinimum", -1), ("maximum", "exclusiveMaximum", 1))
_LENGTHS = (("minLength", 0, -1), ("maxLength", math.inf, 1), ("minItems", 0, -1), ("maxItems", math.inf, 1))


@dataclass(frozen=True)
class ContractChange:
    """One difference that matters."""

    path: str
    what: str
    breaking: bool
    """True: an event that was valid is refused now, or stored otherwise. False: more is accepted than before."""


def changes(old: Contract, new: Contract) -> list[ContractChange]:
    """Every difference that matters between a released contract and what it is now, in the order of its members."""
    found = [change for change in _compare("", old.node, new.node) if change.path != "version" or change.breaking]
    broken = {change.path for change in found if change.breaking}
    before, after = _fields(old), _fields(new)
    for path in sorted(before.keys() & after.keys() - broken):
        was, becomes = before[path]["type"], after[path]["type"]
        if was != becomes:
            found.append(
                ContractChange(path, f"would be {becomes} in Elasticsearch, where existing indices have {was}", True)
            )
    if old.identified != new.identified:
        found.append(ContractChange("device.id", "or event.id changed so that documents would get other ids", True))
    return found


def problems(old: Contract, new: Contract) -> list[str]:
    """One sentence for each change that must not be made like this: location, cause, fix."""
    found = changes(old, new)
    said = [
        f"contract {new.kind}.json at {change.path}: {change.what}; keep what version {old.version} says, and add an "
        "optional property or a kind of its own for what is new"
        for change in found
        if change.breaking
    ]
    if new.version <= old.version:
        said += [
            f"contract {new.kind}.json at {change.path}: {change.what}, which consumers of version {old.version} "
            f"dead-letter; raise the maximum of version to {old.version + 1}"
            for change in found
            if not change.breaking
        ]
    return said


def _compare(at: str, old: Node, new: Node) -> Iterator[ContractChange]:
    if type(old) is not type(new):
        yield ContractChange(at, f"was {_name(old)} and is {_name(new)}", True)
        return
    match old, new:
        case Object(), Object():
            yield from _objects(at, old, new)
        case Choice(), Choice():
            yield from _choices(at, old, new)
        case Array(), Array():
            yield from _constraints(at, old.constraints, new.constraints)
            yield from _compare(f"{at}[]", old.items, new.items)
        case Scalar(), Scalar():
            if (old.type, old.instant) != (new.type, new.instant):
                yield ContractChange(at, f"was {_name(old)} and is {_name(new)}", True)
            else:
                yield from _constraints(at, old.constraints, new.constraints)


def _objects(at: str, old: Object, new: Object) -> Iterator[ContractChange]:
    for key, child in old.properties.items():
        path = f"{at}.{key}" if at else key
        if key not in new.properties:
            yield ContractChange(path, "was removed", True)
            continue
        yield from _compare(path, child, new.properties[key])
        if key in new.required - old.required:
            yield ContractChange(path, "was optional and is required", True)
        elif key in old.required - new.required:
            yield ContractChange(path, "was required and is optional", False)
    for key in new.properties:
        if key in new.required - old.properties.keys():
            yield ContractChange(f"{at}.{key}" if at else key, "is new and required", True)


def _choices(at: str, old: Choice, new: Choice) -> Iterator[ContractChange]:
    if type(old.values[0]) is not type(new.values[0]):
        yield ContractChange(at, f"was {_name(old)} and is {_name(new)}", True)
        return
    for what, values, breaking in (
        ("lost", set(old.values) - set(new.values), True),
        ("gained", set(new.values) - set(old.values), False),
    ):
        if values:
            yield ContractChange(at, f"{what} the value {', '.join(sorted(map(str, values)))}", breaking)


def _constraints(at: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[ContractChange]:
    for inclusive, exclusive, sign in _BOUNDS:
        before, after = (_bound(rules, inclusive, exclusive, sign) for rules in (old, new))
        if before != after:
            told = f"has another {inclusive}: it was {_said(before, sign)} and is {_said(after, sign)}"
            yield ContractChange(at, told, after < before)
    for keyword, default, sign in _LENGTHS:
        low, high = sign * old.get(keyword, default), sign * new.get(keyword, default)
        if low != high:
            before, after = (rules.get(keyword, "not stated") for rules in (old, new))
            yield ContractChange(at, f"has another {keyword}: it was {before} and is {after}", bool(high < low))
    if old.get("pattern") != new.get("pattern"):
        yield ContractChange(at, "has another pattern" if "pattern" in new else "lost its pattern", "pattern" in new)


def _bound(rules: Mapping[str, Any], inclusive: str, exclusive: str, sign: int) -> tuple[float, int]:
    """A pair of which the larger allows more; 0 says that the bound itself is allowed."""
    if exclusive in rules:
        return sign * rules[exclusive], -1
    return sign * rules.get(inclusive, sign * math.inf), 0


def _said(bound: tuple[float, int], sign: int) -> str:
    value, tight = bound
    return "none" if value == math.inf else f"{sign * value}{' (exclusive)' if tight else ''}"


def _name(node: Node) -> str:
    match node:
        case Scalar():
            return "an instant" if node.instant else f"of type {node.type}"
        case Choice(values):
            return "a choice of texts" if isinstance(values[0], str) else "a choice of integers"
        case Array():
            return "a list"
        case Object():
            return "an object"


def _fields(contract: Contract) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}

    def walk(at: str, properties: Mapping[str, Any]) -> None:
        for key, field in properties.items():
            if "type" in field:
                found[at + key] = field
            else:
                walk(f"{at}{key}.", field["properties"])

    walk("", mapping([contract], {})["properties"])
    return found

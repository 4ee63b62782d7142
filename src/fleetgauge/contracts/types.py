"""Contracts as msgspec types: one nested Struct for each contract, a union tagged by `kind` for a set of them."""

import keyword
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from fleetgauge.contracts.subset import Array, Choice, Node, Object, Scalar

TAG = "kind"
_META = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
}
_SCALARS: Mapping[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
_NEVER: Any = Annotated[int, Meta(gt=0, lt=0)]
"""A type without values: the field may be absent, never present."""


def event_type(
    kind: str, node: Object, reserved: Iterable[str] = (), blank: Iterable[str] = (), *, closed: bool = False
) -> type[msgspec.Struct]:
    """The Struct of one contract.

    `reserved` are dotted paths that the pipeline writes and a payload must not; `blank` those whose absence reads as an
    empty string instead of `UNSET`. `closed`: a member that the contract does not name is refused.
    """
    fields = {name: child for name, child in node.properties.items() if name != TAG}
    object_ = Object(fields, node.required - {TAG})
    return _struct(kind, object_, tuple(reserved), frozenset(blank), closed, tag=kind)


def decoder(types: Iterable[type[msgspec.Struct]]) -> "msgspec.json.Decoder[Any]":
    """A decoder of the union of `types`. Raises `msgspec.DecodeError`, `UnicodeDecodeError`, `RecursionError`."""
    # A lone Struct would accept an event without its tag; a union never does. Nothing can decode as the second member.
    nothing = msgspec.defstruct("Nothing", [("impossible", _NEVER)], tag_field=TAG, tag="")
    return msgspec.json.Decoder(Union[(*types, nothing)])


@dataclass(frozen=True)
class Words:
    """Strings of an event type whose pattern is only a set of allowed characters, left to the caller to check together.

    A regular expression costs a Python-sized call for each string, more than all other checks of an event; looking for
    forbidden characters in a thousand joined strings costs next to nothing.
    """

    paths: tuple[str, ...]
    """Dotted paths of plain attributes; an optional one that is absent reads as an empty string."""
    allowed: tuple[bytes, ...]
    """For each path the ASCII characters that may occur."""


def without_words(node: Object) -> tuple[Object, Words]:
    """The tree without the patterns that `Words` stand for. Patterns of any other shape, or deeper, stay."""
    paths: list[str] = []
    allowed: list[bytes] = []
    properties = dict(node.properties)
    for key, child in node.properties.items():
        if not _is_plain(key):
            continue
        if isinstance(child, Scalar):
            characters = _characters(child)
            if characters:
                rest = {name: value for name, value in child.constraints.items() if name != "pattern"}
                rest["minLength"] = max(1, rest.get("minLength", 0))  # as the pattern says
                properties[key] = replace(child, constraints=rest)
                paths.append(key)
                allowed.append(characters)
        elif isinstance(child, Object) and key in node.required:
            properties[key], below = without_words(child)
            paths += [f"{key}.{path}" for path in below.paths]
            allowed += below.allowed
    return Object(properties, node.required), Words(tuple(paths), tuple(allowed))


def _characters(node: Scalar) -> bytes:
    """The allowed characters if the pattern says nothing else than `^[…]+$`."""
    match = re.fullmatch(r"\^(\[[^\]\\^]+\])\+\\Z", node.constraints.get("pattern", ""))
    if match is None:
        return b""
    return bytes(code for code in range(128) if re.fullmatch(match[1], chr(code)))


def _struct(
    name: str, node: Object, reserved: tuple[str, ...], blank: frozenset[str], closed: bool, tag: str | None = None
) -> type[msgspec.Struct]:
    required: list[tuple[str, Any]] = []
    optional: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    for key, child in node.properties.items():
        below = tuple(path[len(key) + 1 :] for path in reserved if path.startswith(f"{key}."))
        blank_below = frozenset(path[len(key) + 1 :] for path in blank if path.startswith(f"{key}."))
        kind = _type(f"{name}_{key}", child, below, blank_below, closed)
        attribute = _attribute(key, node.properties, rename)
        if key in node.required:
            required.append((attribute, kind))
        elif key in blank:
            optional.append((attribute, kind, ""))
        else:
            optional.append((attribute, kind | UnsetType, UNSET))
    # A payload may spell a path as objects or as one dotted key, and Elasticsearch reads both as one field with two
    # values: a second spelling would get past the checks of the first.
    forbidden = {path.partition(".")[0] for path in reserved} | set(reserved) | set(_dotted(node))
    for key in () if closed else sorted(forbidden - node.properties.keys()):
        optional.append((_attribute(key, node.properties, rename), _NEVER | UnsetType, UNSET))
    return msgspec.defstruct(
        name,
        [*required, *optional],
        tag_field=TAG if tag is not None else None,
        tag=tag,
        rename=rename,
        forbid_unknown_fields=closed,
        gc=False,  # a tree of scalars holds no cycle
        eq=False,
    )


def _dotted(node: Object) -> Iterable[str]:
    for key, child in node.properties.items():
        while isinstance(child, Array):  # Elasticsearch makes no difference between one and many
            child = child.items
        if isinstance(child, Object):
            yield from (f"{key}.{name}" for name in child.properties)
            yield from (f"{key}.{name}" for name in _dotted(child))


def _is_plain(key: str) -> bool:
    return key.isidentifier() and not keyword.iskeyword(key) and not key.startswith("_")


def _attribute(key: str, taken: Container[str], rename: dict[str, str]) -> str:
    if _is_plain(key):
        return key
    attribute = f"field_{len(rename)}_"
    while attribute in taken:
        attribute += "_"
    rename[attribute] = key
    return attribute


def _type(name: str, node: Node, reserved: tuple[str, ...], blank: frozenset[str], closed: bool) -> Any:
    match node:
        case Object():
            return _struct(name, node, reserved, blank, closed)
        case Choice(values):
            return Literal[values]
        case Array(items, constraints):
            return _constrained(list[_type(name, items, (), frozenset(), closed)], constraints)  # type: ignore[misc]
        case Scalar(kind, constraints):
            return _constrained(_SCALARS[kind], constraints)


def _constrained(kind: Any, constraints: Mapping[str, Any]) -> Any:
    return Annotated[kind, Meta(**{_META[key]: value for key, value in constraints.items()})] if constraints else kind

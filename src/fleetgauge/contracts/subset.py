"""The subset of JSON Schema 2020-12 that event contracts may use, read into a small tree.

A keyword outside the subset is refused, never ignored: a rule that nobody enforces is worse than no rule.
Two readings are narrower than the standard, because they name what producers and Elasticsearch do:
an `integer` is written without fraction or exponent (`1`, not `1.0`), and `$` in a pattern is the very end of the text.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetgauge.errors import Terminal

ANNOTATIONS = frozenset({"$schema", "$comment", "title", "description", "examples", "deprecated"})
KEYWORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset({"type", "required", "properties"}),
    "array": frozenset({"type", "items", "minItems", "maxItems"}),
    "string": frozenset({"type", "minLength", "maxLength", "pattern"}),
    "integer": frozenset({"type", "minimum", "maximum", "format"}),
    "number": frozenset({"type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset({"type"}),
}
INSTANT = "epoch_millis"
"""The one `format`: an integer that is an instant, in milliseconds since the epoch."""


@dataclass(frozen=True)
class Scalar:
    """A string, integer, number or boolean with its constraints."""

    type: str
    constraints: Mapping[str, Any] = field(default_factory=dict)
    instant: bool = False


@dataclass(frozen=True)
class Choice:
    """`enum`, or `const` as an enum of one: strings, or integers."""

    values: tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True)
class Array:
    """A list of one kind of value."""

    items: "Node"
    constraints: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Object:
    """An open object: unknown members are allowed and kept."""

    properties: Mapping[str, "Node"]
    required: frozenset[str]


Node = Scalar | Choice | Array | Object


class Documents:
    """The JSON files of one folder, each read once, with `$ref` between them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: dict[str, dict[str, Any]] = {}

    def get(self, name: str) -> dict[str, Any]:
        """The document `name` (a file name of the folder). Raises `Terminal`."""
        if name not in self._loaded:
            path = self._directory / name
            try:
                document = json.loads(path.read_text("utf-8"), object_pairs_hook=_unique)
            except (OSError, ValueError) as error:
                raise Terminal(f"contract {path} cannot be read: {error}; fix the file") from None
            if not isinstance(document, dict):
                raise Terminal(f"contract {path} is not a JSON object; write one schema a file")
            self._loaded[name] = document
        return self._loaded[name]

    def node(self, name: str) -> Object:
        """The tree of the contract in file `name`. Raises `Terminal` naming the place of the first problem."""
        node = self._read(self.get(name), name, "", ())
        if not isinstance(node, Object):
            raise Terminal(f"contract {name} describes no object; set type to object")
        return node

    def _read(self, schema: Any, file: str, at: str, seen: tuple[str, ...]) -> Node:
        where = f"contract {file}{f' at {at}' if at else ''}"
        if not isinstance(schema, dict):
            raise Terminal(f"{where}: a schema must be an object")
        keys = schema.keys() - ANNOTATIONS
        if "$ref" in keys:
            _refuse(where, keys - {"$ref"}, "beside $ref")
            return self._follow(schema["$ref"], file, where, seen)
        if keys & {"const", "enum"}:
            _refuse(where, keys - {"const", "enum", "type"}, "beside const or enum")
            return _choice(schema, where)
        kind = schema.get("type")
        if not isinstance(kind, str) or kind not in KEYWORDS:
            raise Terminal(f"{where}: type must be one of {', '.join(KEYWORDS)}, not {kind!r}")
        allowed = KEYWORDS[kind] | ({"$defs"} if not at else frozenset())
        _refuse(where, keys - allowed, f"for type {kind}")
        if kind == "object":
            properties = {
                key: self._read(value, file, f"{at}.{key}" if at else key, seen)
                for key, value in schema.get("properties", {}).items()
            }
            unknown = set(schema.get("required", ())) - properties.keys()
            if unknown:
                raise Terminal(
                    f"{where}: required names {', '.join(sorted(unknown))}, which properties does not describe"
                )
            return Object(properties, frozenset(schema.get("required", ())))
        constraints = {key: schema[key] for key in keys - {"type", "items", "format"}}
        if kind == "array":
            return Array(self._read(schema.get("items"), file, f"{at}[]", seen), constraints)
        if "pattern" in constraints:
            constraints["pattern"] = _pattern(constraints["pattern"], where)
        if schema.get("format", INSTANT) != INSTANT:
            raise Terminal(f"{where}: format {schema['format']!r} is not known; the one format is {INSTANT}")
        return Scalar(kind, constraints, instant="format" in schema)

    def _follow(self, ref: Any, file: str, where: str, seen: tuple[str, ...]) -> Node:
        match = re.fullmatch(r"([A-Za-z0-9_.-]*)#/\$defs/([A-Za-z0-9_]+)", str(ref))
        if match is None:
            raise Terminal(f"{where}: $ref {ref!r} must look like common.json#/$defs/name")
        target = match[1] or file
        key = f"{target}#{match[2]}"
        if key in seen:
            raise Terminal(f"{where}: $ref {ref!r} leads back to itself; events are trees")
        try:
            schema = self.get(target)["$defs"][match[2]]
        except KeyError:
            raise Terminal(f"{where}: $ref {ref!r} names nothing; add it to $defs of {target}") from None
        return self._read(schema, target, f"$defs.{match[2]}", (*seen, key))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _refuse(where: str, keys: set[str] | frozenset[str], why: str) -> None:
    if keys:
        raise Terminal(f"{where}: keyword {', '.join(sorted(keys))} is outside the supported subset {why}; remove it")


def _choice(schema: Mapping[str, Any], where: str) -> Choice:
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    kinds = {type(value) for value in values} if isinstance(values, list) else set()
    if kinds not in ({str}, {int}) or len(set(values)) != len(values):
        raise Terminal(f"{where}: enum and const hold distinct strings, or distinct integers")
    if "type" in schema and schema["type"] != {str: "string", int: "integer"}[next(iter(kinds))]:
        raise Terminal(f"{where}: type {schema['type']!r} contradicts its enum or const")
    return Choice(tuple(values))


def _pattern(pattern: Any, where: str) -> str:
    """The pattern in Python's dialect. ECMA-262's `$` is the end; Python's also matches before a last newline."""
    if not isinstance(pattern, str) or re.search(r"\\[^.\\/()\[\]{}+*?|^$-]", pattern):
        raise Terminal(f"{where}: pattern {pattern!r} may escape punctuation only, so that every dialect agrees on it")
    ending = str(pattern)
    if ending.endswith("$") and not ending.endswith("\\$"):
        ending = ending[:-1] + r"\Z"
    try:
        re.compile(ending)
    except re.error as error:
        raise Terminal(f"{where}: pattern {pattern!r} is no regular expression: {error}") from None
    return ending

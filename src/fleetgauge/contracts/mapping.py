"""The explicit Elasticsearch mapping of a set of contracts.

`dynamic: false`: an unknown optional field is kept in `_source` and costs no index. Identifiers are indexed, because
they are looked up; everything else lives in doc values only, which is enough to group, to aggregate and, slower, to
filter. What a document holds twice is made searchable once: `event.id` as `_id`, `timestamp` as `@timestamp`.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

from fleetgauge.contracts.subset import ID_PATTERN, Array, Choice, Node, Object, Scalar
from fleetgauge.errors import Terminal

_MOST_FIELDS = 500
"""Elasticsearch allows 1,000, objects included."""
_INTEGER_LIMIT = 2**31 - 1
_WORD = {"type": "keyword", "ignore_above": 1024, "index": False}
_IDENTIFIER = {"type": "keyword", "ignore_above": 1024}
_INSTANT = {"type": "date", "format": "epoch_millis", "index": False}
_STORED_ONLY = {"index": False, "doc_values": False}


class Described(Protocol):
    """What is asked of a contract."""

    @property
    def kind(self) -> str:
        """Its name."""
        ...

    @property
    def node(self) -> Object:
        """Its tree."""
        ...

    @property
    def twice(self) -> Collection[str]:
        """Dotted paths whose value stands elsewhere in the stored document too; they are kept in `_source` alone."""
        ...


def mapping(contracts: Iterable[Described], extra: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mapping body for contracts plus `extra` (dotted path → field mapping).

    Raises `Terminal` when two contracts give one field different types.
    """
    fields: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for contract in contracts:
        for path, field in _leaves("", contract.node):
            field = {**field, **_STORED_ONLY} if path in contract.twice else field
            owner, known = fields.setdefault(path, (contract.kind, field))
            if known["type"] != field["type"]:
                raise Terminal(
                    f"field {path} has one type in contract {owner} and another in {contract.kind}; "
                    "one index needs one type: rename the field or use the same type"
                )
            fields[path] = owner, dict(known.items() & field.items())  # what only one of them does without stays
    for path, field in extra.items():
        if path in fields:
            raise Terminal(f"field {path} of contract {fields[path][0]} is written by the pipeline; rename it")
        fields[path] = ("", field)
    if len(fields) > _MOST_FIELDS:
        raise Terminal(f"{len(fields)} fields are more than the {_MOST_FIELDS} that an index may have; describe fewer")
    properties: dict[str, Any] = {}
    for path, (_, field) in sorted(fields.items()):
        *parents, leaf = path.split(".")
        level = properties
        for parent in parents:
            holder = level.setdefault(parent, {"properties": {}})
            if "properties" not in holder:
                raise Terminal(
                    f"field {path} lies below {parent}, which is a field itself (one of them may be written by the "
                    "pipeline); rename one"
                )
            level = holder["properties"]
        level[leaf] = dict(sorted(field.items()))
    return {"dynamic": False, "properties": properties}


def _leaves(at: str, node: Node) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Object):
        for key, child in node.properties.items():
            yield from _leaves(f"{at}.{key}" if at else key, child)
    elif isinstance(node, Array):
        yield from _leaves(at, node.items)
    else:
        yield at, _field(node)


def _field(node: Scalar | Choice) -> Mapping[str, Any]:
    if isinstance(node, Choice):
        if isinstance(node.values[0], str):
            return _WORD
        small = all(isinstance(value, int) and abs(value) <= _INTEGER_LIMIT for value in node.values)
        return {"type": "integer" if small else "long", "index": False}
    if node.instant:
        return _INSTANT
    if node.type == "string":
        return _IDENTIFIER if node.constraints.get("pattern") == ID_PATTERN else _WORD
    if node.type == "boolean":
        return {"type": "boolean", "index": False}
    if node.type == "number":
        return {"type": "double", "index": False}
    limits = [abs(node.constraints.get(key, _INTEGER_LIMIT + 1)) for key in ("minimum", "maximum")]
    return {"type": "integer" if max(limits) <= _INTEGER_LIMIT else "long", "index": False}

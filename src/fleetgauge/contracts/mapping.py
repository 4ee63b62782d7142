"""The explicit Elasticsearch mapping of a set of contracts.

`dynamic: false`: an unknown optional field is kept in `_source` and costs no index. Words (ids, codes, choices) are
keywords; numbers live in doc values only, which is enough to aggregate and, slower, to filter.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fleetgauge.contracts.subset import Array, Choice, Node, Object, Scalar
from fleetgauge.errors import Terminal

_INTEGER_LIMIT = 2**31 - 1
KEYWORD = {"type": "keyword", "ignore_above": 1024}
INSTANT = {"type": "date", "format": "epoch_millis"}


def mapping(contracts: Iterable[tuple[str, Object]], extra: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mapping body for (name, tree) pairs plus `extra` (dotted path → field mapping).

    Raises `Terminal` when two contracts give one field different types.
    """
    fields: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, node in contracts:
        for path, field in _leaves("", node):
            owner, known = fields.setdefault(path, (name, field))
            if known != field:
                raise Terminal(
                    f"field {path} has one type in contract {owner} and another in {name}; "
                    "one index needs one type: rename the field or use the same type"
                )
    for path, field in extra.items():
        if path in fields:
            raise Terminal(f"field {path} of contract {fields[path][0]} is written by the pipeline; rename it")
        fields[path] = ("", field)
    properties: dict[str, Any] = {}
    for path, (_, field) in sorted(fields.items()):
        *parents, leaf = path.split(".")
        level = properties
        for parent in parents:
            level = level.setdefault(parent, {"properties": {}})["properties"]
        level[leaf] = dict(field)
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
        return KEYWORD if isinstance(node.values[0], str) else {"type": "integer", "index": False}
    if node.instant:
        return INSTANT
    if node.type == "string":
        return KEYWORD
    if node.type == "boolean":
        return {"type": "boolean"}
    if node.type == "number":
        return {"type": "double", "index": False}
    limits = [abs(node.constraints.get(key, _INTEGER_LIMIT + 1)) for key in ("minimum", "maximum")]
    return {"type": "integer" if max(limits) <= _INTEGER_LIMIT else "long", "index": False}

"""What a definition may ask of documents: fields that the contracts name, of a type that can answer exactly.

So no path or value of a definition is ever free text, and a typing error is found before anything runs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fleetgauge.contracts import ContractSet
from fleetgauge.contracts.subset import Array, Node, Object
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import (
    Comparison,
    Count,
    Distinct,
    Extreme,
    Percentile,
    Scalar,
    Sum,
    Tally,
    Where,
)

EVENT_TIME = "@timestamp"

_WHOLE = ("integer", "long")
_NUMBER = (*_WHOLE, "double")
_GROUPED = ("keyword", "boolean", *_WHOLE)
_ANY = "texts, true or false, or whole numbers"
_WORDS = {"keyword": "texts", "boolean": "true or false", "integer": "whole numbers", "long": "whole numbers"}


def searchable(contracts: ContractSet, extra: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Every field of the documents, as `EventStream.fields` wants them; `extra` are those that the pipeline adds."""
    repeated = {path for contract in contracts.contracts for path in _repeated("", contract.node, within=False)}
    return {
        path: "" if path in repeated or field.get("doc_values") is False else field["type"]
        for path, field in _leaves("", contracts.mapping(extra)["properties"])
    }


def problems(definition: Definition, fields: Mapping[str, str]) -> list[str]:
    """One sentence for each thing that documents with these fields cannot give."""
    if definition.documents is None:
        return [f"source {definition.source} holds documents: write `documents: {{}}` in place of source.sql"]
    found = []
    if definition.event_time != EVENT_TIME:
        found.append(f"event_time: documents are kept by their event time; write {EVENT_TIME!r}")
    for key in ("change_time", "interval"):
        if getattr(definition, key) is not None:
            found.append(f"{key}: is for rows of a database; leave it out")
    found += _where("documents.where", definition.documents.where, fields)
    for name, dimension in definition.dimensions.items():
        types, words = (_GROUPED, _ANY) if dimension.tile is None else (("geo_point",), "a geo point")
        found += _of(f"dimensions.{name}", dimension.column, fields, types, words)
    for name, measure in definition.stored.items():
        key = f"measures.{name}"
        found += _where(f"{key}.where", measure.where, fields)
        match measure:
            case Count():
                pass
            case Distinct():
                found += _of(key, measure.of, fields, _GROUPED, _ANY)
            case Percentile():
                found += _of(key, measure.of, fields, _NUMBER, "numbers")
            case Sum() | Extreme() if measure.type == "numeric":
                found.append(
                    f"{key}: Elasticsearch adds in double precision; numeric would not be exact: write integer"
                )
            case Extreme() if measure.type in ("float", None):
                found += _of(key, measure.of, fields, _NUMBER, "numbers")
            case Extreme():  # of times it is milliseconds since the epoch
                found += _of(key, measure.of, fields, (*_WHOLE, "date"), "whole numbers, or a time")
            case Sum():
                found += _of(key, measure.of, fields, _WHOLE, "whole numbers")
            case Tally():
                found += _of(key, measure.of, fields, _WHOLE, "whole numbers")
            case _:
                found.append(f"{key}: agg {measure.agg} is not offered for documents")
    return found


def read_by(definition: Definition) -> list[str]:
    """Every field that the metric reads of documents."""
    wheres = [measure.where for measure in definition.stored.values()]
    if definition.documents is not None:
        wheres.append(definition.documents.where)
    found = {EVENT_TIME, *(one.column for one in definition.dimensions.values())}
    found.update(path for where in wheres for path in where)
    found.update(of for one in definition.stored.values() if isinstance(of := getattr(one, "of", None), str))
    return sorted(found)


def _where(key: str, where: Where, fields: Mapping[str, str]) -> Iterator[str]:
    for path, test in where.items():
        wrong = list(_of(key, path, fields, (*_GROUPED, "double"), "something to compare with"))
        yield from wrong
        if not wrong:
            unfit = [value for value in _values(test) if not _fits(value, fields[path])]
            if unfit:
                words = _WORDS.get(fields[path], "numbers")
                yield f"{key}: {path} holds {words}, so it cannot be compared with {unfit[0]!r}"


def _of(key: str, path: str, fields: Mapping[str, str], types: tuple[str, ...], words: str) -> Iterator[str]:
    if path not in fields:
        yield f"{key}: no contract of the consumer has a field {path}"
    elif not fields[path]:
        yield f"{key}: {path} is kept, but no search can use it: another field holds its value, or it is a list"
    elif fields[path] not in types:
        yield f"{key}: {path} is of type {fields[path]}, but this needs {words}"


def _values(test: Scalar | list[Scalar] | Comparison) -> list[Scalar]:
    if isinstance(test, list):
        return test
    if not isinstance(test, Comparison):
        return [test]
    single = (test.eq, test.ne, test.lt, test.lte, test.gt, test.gte)
    return [*(value for value in single if value is not None), *(test.not_in or ())]


def _fits(value: Scalar, kind: str) -> bool:
    if kind in ("keyword", "boolean"):
        return isinstance(value, str if kind == "keyword" else bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _leaves(at: str, properties: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, field in properties.items():
        if "type" in field:
            yield f"{at}{key}", field
        else:
            yield from _leaves(f"{at}{key}.", field.get("properties", {}))


def _repeated(at: str, node: Node, *, within: bool) -> Iterator[str]:
    if isinstance(node, Object):
        for key, child in node.properties.items():
            yield from _repeated(f"{at}.{key}" if at else key, child, within=within)
    elif isinstance(node, Array):
        yield from _repeated(at, node.items, within=True)
    elif within:
        yield at

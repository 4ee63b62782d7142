"""Elasticsearch's own client, to read what ingest has stored. It takes a second to import: consumers do without."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from elastic_transport import ApiError, JsonSerializer, TransportError
from elasticsearch import Elasticsearch, NotFoundError, helpers

from fleetgauge.elasticsearch.daily_indices import day_of
from fleetgauge.elasticsearch.node import Node, node
from fleetgauge.settings import ElasticsearchSettings

__all__ = [
    "ApiError",
    "Elasticsearch",
    "JsonSerializer",
    "NotFoundError",
    "TransportError",
    "closed_days",
    "connect",
    "foreign_indices",
    "helpers",
    "lacking_fields",
    "mistyped_fields",
]

_MIMETYPE = "application/vnd.elasticsearch+json"


def connect(settings: ElasticsearchSettings, json: JsonSerializer | None = None) -> Elasticsearch:
    """A client for one thread, which reads and writes bodies by `json`. Does not connect yet.

    Raises `Terminal` for a file of authorities that cannot be used.
    """
    json = json or JsonSerializer()
    return Elasticsearch(
        [node(settings, connections=1)],
        node_class=Node,
        max_retries=2,
        retry_on_timeout=True,  # reading is repeatable
        serializers={_MIMETYPE: json, "application/json": json},
    )


def closed_days(client: Elasticsearch, prefix: str) -> dict[str, datetime]:
    """The daily indices that somebody has closed, and when their UTC days begin. Blocks.

    They hold documents that no search reads. Needs the right view_index_metadata. Raises the client's errors.
    """
    found = client.indices.get_settings(
        index=f"{prefix}-*", expand_wildcards="closed", filter_path="*.settings.index.uuid"
    ).body
    days = {index: day_of(index, prefix) for index in sorted(found)}
    return {index: begin for index, begin in days.items() if begin is not None}


def foreign_indices(client: Elasticsearch, index: str) -> list[str]:
    """What stands behind an alias over daily indices and is none of them; empty for an index. Blocks.

    A copy there, such as a snapshot that was restored under another name, would count everything twice. Asked after a
    point in time was opened, it knows of all that is in it. Needs the right view_index_metadata. Raises the client's
    errors.
    """
    found = client.indices.get_alias(index=index, ignore_unavailable=True)
    return sorted(name for name in found.body if name != index and day_of(name, index) is None)


_KINDS = (
    frozenset({"byte", "short", "integer", "long", "unsigned_long"}),
    frozenset({"keyword", "constant_keyword", "wildcard"}),
)
"""Types of which each answers as the others do."""
_FRACTIONS = frozenset({"double", "float", "half_float", "scaled_float"}) | _KINDS[0]
"""What a fraction may be kept as."""


def mistyped_fields(client: Elasticsearch, prefix: str, types: Mapping[str, str]) -> dict[str, list[str]]:
    """The open daily indices that map some of the fields to another type than `types` says, and which. Blocks.

    A search over them fails, or answers something else. Raises the client's errors.
    """
    found = client.field_caps(index=prefix, fields=sorted(types), ignore_unavailable=True).body
    wrong: dict[str, list[str]] = {}
    for field, wanted in sorted(types.items()):
        fit = _FRACTIONS if wanted == "double" else next((one for one in _KINDS if wanted in one), {wanted})
        there = found["fields"].get(field, {})
        for kind in sorted(there.keys() - fit - {"unmapped"}):
            for index in there[kind].get("indices", found["indices"]):
                if day_of(index, prefix) is not None:
                    wrong.setdefault(index, []).append(field)
    return dict(sorted(wrong.items()))


def lacking_fields(client: Elasticsearch, prefix: str, fields: Sequence[str]) -> dict[str, list[str]]:
    """The open daily indices behind an alias whose mapping lacks some of the fields, and which. Blocks.

    A search finds nothing in such a field, whatever the documents hold. Needs the right view_index_metadata. Raises the
    client's errors.
    """
    found = client.field_caps(index=prefix, fields=fields, include_unmapped=True, ignore_unavailable=True).body
    lacking: dict[str, list[str]] = {}
    for field in sorted(fields):
        types = found["fields"].get(field)  # none, if no index has it; no list in it, if all have one type
        without = found["indices"] if types is None else types.get("unmapped", {}).get("indices", [])
        for index in without:
            if day_of(index, prefix) is not None:
                lacking.setdefault(index, []).append(field)
    return dict(sorted(lacking.items()))

"""Elasticsearch's own client, to read what ingest has stored. It takes a second to import: consumers do without."""

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
    "helpers",
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

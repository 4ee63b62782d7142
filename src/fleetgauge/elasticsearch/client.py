"""Elasticsearch's own client, to read what ingest has stored. It takes a second to import: consumers do without."""

from elastic_transport import ApiError, JsonSerializer, TransportError
from elasticsearch import Elasticsearch, NotFoundError, helpers

from fleetgauge.elasticsearch.node import Node, node
from fleetgauge.settings import ElasticsearchSettings

__all__ = ["ApiError", "Elasticsearch", "JsonSerializer", "NotFoundError", "TransportError", "connect", "helpers"]

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

"""Reaching Elasticsearch to read what ingest has stored."""

import ssl
from typing import Any

from elastic_transport import JsonSerializer
from elasticsearch import Elasticsearch

from fleetgauge.errors import Terminal
from fleetgauge.settings import ElasticsearchSettings

_MIMETYPE = "application/vnd.elasticsearch+json"


def connect(settings: ElasticsearchSettings, json: JsonSerializer) -> Elasticsearch:
    """A client for one thread, which reads and writes bodies by `json`. Does not connect yet.

    Raises `Terminal` for a file of authorities that cannot be used.
    """
    security: dict[str, Any] = {}
    if settings.api_key is not None:
        security["api_key"] = settings.api_key.get_secret_value()
    elif settings.username is not None:
        secret = settings.password.get_secret_value() if settings.password is not None else ""
        security["basic_auth"] = (settings.username, secret)
    if settings.ca_file is not None:
        try:
            security["ssl_context"] = ssl.create_default_context(cafile=str(settings.ca_file))
        except OSError as error:
            raise Terminal(
                f"elasticsearch.ca_file {settings.ca_file} cannot be used: {error}; name a readable PEM file"
            ) from error
    return Elasticsearch(
        settings.url,
        request_timeout=settings.request_timeout_s,
        max_retries=2,
        retry_on_timeout=True,  # reading is repeatable
        connections_per_node=1,
        serializers={_MIMETYPE: json, "application/json": json},
        **security,
    )

"""Where Elasticsearch is, who we are, whom we trust and how long we wait, said once for every kind of client."""

import ssl
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

from elastic_transport import HttpHeaders, NodeConfig
from elastic_transport.client_utils import url_to_node_config

from fleetgauge.elasticsearch.timely import TimelyNode
from fleetgauge.errors import Terminal
from fleetgauge.settings import ElasticsearchSettings


def node(settings: ElasticsearchSettings, connections: int) -> NodeConfig:
    """The node of the settings, with at most so many connections. Does not connect.

    Raises `Terminal` for a file of authorities that cannot be used, or settings that contradict each other.
    """
    try:
        return replace(
            url_to_node_config(settings.url, use_default_ports_for_scheme=True),
            headers=_authorization(settings),
            connections_per_node=connections,
            request_timeout=settings.request_timeout_s,
            ssl_context=_trust(settings),
        )
    except ValueError:
        raise Terminal("elasticsearch.url and elasticsearch.ca_file do not go together; correct them") from None


class Node(TimelyNode):
    """One that keeps to itself what it logs in with: a proxy's page of errors may repeat what it was sent."""

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        sent = str(config.headers.get("authorization", "")) if config.headers is not None else ""
        self._secrets = _secrets(sent.partition(" ")[2])

    def perform_request(self, *args: Any, **kwargs: Any) -> Any:
        """As the parent's, with asterisks in refusals."""
        answer = super().perform_request(*args, **kwargs)
        if answer.meta.status < 300:
            return answer
        data = answer.body
        for secret in self._secrets:
            data = data.replace(secret, b"***")
        return answer._replace(body=data)


def _secrets(token: str) -> tuple[bytes, ...]:
    if not token:
        return ()
    try:
        plain = b64decode(token, validate=True)
    except ValueError:
        plain = b""
    parts = (token.encode(), plain, plain.partition(b":")[2])
    return tuple(part for part in parts if len(part) > 3)


def _trust(settings: ElasticsearchSettings) -> ssl.SSLContext | None:
    if settings.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Terminal(f"elasticsearch.ca_file cannot be used: {why}; name a readable PEM file") from None


def _authorization(settings: ElasticsearchSettings) -> HttpHeaders:
    if settings.api_key is not None:
        return HttpHeaders({"authorization": f"ApiKey {settings.api_key.get_secret_value()}"})
    if settings.username is not None and settings.password is not None:
        login = f"{settings.username}:{settings.password.get_secret_value()}".encode()
        return HttpHeaders({"authorization": f"Basic {b64encode(login).decode()}"})
    return HttpHeaders()

"""Elasticsearch as a port: bytes in, status and bytes out. What an answer means is not decided here."""

from base64 import b64encode
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
from elastic_transport import (
    HttpHeaders,
    SerializationError,
    Serializer,
    TlsError,
    Transport,
    TransportError,
    Urllib3HttpNode,
)
from elastic_transport.client_utils import url_to_node_config

from fleetgauge.errors import Stop, Terminal, Transient
from fleetgauge.settings import ElasticsearchSettings


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes


class Bulk(Protocol):
    """The requests that ingest makes. Thread-safe; blocks for at most the request time-out."""

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        """One attempt, never repeated here.

        Raises `Transient` if no complete answer came (it may have been carried out all the same), `Stop` if the
        server is not to be trusted.
        """
        ...


class _Bytes(Serializer):
    """A serializer that leaves bytes alone: bodies are ready-made, and most answers need no look inside."""

    def __init__(self, mimetype: str) -> None:
        self.mimetype = mimetype  # type: ignore[misc] # a class variable upstream

    def dumps(self, data: Any) -> bytes:
        """Bytes as they are."""
        assert isinstance(data, bytes)
        return data

    def loads(self, data: bytes) -> bytes:
        """Bytes as they are."""
        return data


class ElasticsearchBulk:
    """The real one, over the transport of Elasticsearch's own client. Close it after use.

    The client itself stays out: its hundreds of API methods cost a consumer a second at every start, for six requests.
    """

    def __init__(self, settings: ElasticsearchSettings, connections: int = 4) -> None:
        """Does not connect. Raises `Terminal` if the settings contradict each other."""
        self._url = settings.url
        self._verified = False
        types = ("application/json", "application/x-ndjson", "text/plain", "text/html")
        try:
            node = replace(
                url_to_node_config(settings.url, use_default_ports_for_scheme=True),
                headers=_authorization(settings),
                connections_per_node=connections,
                request_timeout=settings.request_timeout_s,
                ca_certs=str(settings.ca_file) if settings.ca_file is not None else None,
            )
            self._transport = Transport(
                [node],
                node_class=Urllib3HttpNode,
                serializers={kind: _Bytes(kind) for kind in types},
                max_retries=0,
            )
        except (ValueError, OSError) as error:
            raise Terminal(
                f"elasticsearch.url {settings.url!r} or elasticsearch.ca_file is not usable: {error}"
            ) from None

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        """See `Bulk.request`."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/x-ndjson" if path.startswith("/_bulk") else "application/json"
        try:
            meta, answer = self._transport.perform_request(method, path, headers=headers, body=body)
        except TlsError as error:
            raise Stop(f"Elasticsearch at {self._url} is not trusted: {error}; check elasticsearch.ca_file") from None
        except SerializationError:
            raise Transient(f"{self._url} answered in an unknown format; is a proxy in between?") from None
        except TransportError as error:
            raise Transient(f"Elasticsearch at {self._url} gave no answer: {type(error).__name__}") from None
        if not self._verified and 200 <= meta.status < 300:
            if meta.headers.get("x-elastic-product") != "Elasticsearch":
                raise Stop(f"the server at {self._url} is not Elasticsearch; check elasticsearch.url")
            self._verified = True
        return Answer(meta.status, answer if isinstance(answer, bytes) else b"")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _authorization(settings: ElasticsearchSettings) -> HttpHeaders:
    if settings.api_key is not None:
        return HttpHeaders({"authorization": f"ApiKey {settings.api_key.get_secret_value()}"})
    if settings.username is not None and settings.password is not None:
        login = f"{settings.username}:{settings.password.get_secret_value()}".encode()
        return HttpHeaders({"authorization": f"Basic {b64encode(login).decode()}"})
    return HttpHeaders()


class Cause(msgspec.Struct):
    """An error of Elasticsearch."""

    type: str = "unknown"
    reason: str | None = None


class _Refused(msgspec.Struct):
    error: Cause | str = ""


def error_of(body: bytes) -> tuple[str, str]:
    """Type and reason of a refused request; "unknown" and the text's beginning if it is not its shape."""
    try:
        error = msgspec.json.decode(body, type=_Refused).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = ""
    if isinstance(error, Cause):
        return error.type, error.reason or ""
    return "unknown", error or body[:200].decode("utf-8", "replace")

"""Elasticsearch as a port: bytes in, status and bytes out. What an answer means is not decided here."""

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from elastic_transport import ConnectionError, ConnectionTimeout, Serializer, TlsError
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError

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
    """The real one, over elasticsearch-py's connection pool. Close it after use."""

    def __init__(self, settings: ElasticsearchSettings, connections: int = 4) -> None:
        """Does not connect. Raises `Terminal` if the settings contradict each other."""
        self._url = settings.url
        options: dict[str, Any] = {}
        if settings.ca_file is not None:
            options["ca_certs"] = str(settings.ca_file)
        if settings.api_key is not None:
            options["api_key"] = settings.api_key.get_secret_value()
        elif settings.username is not None and settings.password is not None:
            options["basic_auth"] = (settings.username, settings.password.get_secret_value())
        types = ("json", "x-ndjson", "vnd.elasticsearch+json", "vnd.elasticsearch+x-ndjson")
        try:
            self._client = Elasticsearch(
                settings.url,
                max_retries=0,
                retry_on_timeout=False,
                request_timeout=settings.request_timeout_s,
                connections_per_node=connections,
                serializers={f"application/{kind}": _Bytes(f"application/{kind}") for kind in types},
                **options,
            )
        except ValueError as error:
            raise Terminal(f"elasticsearch.url {settings.url!r} is not usable: {error}") from None

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        """See `Bulk.request`."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/x-ndjson" if path.startswith("/_bulk") else "application/json"
        try:
            response = self._client.perform_request(method, path, headers=headers, body=body)
        except ApiError as error:
            return Answer(error.meta.status, error.body if isinstance(error.body, bytes) else str(error.body).encode())
        except TlsError as error:
            raise Stop(f"Elasticsearch at {self._url} is not trusted: {error}; check elasticsearch.ca_file") from None
        except UnsupportedProductError:
            raise Stop(f"the server at {self._url} is not Elasticsearch; check elasticsearch.url") from None
        except (ConnectionTimeout, ConnectionError) as error:
            raise Transient(f"Elasticsearch at {self._url} gave no answer: {error.__class__.__name__}") from None
        if method == "HEAD":
            return Answer(response.meta.status, b"")
        answer = response.body
        return Answer(response.meta.status, answer if isinstance(answer, bytes) else str(answer).encode())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


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

"""Elasticsearch as a port: bytes in, status and bytes out. What an answer means is not decided here."""

import traceback
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from elastic_transport import (
    Serializer,
    Transport,
    TransportError,
)

from fleetgauge.elasticsearch.elasticsearch_errors import translate
from fleetgauge.elasticsearch.node import Node, node
from fleetgauge.errors import Stop
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
        if not isinstance(data, bytes):
            raise TypeError("a body must be bytes")
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
        self._transport = Transport(
            [node(settings, connections)],
            node_class=Node,
            serializers={kind: _Bytes(kind) for kind in types},
            max_retries=0,
        )

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        """See `Bulk.request`."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/x-ndjson" if path.startswith("/_bulk") else "application/json"
        try:
            meta, answer = self._transport.perform_request(method, path, headers=headers, body=body)
        except TransportError as error:
            _forget_frames(error)
            raise translate(error, f"Elasticsearch at {self._url}", "") from None
        if not self._verified and 200 <= meta.status < 300:
            if meta.headers.get("x-elastic-product") != "Elasticsearch":
                raise Stop(f"the server at {self._url} is not Elasticsearch; check elasticsearch.url")
            self._verified = True
        return Answer(meta.status, answer if isinstance(answer, bytes) else b"")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _forget_frames(error: BaseException) -> None:
    """Clear what the frames of a failure hold, such as the body of the request.

    Errors of urllib3 and their frames hold each other, so the body would stay until a full collection: seldom one comes
    while a consumer waits for a server that is away, and its memory would grow with each attempt.
    """
    waiting: list[object] = [error]
    seen = set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            waiting += [one.__context__, one.__cause__, *getattr(one, "errors", ())]


class Cause(msgspec.Struct):
    """An error of Elasticsearch."""

    type: str = "unknown"
    reason: str | None = None


class _ErrorAnswer(msgspec.Struct):
    error: Cause | str = ""


def error_of(body: bytes) -> tuple[str, str]:
    """Type and reason of a refused request; "unknown" and the text's beginning if it is not its shape."""
    try:
        error = msgspec.json.decode(body, type=_ErrorAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = ""
    if isinstance(error, Cause):
        return error.type, error.reason or ""
    return "unknown", error or body[:200].decode("utf-8", "replace")

"""Command documents out of Elasticsearch, in the order of their Kafka positions."""

import ssl
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from elastic_transport import JsonSerializer
from elasticsearch import ApiError, ConnectionTimeout, Elasticsearch, NotFoundError, TransportError
from elasticsearch import ConnectionError as ElasticsearchConnectionError

from fleetgauge.commands.events import SOURCE_FIELDS
from fleetgauge.errors import FleetgaugeError, Terminal, Transient
from fleetgauge.settings import ElasticsearchSettings

PAGE = 10_000  # the server's own limit, `index.max_result_window`
_KEEP_ALIVE = "5m"
_JSON = "application/vnd.elasticsearch+json"


@dataclass(frozen=True)
class Span:
    """Offsets of one partition: `start` is the first wanted, `stop` the first that is not."""

    start: int
    stop: int


@dataclass(frozen=True)
class Page:
    """Some documents, and the position of the last: all that sorts before it was in this page or an earlier one."""

    sources: list[Any]
    partition: int
    offset: int


class CommandDocuments(Protocol):
    """Where a fold reads events; a port so that a test can break it."""

    def pages(self, index: str, spans: Mapping[int, Span] | None) -> Generator[Page]:
        """Pages by ascending (partition, offset): documents within `spans`, or all with None. Close it when done.

        Blocks; sees every acknowledged write. An index that does not exist yet has no pages. Raises `Transient` or
        `Terminal`; never hands out a part as if it were all.
        """
        ...


class ElasticsearchDocuments:
    """The real ones. Use as a context manager, from one thread."""

    def __init__(self, settings: ElasticsearchSettings, *, page: int = PAGE) -> None:
        self._settings = settings
        self._page = page
        self._client = _connect(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def pages(self, index: str, spans: Mapping[int, Span] | None) -> Generator[Page]:
        """See `CommandDocuments`. Refreshes first, then reads one point in time, so writes meanwhile change nothing."""
        try:
            try:
                self._client.indices.refresh(index=index)
                point = self._client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE)["id"]
            except NotFoundError as error:
                if error.error == "index_not_found_exception":
                    return
                raise
            try:
                yield from self._scan(point, spans)
            finally:
                self._client.options(ignore_status=404).close_point_in_time(id=point)
        except (ApiError, TransportError) as error:
            raise _explain(error, self._settings.url, index) from error

    def _scan(self, point: str, spans: Mapping[int, Span] | None) -> Generator[Page]:
        after: list[Any] | None = None
        while True:
            answer = self._client.search(
                pit={"id": point, "keep_alive": _KEEP_ALIVE},
                query=_query(spans),
                # A point in time adds a tie-break: after a topic was made anew two documents can share a position.
                sort=[
                    {"kafka.partition": {"order": "asc", "unmapped_type": "long"}},
                    {"kafka.offset": {"order": "asc", "unmapped_type": "long"}},
                ],
                search_after=after,
                size=self._page,
                source_includes=SOURCE_FIELDS,
                track_total_hits=False,
                allow_partial_search_results=False,
                filter_path=["pit_id", "hits.hits._source", "hits.hits.sort"],
            )
            hits = answer.get("hits", {}).get("hits", [])
            if not hits:
                return
            point, after = answer["pit_id"], hits[-1]["sort"]
            yield Page([hit.get("_source") for hit in hits], int(after[0]), int(after[1]))
            if len(hits) < self._page:
                return


class _Json(JsonSerializer):
    """Decodes answers some three times faster than the standard library, and reads what only that one accepts."""

    def loads(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return super().loads(data)


class _ElasticsearchJson(_Json):
    mimetype = _JSON


def _connect(settings: ElasticsearchSettings) -> Elasticsearch:
    security: dict[str, Any] = {}
    if settings.api_key is not None:
        security["api_key"] = settings.api_key.get_secret_value()
    elif settings.username is not None:
        secret = settings.password.get_secret_value() if settings.password is not None else ""
        security["basic_auth"] = (settings.username, secret)
    if settings.ca_file is not None:
        security["ssl_context"] = ssl.create_default_context(cafile=str(settings.ca_file))
    return Elasticsearch(
        settings.url,
        request_timeout=settings.request_timeout_s,
        max_retries=2,
        retry_on_timeout=True,  # reading is repeatable
        connections_per_node=1,
        serializers={_JSON: _ElasticsearchJson(), "application/json": _Json()},
        **security,
    )


def _query(spans: Mapping[int, Span] | None) -> dict[str, Any]:
    if spans is None:
        return {"exists": {"field": "kafka.offset"}}
    wanted = [
        {
            "bool": {
                "filter": [
                    {"term": {"kafka.partition": partition}},
                    {"range": {"kafka.offset": {"gte": span.start, "lt": span.stop}}},
                ]
            }
        }
        for partition, span in sorted(spans.items())
    ]
    return {"bool": {"filter": [{"bool": {"should": wanted, "minimum_should_match": 1}}]}}


def _explain(error: ApiError | TransportError, url: str, index: str) -> FleetgaugeError:
    what = f"documents of index {index!r} could not be read from {url}: {error}"
    if isinstance(error, ElasticsearchConnectionError | ConnectionTimeout):
        return Transient(f"{what}; check that Elasticsearch runs there, then try again")
    status = error.status_code if isinstance(error, ApiError) else None
    if status in (401, 403):
        return Terminal(f"{what}; give the login the right to read and refresh (maintenance) this alias")
    if status == 404 or status == 429 or (status is not None and status >= 500):
        return Transient(f"{what}; try again when its shards are well")  # 404 here: the point in time has expired
    return Terminal(f"{what}; check the index' mapping and the server's version")

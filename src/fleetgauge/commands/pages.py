"""Command documents out of Elasticsearch, in the order of their Kafka positions."""

import json
import sys
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from fleetgauge.commands.events import SOURCE_FIELDS
from fleetgauge.elasticsearch.client import (
    ApiError,
    Elasticsearch,
    JsonSerializer,
    NotFoundError,
    TransportError,
    closed_days,
    connect,
    foreign_indices,
)
from fleetgauge.elasticsearch.daily_indices import without
from fleetgauge.elasticsearch.elasticsearch_errors import translate
from fleetgauge.elasticsearch.point_in_time import KEEP_ALIVE, documents_by_index, open_point
from fleetgauge.errors import Transient
from fleetgauge.progress.cursor import Offsets
from fleetgauge.settings import ElasticsearchSettings

PAGE = 10_000  # the server's own limit, `index.max_result_window`


@dataclass(frozen=True)
class Page:
    """Some documents, and the position of the last: all that sorts before it was in this page or an earlier one."""

    sources: Sequence[msgspec.Raw | bytes]
    """JSON, the fields `events.SOURCE_FIELDS` at least."""
    partition: int
    offset: int


class CommandDocuments(Protocol):
    """Where events are read; a port so that a test can break it."""

    def closed(self, index: str) -> Collection[str]:
        """The daily indices behind the alias that somebody has closed, so that they cannot be read. Blocks."""
        ...

    def documents(self, index: str) -> Mapping[str, int]:
        """How many documents each open daily index behind the alias holds. Blocks."""
        ...

    def pages(
        self,
        index: str,
        spans: Mapping[int, Offsets] | None,
        *,
        after: tuple[int, int] | None = None,
        without: Collection[str] = (),
    ) -> Generator[Page]:
        """Pages by ascending (partition, offset): documents within `spans`, or all with None. Close it when done.

        With `after`, only those at this position (partition, offset) and beyond it. `without`: the closed indices, as
        the caller has noted them; any other that turns out to be closed raises `Transient`.

        Blocks; sees every acknowledged write. An index that does not exist yet has no pages. Raises `Transient` or
        `Terminal`; never hands out a part as if it were all.
        """
        ...


class ElasticsearchDocuments:
    """The real ones. Use as a context manager, from one thread at a time."""

    def __init__(self, settings: ElasticsearchSettings, *, page: int = PAGE) -> None:
        self._settings = settings
        self._page = page
        self._client = connect(settings, _PageSerializer())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def closed(self, index: str) -> Collection[str]:
        """See `CommandDocuments`."""
        with self._translated(index):
            return closed_days(self._client, index)

    def documents(self, index: str) -> Mapping[str, int]:
        """See `CommandDocuments`."""
        with self._translated(index):
            return documents_by_index(self._client, index)

    def pages(
        self,
        index: str,
        spans: Mapping[int, Offsets] | None,
        *,
        after: tuple[int, int] | None = None,
        without: Collection[str] = (),
    ) -> Generator[Page]:
        """See `CommandDocuments`. Refreshes first, then reads one point in time, so writes meanwhile change nothing."""
        with self._translated(index):
            some = bool(without)
            try:
                point = open_point(self._client, index, ignore_unavailable=some)
            except NotFoundError as error:
                if error.error == "index_not_found_exception":
                    return
                raise
            scan = _Scan(self._client, point, self._page, foreign_indices(self._client, index))
            try:
                if some and (more := set(closed_days(self._client, index)) - set(without)):
                    raise Transient(f"index {', '.join(sorted(more))} has just been closed; the next run notes it")
                if spans is None:
                    yield from scan.read(_from(after))
                for partition, span in sorted((spans or {}).items()):
                    yield from self._windows(scan, partition, span)
            finally:
                self._client.options(ignore_status=404).close_point_in_time(id=scan.point)

    @contextmanager
    def _translated(self, index: str) -> Iterator[None]:
        try:
            yield
        except (ApiError, TransportError) as error:
            what = f"documents of index {index!r} could not be read from {self._settings.url}"
            rights = "give the login read, maintenance and view_index_metadata on this alias and its indices"
            raise translate(error, what, rights) from error

    def _windows(self, scan: "_Scan", partition: int, span: Offsets) -> Generator[Page]:
        """A span in pieces of about one page: the server then sorts what it returns, not all that is left each time."""
        start, width = span.start, self._page
        while start < span.stop:
            stop = min(start + width, span.stop)
            found = 0
            for page in scan.read(_within(partition, Offsets(start, stop))):
                found += len(page.sources)
                yield page
            # Offsets can be sparse (dead letters, events of before the index' retention).
            start, width = stop, self._page if found > self._page // 2 else width * 4


class _Scan:
    """Searches over one point in time."""

    def __init__(self, client: Elasticsearch, point: str, page: int, foreign: Collection[str]) -> None:
        self._foreign = foreign
        self.point = point
        """The id by which the server knows it next; every answer may change it."""
        self._client = client
        self._page = page

    def read(self, query: dict[str, Any]) -> Generator[Page]:
        """All that matches, by ascending (partition, offset)."""
        after: tuple[int, int, int] | None = None
        while True:
            answer = self._client.search(
                pit={"id": self.point, "keep_alive": KEEP_ALIVE},
                query=without(self._foreign, query),
                # A point in time adds a tie-break: after a topic was made anew two documents can share a position.
                sort=[
                    {"kafka.partition": {"order": "asc", "unmapped_type": "long"}},
                    {"kafka.offset": {"order": "asc", "unmapped_type": "long"}},
                ],
                search_after=list(after) if after is not None else None,
                size=self._page,
                source_includes=SOURCE_FIELDS,
                track_total_hits=False,
                allow_partial_search_results=False,
                filter_path=["pit_id", "hits.hits._source", "hits.hits.sort"],
            )
            found = answer.body
            if not isinstance(found, _Found):  # without any hit the filter leaves no `hits`
                self.point = found["pit_id"]
                return
            self.point, hits = found.pit_id, found.hits.hits
            after = hits[-1].sort
            yield Page([hit._source for hit in hits], partition=after[0], offset=after[1])
            if len(hits) < self._page:
                return


class _Hit(msgspec.Struct):
    _source: msgspec.Raw
    sort: tuple[int, int, int]


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Found(msgspec.Struct):
    """A page's answer; the documents stay bytes until somebody decodes them, which spares a dict for each."""

    pit_id: str
    hits: _Hits


class _PageSerializer(JsonSerializer):
    """Reads an answer with documents into `_Found`, any other as usual."""

    def json_loads(self, data: bytes) -> Any:
        return json.loads(data, parse_float=_representable, parse_int=_representable)

    def loads(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data, type=_Found)
        except msgspec.DecodeError:
            plain = super().loads(data)
        hits = plain.get("hits", {}).get("hits") if isinstance(plain, dict) else None
        if not hits:
            return plain
        # A document without any of the fields, or with text that is not Unicode (half of a surrogate pair), which the
        # standard library accepts: it will be found unusable, but must not hold up its neighbours.
        return _Found(
            plain["pit_id"],
            _Hits([_Hit(msgspec.Raw(json.dumps(hit.get("_source")).encode()), tuple(hit["sort"])) for hit in hits]),
        )


def _representable(number: str) -> int | float:
    """A number that can be written as JSON again: `1e400` would become `Infinity`, and 5,000 digits an error.

    Only what no field of a fact may hold is changed.
    """
    if len(number) < 20 and number.lstrip("-").isdigit():
        return int(number)
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


def _from(position: tuple[int, int] | None) -> dict[str, Any]:
    stored = {"exists": {"field": "kafka.offset"}}
    if position is None:
        return stored
    partition, offset = position
    rest = [
        {"range": {"kafka.partition": {"gt": partition}}},
        _within(partition, Offsets(offset, 2**63 - 1)),
    ]
    return {"bool": {"filter": [stored], "should": rest, "minimum_should_match": 1}}


def _within(partition: int, span: Offsets) -> dict[str, Any]:
    return {
        "bool": {
            "filter": [
                {"term": {"kafka.partition": partition}},
                {"range": {"kafka.offset": {"gte": span.start, "lt": span.stop}}},
            ]
        }
    }

"""Searches of one look at documents: aggregations over one point in time, page by page."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec
import structlog

from fleetgauge.elasticsearch.client import ApiError, Elasticsearch, JsonSerializer, closed_days, foreign_indices
from fleetgauge.elasticsearch.daily_indices import day_of, without
from fleetgauge.elasticsearch.elasticsearch_errors import kind_of
from fleetgauge.elasticsearch.point_in_time import KEEP_ALIVE, open_point
from fleetgauge.rollup.sources import elasticsearch_query as query

Group = Mapping[str, Any]
_log = structlog.get_logger(__name__)

_INDICES = 10_000
"""More days than anybody keeps."""


class Search:
    """Searches over one point in time, by a thread of its own: the server works while the last answer is digested."""

    def __init__(
        self,
        client: Elasticsearch,
        point: str | None,
        closed: Mapping[str, datetime] | None = None,
        *,
        foreign: Collection[str] = (),
        mistyped: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Without a point there is no index yet, and nothing is found. `foreign`: indices that are not read.

        `mistyped`: those among the closed that are left out for fields of another type, and which fields.
        """
        self.mistyped = mistyped or {}
        self.point = point
        self._foreign = foreign
        self.closed = closed or {}
        """Daily indices that the point leaves out, and when their days begin."""
        self.groups = 0
        """How many were handed out so far."""
        self._client = client
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollup-search")

    def close(self) -> None:
        """Drop what was not asked yet, and wait for the rest."""
        self._thread.shutdown(cancel_futures=True)

    def ask(self, where: query.Json, aggregations: query.Json) -> Mapping[str, Any]:
        """The aggregations of what matches; empty without an index. Blocks."""
        return self._thread.submit(self._search, where, aggregations).result()

    def documents(self) -> dict[str, int]:
        """How many documents each index holds, whatever they are; none without an index. Blocks."""
        by_index = {"all": {"terms": {"field": "_index", "size": _INDICES}}}
        found = self._thread.submit(self._search, {"match_all": {}}, by_index, whatever=True).result()
        found = found.get("all", {"buckets": []})
        return {one["key"]: one["doc_count"] for one in found["buckets"]}

    def ids(self, where: query.Json, most: int) -> list[str]:
        """The ids of what matches, those with the highest scores; none without an index. Blocks."""
        return self._thread.submit(self._ids, where, most).result()

    def grouped(self, where: query.Json, keys: list[query.Json], numbers: query.Json) -> Iterator[Group]:
        """Every group of what matches, however many pages they take. Asks at once; who iterates waits."""

        def page(after: Group | None) -> "Future[Mapping[str, Any]]":
            return self._thread.submit(self._search, where, query.groups(keys, numbers, query.PAGE, after))

        def groups(coming: "Future[Mapping[str, Any]]") -> Iterator[Group]:
            while True:
                found = coming.result().get("all", {"buckets": []})
                last = len(found["buckets"]) < query.PAGE
                if not last:
                    coming = page(found["after_key"])
                self.groups += len(found["buckets"])
                yield from found["buckets"]
                if last:
                    return

        return groups(page(None))

    def _search(self, where: query.Json, aggregations: query.Json, *, whatever: bool = False) -> Mapping[str, Any]:
        if self.point is None:
            return {}
        where = where if whatever else without(self._foreign, where)
        answer = self._client.search(
            pit={"id": self.point, "keep_alive": KEEP_ALIVE},
            **query.search(where, aggregations),
            allow_partial_search_results=False,
            filter_path=["pit_id", "aggregations"],
        ).body
        self.point = answer["pit_id"]
        found: Mapping[str, Any] = answer.get("aggregations", {})  # none, where every index is closed
        return found

    def _ids(self, where: query.Json, most: int) -> list[str]:
        if self.point is None:
            return []
        answer = self._client.search(
            pit={"id": self.point, "keep_alive": KEEP_ALIVE},
            query=without(self._foreign, where),
            size=most,
            source=False,
            track_total_hits=False,
            allow_partial_search_results=False,
            filter_path=["pit_id", "hits.hits._id"],
        ).body
        self.point = answer["pit_id"]
        return [hit["_id"] for hit in answer.get("hits", {}).get("hits", [])]


class GroupsSerializer(JsonSerializer):
    """An answer can have many thousand groups."""

    def json_loads(self, data: bytes) -> Any:
        """Of one answer."""
        return msgspec.json.decode(data)


def whole(client: Elasticsearch, index: str) -> Search | None:
    """A search over all; None where a daily index is closed. Raises the client's errors."""
    try:
        point = open_point(client, index)
        return Search(client, point, foreign=foreign_indices(client, index))
    except ApiError as error:
        if kind_of(error) != "index_closed_exception":
            raise
        return None


def without_closed(client: Elasticsearch, index: str, source: str) -> Search:
    """A search that knows what it leaves out: one closed day does not stop the others. Raises the client's errors."""
    before = closed_days(client, index)
    point = open_point(client, index, ignore_unavailable=True)
    closed = before | closed_days(client, index)  # whatever is closed or opened meanwhile counts as closed
    _log.warning(
        "daily indices are closed: what they hold is not read, windows of their days are not computed; open them",
        source=source,
        closed=sorted(closed),
    )
    return Search(client, point, closed, foreign=foreign_indices(client, index))


def without_mistyped(client: Elasticsearch, index: str, mistyped: Mapping[str, Sequence[str]]) -> Search:
    """A search that leaves out the daily indices which map fields to other types. Raises the client's errors.

    An alias cannot be searched less one of its indices, so their names are searched instead.
    """
    before = closed_days(client, index)
    named = ",".join([f"{index}-*", *(f"-{one}" for one in sorted(mistyped))])
    point = open_point(client, named, ignore_unavailable=True)
    there = client.indices.get_alias(index=f"{index}-*").body
    days = {one: day_of(one, index) for one in mistyped}
    closed = before | closed_days(client, index) | {one: begin for one, begin in days.items() if begin is not None}
    foreign = [one for one, of in there.items() if day_of(one, index) is None or index not in of["aliases"]]
    return Search(client, point, closed, foreign=sorted(foreign), mistyped=mistyped)

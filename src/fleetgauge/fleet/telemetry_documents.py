"""Telemetry out of Elasticsearch: the reports of some trips, in order of device and time, page by page."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from fleetgauge.elasticsearch.client import Elasticsearch, NotFoundError, connect, foreign_indices
from fleetgauge.elasticsearch.daily_indices import without
from fleetgauge.elasticsearch.elasticsearch_errors import translated
from fleetgauge.elasticsearch.point_in_time import KEEP_ALIVE, open_point
from fleetgauge.fleet.trip_reports import FIELDS, DeviceReport
from fleetgauge.settings import Settings

PAGE = 5_000
_Json = dict[str, Any]


class TripDocuments:
    """One point in time over a consumer's documents. Made by `documents`; one thread at a time, blocks."""

    def __init__(self, client: Elasticsearch, point: str | None, page: int, foreign: Collection[str] = ()) -> None:
        self.unreadable = 0
        """TripDocuments that do not have the types of their contract; they are left out."""
        self.point = point
        self._client = client
        self._page = page
        self._foreign = foreign

    def of_trips(self, trips: Sequence[str]) -> Iterator[tuple[str, list[DeviceReport]]]:
        """Each device with all its reports of these trips, by its own clock. At most some thousand trips at once."""
        found = self._hits({"terms": {"trip_id": list(trips)}})
        for device, reports in groupby(found, key=lambda report: report.device.id):
            yield device, list(reports)

    def batteries(self, spans: Mapping[str, tuple[int, int]]) -> dict[str, list[DeviceReport]]:
        """Battery reports of devices, each within its span (ms by its own clock, both ends included)."""
        if not spans:
            return {}
        each = [
            {"bool": {"filter": [{"term": {"device.id": device}}, _range(begin, end)]}}
            for device, (begin, end) in spans.items()
        ]
        query = {"bool": {"filter": [{"term": {"kind": "battery"}}], "should": each, "minimum_should_match": 1}}
        found: dict[str, list[DeviceReport]] = {}
        for report in self._hits(query):
            found.setdefault(report.device.id, []).append(report)
        return found

    def count(self, begin: datetime, end: datetime) -> int:
        """TripDocuments with an event time in [begin, end)."""
        if self.point is None:
            return 0
        query = _range(_ms(begin), _ms(end) - 1)
        answer = self._search(query=query, size=0, track_total_hits=True, filter_path=["pit_id", "hits.total.value"])
        return int(answer["hits"]["total"]["value"])

    def _hits(self, query: _Json) -> Iterator[DeviceReport]:
        after: list[Any] | None = None
        while self.point is not None:
            answer = self._search(
                query=query,
                sort=[{"device.id": "asc"}, {"@timestamp": "asc"}],
                search_after=after,
                size=self._page,
                source_includes=list(FIELDS),
                track_total_hits=False,
                filter_path=["pit_id", "hits.hits._source", "hits.hits.sort"],
            )
            hits = answer.get("hits", {}).get("hits", [])
            for hit in hits:
                try:
                    yield msgspec.convert(hit["_source"], DeviceReport)
                except (msgspec.ValidationError, KeyError):
                    self.unreadable += 1
            if len(hits) < self._page:
                return
            after = hits[-1]["sort"]

    def _search(self, query: _Json, **body: Any) -> Mapping[str, Any]:
        pit = {"id": self.point, "keep_alive": KEEP_ALIVE}
        query = without(self._foreign, query)
        answer: Mapping[str, Any] = self._client.search(
            pit=pit, query=query, allow_partial_search_results=False, **body
        ).body
        self.point = answer["pit_id"]
        return answer


@contextmanager
def documents(settings: Settings, index: str, page: int = PAGE) -> Iterator[TripDocuments]:
    """Refresh, and look at one point in time; without an index nothing is found. Raises `Transient` or `Terminal`."""
    about = f"documents of {index} could not be read from {settings.elasticsearch.url}"
    rights = f"give the login read and maintenance on {index} and {index}-* (deploy/elasticsearch)"
    client = connect(settings.elasticsearch)
    try:
        with translated(about, rights):
            point = _point(client, index)
            found = TripDocuments(client, point, page, () if point is None else foreign_indices(client, index))
            try:
                yield found
            finally:
                if found.point is not None:
                    client.options(ignore_status=404).close_point_in_time(id=found.point)
    finally:
        client.close()


def batches(trips: Iterable[tuple[str, str]], size: int) -> Iterator[list[str]]:
    """Trips in pieces of at least `size`, never between two of one vehicle. Pairs of vehicle and trip, in order."""
    batch: list[str] = []
    for _, own in groupby(trips, key=lambda pair: pair[0]):
        batch += [trip for _, trip in own]
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _point(client: Elasticsearch, index: str) -> str | None:
    try:
        return open_point(client, index)
    except NotFoundError as error:
        if error.error != "index_not_found_exception":
            raise
        return None


def _range(begin_ms: int, end_ms: int) -> _Json:
    return {"range": {"@timestamp": {"gte": begin_ms, "lte": end_ms}}}


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)

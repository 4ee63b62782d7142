"""Facts in Elasticsearch: the documents of one consumer, whose groups and indices each look asks anew."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, partial

import msgspec

from fleetgauge.clock import Clock
from fleetgauge.elasticsearch.client import (
    ApiError,
    Elasticsearch,
    NotFoundError,
    TransportError,
    connect,
    lacking_fields,
    mistyped_fields,
)
from fleetgauge.elasticsearch.elasticsearch_errors import translated
from fleetgauge.elasticsearch.lost_days import Days
from fleetgauge.errors import Terminal, Transient
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress.cursor import GroupCursor
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.progress.offsets import GroupProgress, read_progress
from fleetgauge.progress.round_progress import RoundProgress
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources.elasticsearch_facts import ElasticsearchFacts
from fleetgauge.rollup.sources.elasticsearch_fields import problems, read_by
from fleetgauge.rollup.sources.elasticsearch_search import (
    GroupsSerializer,
    Search,
    whole,
    without_closed,
    without_mistyped,
)
from fleetgauge.rollup.sources.port import Conflict, key_of, looking
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.settings import Settings


class ElasticsearchSource:
    """The documents of one consumer. One client, made when first needed and again after a failure; not thread-safe."""

    def __init__(
        self, name: str, stream: EventStream, settings: Settings, clock: Clock, kept: RoundProgress | None = None
    ) -> None:
        """`kept`: looks of one round share an answer of Kafka; without it each asks."""
        self.name = name
        self.seconds = 0.0
        self._stream = stream
        self._settings = settings
        self._clock = clock
        self._kept = kept
        self._client: Elasticsearch | None = None
        self._mistyped: dict[str, dict[str, list[str]]] = {}
        """By version of a definition: the daily indices that it cannot read, as the last run's first look found."""

    @contextmanager
    def look(self, definition: Definition) -> Iterator[ElasticsearchFacts]:
        """See `Source`."""
        with looking(self):
            found = problems(definition, self._stream.fields)
            if found:
                raise Terminal(f"metric {definition.metric} cannot be read from {self.name}: {'; '.join(found)}")
            key = key_of(definition, DistinctKey.of(self._settings.rollup.distinct_key))
            progress, shared = self._kept.of(self._progress) if self._kept else (self._progress(), None)
            own = progress[self._stream.group]
            with self._translated(), self._search(self._mistyped.get(definition.version, {})) as search:
                token = msgspec.to_builtins({g: GroupCursor.at(p) for g, p in progress.items()}, str_keys=True)
                source_watermark = SourceWatermark(own.watermark, own.observed_at)
                kept = self._stream.kept
                kept_from = None if kept is None else own.observed_at - kept
                days = cache(partial(self._days, definition, search))
                yield ElasticsearchFacts(
                    definition, source_watermark, search, progress, token, key, kept_from, days, own.missed, shared
                )

    def connect_ahead(self, definition: Definition) -> None:
        """See `Source`. Its client connects with each first request."""

    def close(self) -> None:
        """See `Source`."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _progress(self) -> dict[str, GroupProgress]:
        """Where the groups stand. Read before the index is refreshed: what they have finished can then be found."""
        kafka, topic, groups = self._settings.kafka, self._stream.topic, (*self._stream.replays, self._stream.group)
        try:
            return {g: read_progress(kafka, topic, g, self._clock) for g in groups}
        except Transient as error:
            raise Conflict(f"source {self.name}: {error}") from error

    @contextmanager
    def _search(self, mistyped: Mapping[str, Sequence[str]]) -> Iterator[Search]:
        if self._client is None:
            self._client = connect(self._settings.elasticsearch, GroupsSerializer())
        client = self._client
        try:
            search = without_mistyped(client, self._stream.index, mistyped) if mistyped else None
            search = (
                search or whole(client, self._stream.index) or without_closed(client, self._stream.index, self.name)
            )
        except NotFoundError as error:
            if error.error != "index_not_found_exception":
                raise
            search = Search(client, None)
        try:
            yield search
        finally:
            search.close()
            if search.point is not None:
                self._forget(client, search.point)

    def _days(self, definition: Definition, search: Search) -> Days:
        index = self._stream.index
        if search.point is None or self._client is None:
            return Days(index, {})
        read = read_by(definition)
        wrong = mistyped_fields(self._client, index, {one: self._stream.fields[one] for one in read})
        if wrong != search.mistyped:  # the look is to leave them out, or can read them again
            self._mistyped[definition.version] = wrong
            raise Conflict(f"source {self.name}: fields of other types in {', '.join(wrong) or 'no index any more'}")
        lacking = lacking_fields(self._client, index, read)
        return Days(index, search.documents(), search.closed, lacking, wrong)

    def _forget(self, client: Elasticsearch, point: str) -> None:
        with suppress(ApiError, TransportError):  # it expires by itself, and what was read is right
            client.options(ignore_status=404, max_retries=0).close_point_in_time(id=point)

    def _translated(self) -> AbstractContextManager[None]:
        index, url = self._stream.index, self._settings.elasticsearch.url
        return translated(
            f"source {self.name}: documents of {index} could not be read from {url}",
            f"give the login read, maintenance and view_index_metadata on {index} and {index}-* (deploy/elasticsearch)",
        )

"""Documents that a test gives, in an index of their own that is deleted afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

from fleetgauge.elasticsearch.client import ApiError, Elasticsearch, TransportError, connect, helpers
from fleetgauge.errors import Terminal
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources.elasticsearch_facts import ElasticsearchFacts
from fleetgauge.rollup.sources.elasticsearch_search import Search
from fleetgauge.settings import ElasticsearchSettings

PREFIX = "fleetgauge-metric-test-"
"""What the indices are called; the login needs the rights to create and delete those."""


class GivenDocuments:
    """See `Source`: documents of a test, with the fields that the consumer's contracts name, as they are at an instant.

    The index is made when first looked at. `close` deletes it.
    """

    def __init__(
        self,
        settings: ElasticsearchSettings,
        fields: Mapping[str, str],
        documents: list[dict[str, Any]],
        now: datetime,
    ) -> None:
        """`fields` is that of the consumer's `EventStream`."""
        self.name = "of the test"
        self.seconds = 0.0
        self._settings = settings
        self._fields = fields
        self._documents = documents
        self._now = now
        self._client: Elasticsearch | None = None
        self._index = f"{PREFIX}{uuid4().hex[:12]}"

    @contextmanager
    def look(self, definition: Definition) -> Iterator[ElasticsearchFacts]:
        """See `Source`. Raises `Terminal` for documents that Elasticsearch does not take, or when it is away."""
        try:
            if self._client is None:
                self._client = connect(self._settings)
                self._store(self._client)
            point = self._client.open_point_in_time(index=self._index, keep_alive="5m")["id"]
            with closing(Search(self._client, point)) as search:
                yield ElasticsearchFacts(definition, SourceWatermark(self._now, self._now), search, {}, {})
        except (ApiError, TransportError, helpers.BulkIndexError) as error:
            said = str(error.errors[0]) if isinstance(error, helpers.BulkIndexError) else str(error)
            raise Terminal(
                f"the given documents could not be searched at {self._settings.url}: {said}; tests of documents need a "
                f"running Elasticsearch, and a login that may create and delete indices called {PREFIX}*"
            ) from error

    def connect_ahead(self, definition: Definition) -> None:
        """See `Source`."""

    def close(self) -> None:
        """See `Source`."""
        if self._client is not None:
            with closing(self._client), suppress(ApiError, TransportError):
                self._client.options(ignore_status=404).indices.delete(index=self._index)
            self._client = None

    def _store(self, client: Elasticsearch) -> None:
        known = {path: {"type": kind} for path, kind in self._fields.items() if kind}
        client.indices.create(
            index=self._index,
            settings={"number_of_shards": 1, "number_of_replicas": 0},
            mappings={"dynamic": False, "properties": known},
        )
        helpers.bulk(client, self._documents, index=self._index, refresh=True)

"""Which class stands behind the name of a source."""

from collections.abc import Mapping

from fleetgauge.clock import SystemClock
from fleetgauge.rollup.definition import COMMANDS
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.postgres import PostgresSource
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.settings import Settings, SourceSettings


def open_source(settings: Settings, name: str, streams: Mapping[str, EventStream] | None = None) -> Source:
    """The source that a definition names; `streams` are those that are documents in Elasticsearch, by name.

    Raises `Terminal` for one that is not configured; does not connect.
    """
    if streams and name in streams:
        from fleetgauge.rollup.sources.elasticsearch import ElasticsearchSource  # its client takes long to import

        return ElasticsearchSource(name, streams[name], settings, SystemClock())
    if name == COMMANDS:
        return PostgresSource(name, SourceSettings(url=settings.metrics.url), itself=True)
    return PostgresSource(name, settings.source(name))

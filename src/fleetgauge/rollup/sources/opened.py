"""Which class stands behind the name of a source."""

from collections.abc import Callable, Mapping

from fleetgauge.clock import SystemClock
from fleetgauge.errors import Terminal
from fleetgauge.rollup.definitions.definition import COMMANDS
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.postgres import PostgresSource
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.settings import Settings, SourceSettings

DIALECTS: dict[str, Callable[[str, SourceSettings], Source]] = {
    "postgresql": PostgresSource,
    "postgres": PostgresSource,
}
"""The class for each scheme of a source's address; a second dialect is a class and a line here."""


def open_source(settings: Settings, name: str, streams: Mapping[str, EventStream] | None = None) -> Source:
    """The source that a definition names; `streams` are those that are documents in Elasticsearch, by name.

    Raises `Terminal` for one that is not configured; does not connect.
    """
    if streams and name in streams:
        from fleetgauge.rollup.sources.elasticsearch import ElasticsearchSource  # its client takes long to import

        return ElasticsearchSource(name, streams[name], settings, SystemClock())
    if name == COMMANDS:
        return PostgresSource(name, SourceSettings(url=settings.metrics.url), itself=True)
    configured = settings.source(name)
    dialect = configured.url.get_secret_value().partition(":")[0]
    if dialect not in DIALECTS:
        raise Terminal(
            f"source {name}: there is no source class for {dialect}:// (known: {', '.join(sorted(DIALECTS))}); "
            f"correct sources.{name}.url"
        )
    return DIALECTS[dialect](name, configured)

"""Which class stands behind the name of a source."""

from fleetgauge.rollup.definition import COMMANDS
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.postgres import PostgresSource
from fleetgauge.settings import Settings, SourceSettings


def open_source(settings: Settings, name: str) -> Source:
    """The source that a definition names. Raises `Terminal` for one that is not configured; does not connect."""
    if name == COMMANDS:
        return PostgresSource(name, SourceSettings(url=settings.metrics.url), itself=True)
    return PostgresSource(name, settings.source(name))

"""Which class stands behind the name of a source."""

from collections.abc import Callable, Mapping

from fleetgauge.clock import Clock, SystemClock
from fleetgauge.errors import Terminal
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress.round_progress import RoundProgress
from fleetgauge.rollup.definitions.definition import COMMANDS
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.postgres import PostgresSource
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.settings import Settings, SourceSettings


def _mysql(name: str, settings: SourceSettings, *, key: DistinctKey | None) -> Source:
    try:
        from fleetgauge.rollup.sources.mysql import MysqlSource  # its driver is an extra of its own
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pymysql":
            raise
        raise Terminal(
            f"source {name} is MariaDB or MySQL, whose driver is not installed; pip install 'fleetgauge[mysql]'"
        ) from None
    return MysqlSource(name, settings, key=key)


DIALECTS: dict[str, Callable[..., Source]] = {
    "postgresql": PostgresSource,
    "postgres": PostgresSource,
    "mariadb": _mysql,
    "mysql": _mysql,
}
"""The class for each scheme of a source's address; another dialect is a class and a line here."""


def open_source(
    settings: Settings,
    name: str,
    streams: Mapping[str, EventStream] | None = None,
    clock: Clock | None = None,
    kept: RoundProgress | None = None,
) -> Source:
    """The source that a definition names; `streams` are those that are documents in Elasticsearch, by name.

    `clock` is this worker's, by which a topic that is read to its end is finished; `kept` is what looks at documents
    share.

    Raises `Terminal` for one that is not configured; does not connect.
    """
    key = DistinctKey.of(settings.rollup.distinct_key)
    if streams and name in streams:
        from fleetgauge.rollup.sources.elasticsearch import ElasticsearchSource  # its client takes long to import

        return ElasticsearchSource(name, streams[name], settings, clock or SystemClock(), kept)
    if name == COMMANDS:
        return PostgresSource(name, SourceSettings(url=settings.metrics.url), itself=True, key=key)
    configured = settings.source(name)
    dialect = DIALECTS.get(configured.url.scheme)
    if dialect is None:  # a mistyped scheme is a part of the address, so it is not repeated
        raise Terminal(
            f"source {name}: the scheme of sources.{name}.url is not one of {', '.join(sorted(DIALECTS))}; correct it"
        )
    return dialect(name, configured, key=key)

"""Make templates and days ready for consumers whose own login may not: the engine of `fleetgauge indices`."""

from collections.abc import Collection
from dataclasses import dataclass

from fleetgauge.elasticsearch.transport import Bulk, ElasticsearchBulk
from fleetgauge.errors import Terminal
from fleetgauge.ingest.check.lint_consumers import named_or_all
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.indices.event_indices import Indices
from fleetgauge.ingest.operate.launch import contracts_of
from fleetgauge.settings import Settings


@dataclass(frozen=True)
class InstallOutcome:
    """What became of one consumer's indices."""

    consumer: str
    index: str
    changed: bool
    """False: everything was as it should be. With `dry_run`: whether something would be changed."""


def run(
    settings: Settings, names: Collection[str] = (), *, dry_run: bool = False, bulk: Bulk | None = None
) -> list[InstallOutcome]:
    """Install what the named consumers need, or all that are declared; blocks. Safe to repeat and to interrupt.

    Raises `Terminal` (content that cannot be read), `Transient`, `Stop` (the login may not).
    """
    consumers, problems = named_or_all(settings.content, names)
    if problems:
        raise Terminal(f"{problems[0]}; `fleetgauge lint` lists all problems")
    sink = bulk or ElasticsearchBulk(settings.elasticsearch, connections=1)
    try:
        return [_install(sink, settings, consumer, dry_run=dry_run) for consumer in consumers]
    finally:
        if isinstance(sink, ElasticsearchBulk):
            sink.close()


def _install(bulk: Bulk, settings: Settings, consumer: Consumer, *, dry_run: bool) -> InstallOutcome:
    indices = Indices(bulk, consumer.index, contracts_of(settings, consumer), consumer.retention)
    changed = not indices.installed()
    if changed and not dry_run:
        indices.install()
    return InstallOutcome(consumer.name, consumer.index, changed)

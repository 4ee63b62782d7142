"""One pass over one source: what the command line and the DAGs call. Puts the parts together, decides nothing."""

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import structlog

from fleetgauge.clock import SystemClock
from fleetgauge.commands.tariff import apply_tariffs, load_tariffs
from fleetgauge.errors import Terminal
from fleetgauge.rollup import COMMANDS, Definition, Grain, PassReport, load_definitions, raise_failures, run_metrics
from fleetgauge.rollup.migrate import Migration
from fleetgauge.rollup.migrate import migrate as migrate_metrics
from fleetgauge.rollup.sources.stream import EventStream
from fleetgauge.settings import Settings

if TYPE_CHECKING:
    from fleetgauge.ingest.consumer import Consumer

_log = structlog.get_logger(__name__)

COMMANDS_CONSUMER = "device_commands"
"""The consumer whose documents are folded into `command_attempt` before that table is read."""


def metrics_by_source(content: Path) -> dict[str, tuple[str, ...]]:
    """Source → its metrics, both in alphabetical order. Reads files only. Raises `Terminal` listing bad definitions."""
    definitions = load_definitions(content)
    sources = sorted({definition.source for definition in definitions.values()})
    return {source: tuple(_of_source(definitions, source)) for source in sources}


def run(
    settings: Settings,
    source: str,
    grain: Grain,
    interval: tuple[datetime, datetime] | None = None,
    metrics: Collection[str] | None = None,
) -> list[PassReport]:
    """Bring the metrics of a source up to date at a grain; recompute `interval` (aware, end exclusive) in any case.

    A minute pass takes up what changed since the last one and carries it into the hours and days above. For the source
    `commands` it first folds what ingest has finished. `metrics` narrows it to some of the source's metrics. Blocks
    until done. One metric's failure does not stop the others; afterwards one error is raised that names all.
    """
    definitions = load_definitions(settings.content)
    chosen = _of_source(definitions, source)
    if metrics is not None:
        chosen = {name: definition for name, definition in chosen.items() if name in metrics}
    if not chosen:
        known = ", ".join(sorted({definition.source for definition in definitions.values()}))
        raise Terminal(f"no metric reads from source {source!r} (sources: {known}); see sql/metrics")
    watermark = _fold(settings) if source == COMMANDS and grain == "minute" else None
    streams = event_streams(settings.content, chosen.values())
    reports = run_metrics(settings, chosen.values(), grain, interval, watermark=watermark, streams=streams)
    for report in reports:  # before anything is raised: what did succeed belongs in the task's log
        _log.info("pass", **report.to_dict())
    raise_failures(reports)
    return reports


def migrate(settings: Settings, *, dry_run: bool = False) -> Migration:
    """Bring the metrics database up to date: schema, metric tables, views, prices. Safe to repeat; blocks until done.

    Bad prices are told before anything is changed. Raises `Terminal` or `Transient` as `rollup.migrate.migrate` does.
    """
    load_tariffs(settings.content)
    migration = migrate_metrics(settings, load_definitions(settings.content), dry_run=dry_run)
    if not dry_run and settings.metrics.owner_url is not None:
        with psycopg.connect(settings.metrics.owner_url.get_secret_value()) as owner:
            apply_tariffs(owner, settings.content)
    return migration


def event_streams(content: Path, definitions: Iterable[Definition]) -> dict[str, EventStream]:
    """The sources of these metrics that are documents of a consumer. Reads files only; raises `Terminal`."""
    sources = sorted({definition.source for definition in definitions if definition.documents is not None})
    return {source: _stream(content, source) for source in sources}


def document_problems(content: Path, definitions: Iterable[Definition]) -> list[str]:
    """One sentence for each thing that a metric asks of documents which they cannot give. Reads files only."""
    from fleetgauge.rollup.sources.elasticsearch_fields import problems

    found = []
    for definition in definitions:
        if definition.documents is not None:
            where = f"sql/metrics/{definition.metric}/metric.yaml"
            try:
                stream = _stream(content, definition.source)
            except Terminal as error:
                found.append(f"{where}: source: {error}")
            else:
                found += [f"{where}: {problem}" for problem in problems(definition, stream.fields)]
    return found


def _of_source(definitions: dict[str, Definition], source: str) -> dict[str, Definition]:
    return {name: definition for name, definition in sorted(definitions.items()) if definition.source == source}


def _fold(settings: Settings) -> datetime:
    """Fold the finished command events; returns the watermark by which command windows may close."""
    from fleetgauge.commands.fold import FoldSource, fold
    from fleetgauge.ingest.consumer import load_consumer

    consumer = load_consumer(settings.content, COMMANDS_CONSUMER)
    # Its own last: it alone decides what has passed.
    for group in (*_replays(settings.content, consumer), consumer.group):
        report = fold(settings, FoldSource(consumer.topic, group, consumer.index), SystemClock())
        _log.info("fold", group=group, **asdict(report))
    return report.watermark


def _stream(content: Path, source: str) -> EventStream:
    """What the consumer of that name stores. Raises `Terminal` when it, or one of its contracts, cannot be read."""
    from fleetgauge.contracts import ContractSet
    from fleetgauge.contracts import load as load_contracts
    from fleetgauge.ingest.check import RESERVED
    from fleetgauge.ingest.consumer import load_consumer
    from fleetgauge.ingest.index import suffix_fields
    from fleetgauge.rollup.sources.elasticsearch_fields import searchable

    consumer = load_consumer(content, source)
    known = load_contracts(content / "schemas" / "events")
    if missing := sorted(set(consumer.contracts) - known.keys()):
        raise Terminal(
            f"consumer {consumer.name} names contract {', '.join(missing)}, which schemas/events lacks; add it"
        )
    contracts = ContractSet((known[kind] for kind in consumer.contracts), RESERVED)
    fields = searchable(contracts, suffix_fields(bool(contracts.located)))
    return EventStream(consumer.topic, consumer.group, consumer.index, _replays(content, consumer), fields)


def _replays(content: Path, consumer: "Consumer") -> tuple[str, ...]:
    """Groups that read the same topic into the same index, so that what they store lies anywhere in the topic."""
    from fleetgauge.ingest.check import load_consumers

    same = [
        other.group
        for other in load_consumers(content)[0].values()
        if (other.topic, other.index) == (consumer.topic, consumer.index) and other.group != consumer.group
    ]
    return tuple(sorted(same))

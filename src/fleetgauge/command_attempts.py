"""Keeps `command_attempt` as the metrics need it: materialised before they read it, read again, dropped by the month.

Puts together what ingest knows of the consumer and what `commands` does; called by runs, the command line and the DAGs.
"""

from dataclasses import asdict, replace
from datetime import datetime

import structlog

from fleetgauge import postgres
from fleetgauge.clock import SystemClock
from fleetgauge.commands import month_partitions, rebuild
from fleetgauge.document_sources import replaying_groups
from fleetgauge.rollup import COMMANDS, read_definitions
from fleetgauge.settings import Settings

_log = structlog.get_logger(__name__)

COMMANDS_CONSUMER = "device_commands"
"""The consumer whose documents are materialised as `command_attempt` before that table is read."""


def materialise_commands(settings: Settings, *, quiet: bool = False) -> datetime:
    """Materialise the finished command events; returns the watermark by which command windows may close.

    `quiet`: it is done every few seconds, and not worth a line each time. Raises as `materialise`, and `Terminal` when
    the metrics database is of another release.
    """
    from fleetgauge.commands.materialise import CommandSource, materialise
    from fleetgauge.ingest.consumer import load_consumer

    consumer = load_consumer(settings.content, COMMANDS_CONSUMER)
    # Its own last: it alone decides what has passed.
    for group in (*replaying_groups(settings.content, consumer), consumer.group):
        source = CommandSource(consumer.topic, group, consumer.index, consumer.retention)
        report = materialise(settings, source, SystemClock())
        (_log.debug if quiet else _log.info)("materialised", group=group, **asdict(report))
    return report.watermark


def rebuild_commands(settings: Settings, *, from_empty: bool = False, dry_run: bool = False) -> rebuild.Rebuilt:
    """Read every stored command event again; goes on with a rebuild that was broken off. Blocks until done.

    Raises `Transient` or `Terminal`; whatever it raises, the next run or rebuild goes on where this one stood.
    """
    with postgres.metrics(settings.metrics).session("rebuild", lock_timeout="120s") as connection:
        sources = tuple(rebuild.progress(connection))
        before = rebuild.Rebuilt(sources, *rebuild.held(connection))
        if dry_run:
            return before
        if from_empty or not any(one.rescan for one in sources):
            with connection.transaction():
                rebuild.request(connection, from_empty=from_empty)
        materialise_commands(settings)
        events, attempts = rebuild.held(connection)
    return replace(before, events_after=events, attempts_after=attempts)


def drop_command_months(settings: Settings, *, dry_run: bool = False) -> month_partitions.Expired:
    """Drop the months of command events and attempts that no metric over them needs any more (`source_kept`).

    Waits up to a minute for whoever reads them. Raises `Transient` or `Terminal`.
    """
    found = read_definitions(settings.content)
    if found.broken:
        _log.warning("no month of commands is dropped: who knows what these metrics need", metrics=sorted(found.broken))
        return month_partitions.Expired(None)
    kept = [one.source_kept for one in found.valid.values() if one.source == COMMANDS]
    longest = max((one for one in kept if one is not None), default=None)
    with postgres.metrics(settings.metrics).session("retention", lock_timeout="60s") as connection:
        return month_partitions.drop_before(connection, None if None in kept else longest, dry_run=dry_run)

"""Vehicles that may stop while somebody rides them: what the command line and the DAG call. Puts the parts together."""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from fleetgauge import postgres
from fleetgauge.clock import SystemClock
from fleetgauge.errors import Terminal
from fleetgauge.fleet import suspect_store
from fleetgauge.fleet.suspect_method import FILE, FOLDER, Method, load
from fleetgauge.fleet.suspect_store import Repair, Suspect
from fleetgauge.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from fleetgauge.fleet.suspect_run import DayReport


def run(settings: Settings, days: Collection[date] | None = None, *, dry_run: bool = False) -> "list[DayReport]":
    """Judge the days that are new or have changed, or these. Blocks; raises `Transient`, `Terminal` or `Stop`."""
    from fleetgauge.fleet.suspect_run import run_days
    from fleetgauge.ingest.consumer import load_consumer

    method = load(settings.content)
    try:
        consumer = load_consumer(settings.content, method.consumer)
    except Terminal as error:
        raise Terminal(f"{FOLDER / FILE}: consumer: {error}") from error
    return run_days(settings, method, consumer.index, _until(settings, method), days, dry_run=dry_run)


def suspects(settings: Settings, on: date | None = None, stretch: timedelta | None = None) -> list[Suspect]:
    """Suspects as of a day (none: the last that was judged), or of any day of the stretch that ends with it.

    The highest score first; of a vehicle that was a suspect on several days, the day of its highest score.
    """
    with postgres.metrics(settings.metrics).session("fleet") as connection:
        last = on or suspect_store.newest(connection)
        if last is None:
            return []
        best: dict[str, Suspect] = {}
        for back in range(max(1, (stretch or timedelta()).days)):
            for one in suspect_store.suspects(connection, last - timedelta(days=back)):
                if one.vehicle not in best or one.score > best[one.vehicle].score:
                    best[one.vehicle] = one
    return sorted(best.values(), key=lambda one: (-one.score, one.vehicle))


def repaired(settings: Settings, vehicle: str, on: date, *, found: bool, dry_run: bool = False) -> Repair:
    """Write down what a mechanic found; what spoke against the vehicle up to that day counts no more."""
    with postgres.metrics(settings.metrics).session("fleet", lock_timeout="60s") as connection:
        return suspect_store.mark(connection, vehicle, on, found=found, dry_run=dry_run)


def _until(settings: Settings, method: Method) -> datetime:
    """Up to when all telemetry can be found: what the consumer has committed, and those who replay for it."""
    from fleetgauge.document_sources import replaying_groups
    from fleetgauge.ingest.consumer import load_consumer
    from fleetgauge.progress.offsets import read_progress

    consumer = load_consumer(settings.content, method.consumer)
    groups = (consumer.group, *replaying_groups(settings.content, consumer))
    clock = SystemClock()
    return min(read_progress(settings.kafka, consumer.topic, group, clock).watermark for group in groups)


def collector(settings: Settings) -> "Collector | None":
    """What the exporter tells of them; None where none are looked for, or the method cannot be read (lint says why)."""
    from fleetgauge.fleet.suspect_exports import SuspectsCollector

    try:
        return SuspectsCollector(settings, load(settings.content).time_zone)
    except Terminal:
        return None

"""What is exported every night: day rows of metrics, raw days of consumers. The DAG calls it, and gives the store."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from pyarrow import fs

from fleetgauge.analytics.frames import reading
from fleetgauge.analytics.parquet_days import DayFile, write_days
from fleetgauge.analytics.readable import all_readable
from fleetgauge.errors import FleetgaugeError
from fleetgauge.ingest.consumer import load_consumer
from fleetgauge.raw_days import DAY, export_raw_days, stored_until
from fleetgauge.rollup.execute.report import Severity, raise_worst, severity
from fleetgauge.settings import Settings

_log = structlog.get_logger(__name__)


def export_aggregates(settings: Settings, store: fs.FileSystem, root: str, now: datetime) -> dict[str, int]:
    """Day rows of `export.metrics` (none named: all), of the last `export.days` local days that are over; blocks.

    How many files there are for each metric. One's failure stops no other, and is raised in the end.
    """
    with reading(settings.metrics) as connection:
        names = {one.name: one.time_zone for one in all_readable(connection)}
        wanted = settings.export.metrics or tuple(names)
        work = {}
        for name in wanted:
            today = now.astimezone(ZoneInfo(names.get(name, "UTC"))).date()
            first = today - timedelta(days=settings.export.days)
            work[name] = write_days(connection, name, "day", first, today, store, root)
        return _done(work)


def export_raw(settings: Settings, store: fs.FileSystem, root: str, now: datetime) -> dict[str, int]:
    """Raw days of `export.consumers`: of the last `export.days` UTC days those that are stored in whole; blocks.

    How many files were written for each consumer; errors as above. What contracts keep back stays here.
    """
    return _done({name: _raw_days(settings, name, store, root, now) for name in settings.export.consumers})


def _raw_days(settings: Settings, name: str, store: fs.FileSystem, root: str, now: datetime) -> Iterator[DayFile]:
    consumer = load_consumer(settings.content, name)
    stored = stored_until(settings, consumer).astimezone(UTC)
    today = now.astimezone(UTC).date()
    first, until = today - settings.export.days * DAY, min(today, stored.date())
    if first < until:
        yield from export_raw_days(settings, consumer, first, until, store, root, stored)


def _done(work: dict[str, Iterator[DayFile]]) -> dict[str, int]:
    files: dict[str, int] = {}
    failed: list[tuple[Severity, str]] = []
    for name, days in work.items():
        try:
            files[name] = sum(one.rows is not None for one in days)
            _log.info("exported", name=name, files=files[name])
        except FleetgaugeError as error:
            failed.append((severity(error), f"{name}: {error}"))
    raise_worst(failed)
    return files

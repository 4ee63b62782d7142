"""Days that are old enough go, a whole index at a time: the engine of `fleetgauge retention`.

It works on every cluster; one with lifecycle management does the same by itself (see `lifecycle`). A day's age counts
from the end of the day that the index *holds*, never from its creation: a replay creates an old day anew.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

import msgspec

from fleetgauge.clock import Clock, SystemClock
from fleetgauge.elasticsearch.admin_requests import ask
from fleetgauge.elasticsearch.daily_indices import day_of
from fleetgauge.elasticsearch.transport import Bulk, ElasticsearchBulk
from fleetgauge.errors import FleetgaugeError, Stop, Terminal, sure
from fleetgauge.ingest.check.lint_consumers import named_or_all
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.settings import Settings

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Day:
    """The index of one UTC day."""

    index: str
    begin: datetime
    documents: int
    size_bytes: int
    """On disk, replicas included."""


@dataclass(frozen=True)
class RetentionOutcome:
    """What became of one consumer's days."""

    consumer: str
    """Its name; of a file that cannot be read, the file's."""
    retention: timedelta | None = None
    deleted: tuple[Day, ...] = ()
    """With `dry_run`: what would be deleted."""
    kept: int = 0
    """Days that are still wanted, or could not be deleted."""
    error: FleetgaugeError | None = None


def run(
    settings: Settings,
    names: Collection[str] = (),
    *,
    dry_run: bool = False,
    clock: Clock | None = None,
    bulk: Bulk | None = None,
) -> list[RetentionOutcome]:
    """Delete the expired days of the named consumers, or of all that declare a retention; blocks.

    What goes wrong with one consumer is in its outcome and does not stop the others. Raises `Terminal` for a name that
    is not declared or declares no retention. Safe to repeat and to interrupt.
    """
    chosen, broken = _chosen(settings, names)
    now = (clock or SystemClock()).now()
    sink = bulk or ElasticsearchBulk(settings.elasticsearch, connections=1)
    try:
        return [*broken, *(_expire(sink, consumer, now, dry_run=dry_run) for consumer in chosen)]
    finally:
        if isinstance(sink, ElasticsearchBulk):
            sink.close()


def _chosen(settings: Settings, names: Collection[str]) -> tuple[list[Consumer], list[RetentionOutcome]]:
    consumers, problems = named_or_all(settings.content, names)
    without = [consumer.name for consumer in consumers if consumer.retention is None]
    if names and without:
        raise Terminal(f"consumer {', '.join(without)} declares no retention; add it, or leave the name out")
    broken = [RetentionOutcome(problem.split(":")[0], error=Terminal(problem)) for problem in problems]
    return [consumer for consumer in consumers if consumer.retention is not None], broken


def _expire(bulk: Bulk, consumer: Consumer, now: datetime, *, dry_run: bool) -> RetentionOutcome:
    kept = sure(consumer.retention, "retention")
    gone: list[Day] = []
    there: list[Day] = []
    failure = None
    try:
        there = days(bulk, consumer.index)
        for day in there:
            if day.begin + _DAY <= now - kept:
                if not dry_run:
                    _delete(bulk, day.index)
                gone.append(day)
    except FleetgaugeError as error:
        failure = error
    return RetentionOutcome(consumer.name, kept, tuple(gone), len(there) - len(gone), failure)


def days(bulk: Bulk, prefix: str) -> list[Day]:
    """The daily indices `<prefix>-YYYY.MM.DD`, oldest first, whatever else there is beside them.

    Raises `Transient`, `Stop`, `Terminal`.
    """
    path = f"/_cat/indices/{prefix}-*?format=json&bytes=b&expand_wildcards=all&h=index,docs.count,store.size"
    found = []
    right = f"give the login the rights view_index_metadata and monitor on {prefix}-*"
    for row in ask(bulk, "GET", path, None, right, shape=list[_CatRow]):
        begin = day_of(row.index, prefix)
        if begin is not None:
            found.append(Day(row.index, begin, int(row.documents or 0), int(row.bytes or 0)))
    return sorted(found, key=lambda day: day.begin)


def beside_days(bulk: Bulk, alias: str) -> list[str]:
    """What stands behind the alias and is no day of it, such as a restored copy; by name.

    Raises `Transient`, `Stop`, `Terminal`.
    """
    right = f"give the login the right view_index_metadata on {alias} and {alias}-*"
    rows = ask(bulk, "GET", f"/_cat/aliases/{quote(alias)}?format=json&h=index", None, right, shape=list[_CatRow])
    return sorted({row.index for row in rows if day_of(row.index, alias) is None})


class _CatRow(msgspec.Struct, rename={"documents": "docs.count", "bytes": "store.size"}):
    index: str
    documents: str | None = None
    bytes: str | None = None


def _delete(bulk: Bulk, index: str) -> None:
    if re.search(r"[*,]", index):
        raise Stop(f"index {index} has a wildcard in its name, so nothing is deleted; this is a defect, report it")
    right = f"give the login the right delete_index on {index}"
    ask(bulk, "DELETE", f"/{quote(index)}", None, right, fine=("index_not_found_exception",))

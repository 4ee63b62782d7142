"""Folds new command events from Elasticsearch into `fleetgauge.command_attempt`: one row per command and attempt.

Events of a command cannot be joined where they are stored, and a time-out is an absence, which no event tells. So a
pass reads the documents that ingest has finished since the last one, merges them, then closes what the watermark has
overtaken.
"""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from fleetgauge.clock import Clock
from fleetgauge.commands.events import Fact, fact
from fleetgauge.commands.pages import CommandDocuments, ElasticsearchDocuments, Page
from fleetgauge.commands.store import AttemptStore, Cursor, FoldSource, open_store
from fleetgauge.progress.offsets import GroupProgress, read_progress
from fleetgauge.settings import Settings

__all__ = ["FoldReport", "FoldSource", "fold", "fold_documents"]

SETTLE = timedelta(seconds=5)
"""How far before the watermark a deadline must lie to count as passed. The server needs a moment to append an answer
that came in time, or the next attempt, which begins where this one's deadline ends: without it such a command would
look timed out, and its window final, for one pass."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class FoldReport:
    """What one fold did."""

    watermark: datetime
    """Every event appended before this instant (UTC) is in the table."""
    events: int
    """Documents read."""
    attempts: int
    """Rows of `command_attempt` that became new or different, counted once a batch."""
    late: int
    """Answers read that came after their deadline."""
    overdue: int
    """Open attempts that the watermark's move turned into `timed_out` or `expired`."""
    conflicts: int
    """Attempts whose events disagree, or that have two messages of one step: the earliest wins. 0 if all is well."""
    unusable: int
    """Documents that do not say what a command event must; they were logged and left out. 0 if all is well."""
    restarted: bool
    """Ingest had begun anew (a topic made anew, a group rewound), so every stored document was read again."""
    backlog: int
    """Records that ingest has still to finish."""
    seconds: float


def fold(settings: Settings, source: FoldSource, clock: Clock, *, settle: timedelta = SETTLE) -> FoldReport:
    """Fold everything that ingest has finished; blocks until then. Called by a pass before it reads `command_attempt`.

    A topic whose index does not exist yet is no work. Raises `Transient` (a server is away; another fold holds the
    lock) or `Terminal` (no such topic, no right, no schema). Whatever it raises, the next fold goes on where this one
    stood.
    """
    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings.metrics, source))
        # After the lock: another fold may have moved the cursor beyond offsets that were read before it.
        progress = read_progress(settings.kafka, source.topic, source.group, clock)
        documents = stack.enter_context(ElasticsearchDocuments(settings.elasticsearch))
        return fold_documents(store, documents, progress, source, settle=settle)


def fold_documents(
    store: AttemptStore,
    documents: CommandDocuments,
    progress: GroupProgress,
    source: FoldSource,
    *,
    settle: timedelta = SETTLE,
) -> FoldReport:
    """The fold itself, with its servers given. Deadlines count as passed `settle` before the watermark."""
    started = time.monotonic()
    cursor = store.cursor()
    if not cursor.rescan and cursor.began_anew(progress):
        cursor = replace(cursor, rescan=True)
        store.save(cursor)
        _log.warning("ingest began anew, folding every stored document again", topic=source.topic)
    restarted = cursor.rescan
    cursor = replace(cursor, readings={**cursor.readings, **progress.readings})
    tally = _Tally()
    spans = None if cursor.rescan else cursor.new(progress)
    if spans is None or spans:
        with closing(documents.pages(source.index, spans)) as pages, closing(_ahead(pages)) as ahead:
            for page in ahead:
                cursor = cursor if cursor.rescan else _advance(cursor, page, progress)
                merged = store.merge(tally.facts(page), cursor)
                tally.attempts += merged.written
                tally.conflicts += merged.conflicts
    done = Cursor(
        topic_id=progress.topic_id,
        offsets=dict(cursor.offsets) | progress.committed if not cursor.rescan else progress.committed,
        # Never backwards: a deadline once judged as passed stays so, whatever an ill-stamped record says later.
        judged_at=max(cursor.judged_at, progress.watermark - settle),
        readings=cursor.readings,
    )
    overdue = store.finish(done)
    return FoldReport(
        watermark=progress.watermark,
        events=tally.events,
        attempts=tally.attempts,
        late=tally.late,
        overdue=overdue,
        conflicts=tally.conflicts,
        unusable=tally.unusable,
        restarted=restarted,
        backlog=progress.lag,
        seconds=time.monotonic() - started,
    )


def _ahead(pages: Generator[Page]) -> Generator[Page]:
    """The same pages; the next is fetched while the caller merges the last, for the two wait on different servers."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fold-pages") as pool:
        coming = pool.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = pool.submit(next, pages, None)
            yield page


def _advance(cursor: Cursor, page: Page, progress: GroupProgress) -> Cursor:
    """The cursor after `page`: earlier partitions are through, its own stands *at* the last, which may have a twin."""
    passed = {p: offset for p, offset in progress.committed.items() if p < page.partition}
    return replace(cursor, offsets=dict(cursor.offsets) | passed | {page.partition: page.offset})


class _Tally:
    """Counts of one fold."""

    def __init__(self) -> None:
        self.events = self.attempts = self.late = self.conflicts = self.unusable = 0

    def facts(self, page: Page) -> Iterator[Fact]:
        """The facts of a page; what is unusable is logged and skipped."""
        for source in page.sources:
            self.events += 1
            try:
                stated = fact(source)
            except ValueError as error:
                self.unusable += 1
                if self.unusable <= 5:
                    _log.error("a stored document is no command event", reason=str(error), partition=page.partition)
                continue
            self.late += stated.responded_at is not None and stated.responded_at > stated.deadline_at
            yield stated

"""Materialises command events from Elasticsearch: one row an event, one row a command and attempt.

Events of a command cannot be joined where they are stored, and a time-out is an absence, which no event tells. So a run
reads the documents that ingest has finished since the last one, merges them, then closes what the watermark has
overtaken.
"""

import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from fleetgauge.clock import Clock
from fleetgauge.commands.columns import EVENT, RESPONDED
from fleetgauge.commands.events import Fact, fact
from fleetgauge.commands.pages import CommandDocuments, ElasticsearchDocuments, Page
from fleetgauge.commands.store import NEVER, AttemptStore, CommandCursor, CommandSource, open_store
from fleetgauge.elasticsearch.daily_indices import day_of
from fleetgauge.elasticsearch.lost_days import Days, Token
from fleetgauge.progress.clock_samples import METRICS, Clocks, Earliest
from fleetgauge.progress.offsets import GroupProgress, read_progress
from fleetgauge.settings import Settings

__all__ = ["CommandSource", "MaterialiseReport", "materialise", "materialise_documents"]

SETTLE = timedelta(seconds=5)
"""How far before the watermark a deadline must lie to count as passed. The server needs a moment to append an answer
that came in time, or the next attempt, which begins where this one's deadline ends: without it such a command would
look timed out, and its window final, for one run."""

_STEP, _AT, _DEADLINE = ([c.name for c in EVENT].index(name) for name in ("step", "at", "deadline_at"))

_DAY = timedelta(days=1)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class MaterialiseReport:
    """What one run did."""

    watermark: datetime
    """Every event appended before this instant (UTC) is in the tables, save those in closed indices of earlier days."""
    events: int
    """Documents read."""
    attempts: int
    """Rows of `command_attempt` that became new or different, counted once a batch."""
    late: int
    """Answers read that came after their deadline."""
    overdue: int
    """Open attempts that the watermark's move turned into `timed_out` or `expired`."""
    conflicts: int
    """Attempts of the batches whose events disagree: the earliest wins. 0 if all is well."""
    reused_ids: int
    """New events with an id that their device uses for another event too; both are kept. 0 if all is well."""
    expired: int
    """Events of commands older than what is kept; left out."""
    unusable: int
    """Documents that do not say what a command event must; they were logged and left out. 0 if all is well."""
    restarted: bool
    """Every stored document was read again: ingest had begun anew (a topic made anew, a group rewound), or somebody
    asked for a rebuild."""
    backlog: int
    """Records that ingest has still to finish."""
    seconds: float


def materialise(
    settings: Settings, source: CommandSource, clock: Clock, *, settle: timedelta = SETTLE
) -> MaterialiseReport:
    """Materialise all that ingest has finished; blocks until then. Called by a run before it reads `command_attempt`.

    `clock` is this worker's; deadlines go by the earlier of it and the metrics database's, so that neither
    alone ends one. A topic whose index does not exist yet is no work. Raises `Transient` (a server is away;
    another run holds the lock) or `Terminal` (no such topic, no right, no schema). Whatever it raises, the next run
    goes on where this one stood.
    """
    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings.metrics, source))
        clocks = Clocks(clock)
        clocks.note(METRICS, store.now())
        tolerance = timedelta(seconds=settings.clocks.tolerance_s)
        healed = store.correct(max(clocks.now().values()) + tolerance, min(clocks.now().values()) - settle)
        if healed:
            _log.warning("deadlines were closed by a clock that was ahead; that is undone", topic=source.topic)
        # After the lock: another run may have moved the cursor beyond offsets that were read before it.
        progress = read_progress(settings.kafka, source.topic, source.group, Earliest(clocks))
        documents = stack.enter_context(ElasticsearchDocuments(settings.elasticsearch))
        return materialise_documents(store, documents, progress, source, settle=settle)


def materialise_documents(
    store: AttemptStore,
    documents: CommandDocuments,
    progress: GroupProgress,
    source: CommandSource,
    *,
    settle: timedelta = SETTLE,
) -> MaterialiseReport:
    """The run itself, with its servers given. Deadlines count as passed `settle` before the watermark."""
    started = time.monotonic()
    cursor = store.cursor()
    shut = frozenset(documents.closed(source.index))
    opened = cursor.closed - shut
    # Before anything is read without them: whatever ends this run, they are remembered.
    days = _days(documents, source, shut, cursor, progress)
    cursor = replace(cursor, closed=cursor.closed | shut, days=days)
    if cursor.began_anew(progress):
        # From here on its offsets are those that the new epoch starts from.
        cursor = CommandCursor(
            progress.topic_id,
            progress.committed,
            progress.epochs,
            rescan=True,
            judged_at=cursor.judged_at,
            closed=cursor.closed,
            days=cursor.days,
        )
        store.save(cursor)
        _log.warning("ingest began anew, reading every stored command event again", topic=source.topic)
    restarted = cursor.rescan
    cursor = replace(cursor, epochs={**cursor.epochs, **progress.epochs})
    counts = _Counts()
    if cursor.rescan:
        for page in _ahead(documents.pages(source.index, None, after=cursor.rescanned, without=shut)):
            cursor = replace(cursor, rescanned=(page.partition, page.offset))
            counts.merge(store, page, cursor)
        cursor = replace(cursor, rescan=False, rescanned=None)
    for index in sorted(opened):  # what was stored in them before they were closed may be below the offsets
        for page in _ahead(documents.pages(index, None)):
            counts.merge(store, page, cursor)
    if opened:
        _log.warning("daily indices are open again and were read as a whole", opened=sorted(opened))
    if spans := cursor.new(progress):
        for page in _ahead(documents.pages(source.index, spans, without=shut)):
            cursor = _advance(cursor, page, progress)
            counts.merge(store, page, cursor)
    known = min([progress.watermark, *(_unjudged(shut, source.index, cursor.judged_at))])
    done = replace(
        cursor,
        topic_id=progress.topic_id,
        offsets=dict(cursor.offsets) | progress.committed,
        # Never backwards: a deadline once judged as passed stays so, whatever an ill-stamped record says later.
        judged_at=max(cursor.judged_at, known - settle),
        closed=cursor.closed - opened,
    )
    if shut:
        _log.warning(
            "daily indices of commands are closed: what they hold is not read; open them",
            closed=sorted(shut),
            judged_until=known.isoformat(),
        )
    overdue = store.finish(done, unusable=counts.unusable)
    return MaterialiseReport(
        watermark=known,
        events=counts.events,
        attempts=counts.attempts,
        late=counts.late,
        overdue=overdue,
        conflicts=counts.conflicts,
        reused_ids=counts.reused_ids,
        expired=counts.expired,
        unusable=counts.unusable,
        restarted=restarted,
        backlog=progress.lag,
        seconds=time.monotonic() - started,
    )


def _days(
    documents: CommandDocuments,
    source: CommandSource,
    shut: Iterable[str],
    cursor: CommandCursor,
    progress: GroupProgress,
) -> Token:
    """What to remember of the daily indices: which have lost documents, above all."""
    closed = {index: begin for index in shut if (begin := day_of(index, source.index)) is not None}
    found = Days(source.index, documents.documents(source.index), closed)
    noted = found.noted(
        cursor.days,
        None if cursor.judged_at <= NEVER else cursor.judged_at,
        kept_from=None if source.kept is None else progress.observed_at - source.kept,
        anew=cursor.began_anew(progress),
    )
    if gone := noted.get("short"):
        _log.warning("daily indices of commands have lost documents; what was read of them stays", indices=sorted(gone))
    return {**noted, "missed": progress.missed} if progress.missed else noted


def _unjudged(closed: Iterable[str], prefix: str, judged_at: datetime) -> Iterator[datetime]:
    """When the closed days begin that deadlines have not passed yet: an answer in them is not seen."""
    for index in closed:
        begin = day_of(index, prefix)
        if begin is not None and begin + _DAY > judged_at:
            yield begin


def _ahead(pages: Generator[Page]) -> Generator[Page]:
    """The same pages; the next is fetched while the caller merges the last, for the two wait on different servers."""
    with closing(pages), ThreadPoolExecutor(max_workers=1, thread_name_prefix="command-pages") as pool:
        coming = pool.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = pool.submit(next, pages, None)
            yield page


def _advance(cursor: CommandCursor, page: Page, progress: GroupProgress) -> CommandCursor:
    """The cursor after `page`: earlier partitions are through, its own stands *at* the last, which may have a twin."""
    passed = {p: offset for p, offset in progress.committed.items() if p < page.partition}
    return replace(cursor, offsets=dict(cursor.offsets) | passed | {page.partition: page.offset})


class _Counts:
    """Counts of one run."""

    def __init__(self) -> None:
        self.events = self.attempts = self.late = self.conflicts = self.unusable = self.reused_ids = self.expired = 0

    def merge(self, store: AttemptStore, page: Page, cursor: CommandCursor) -> None:
        """Merge a page and count what became of it."""
        merged = store.merge(self._facts(page), cursor)
        self.attempts += merged.written
        self.conflicts += merged.conflicts
        self.reused_ids += merged.reused_ids
        self.expired += merged.expired

    def _facts(self, page: Page) -> Iterator[Fact]:
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
            self.late += stated[_STEP] == RESPONDED and stated[_AT] > stated[_DEADLINE]
            yield stated

"""The metrics database's side of materialising: lock, cursor, staging, merge."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge import postgres
from fleetgauge.commands import month_partitions
from fleetgauge.commands.columns import EVENT
from fleetgauge.commands.events import Fact
from fleetgauge.commands.statements import statement
from fleetgauge.errors import Transient
from fleetgauge.postgres import Connection, Error, Jsonb, errors, only_row
from fleetgauge.postgres.schema_revision import check
from fleetgauge.progress.cursor import GroupCursor
from fleetgauge.settings import MetricsSettings

NEVER = datetime(1, 1, 1, tzinfo=UTC)
"""No deadline has been looked at yet; the database keeps it as -infinity, which Python's datetime lacks."""

_BINARY = {"text": "text", "smallint": "int2", "integer": "int4", "timestamptz": "int8"}
"""How a column travels in a binary COPY: a timestamptz as the int8 it is (see `events.postgres_microseconds`)."""

Position = tuple[int, int]
"""Partition and offset of a document."""


@dataclass(frozen=True)
class CommandSource:
    """What is materialised: `topic` as `group` has ingested it, read through the alias `index`."""

    topic: str
    group: str
    index: str
    kept: timedelta | None = None
    """How long ingest keeps a day of documents; None: for ever."""


@dataclass(frozen=True)
class CommandCursor(GroupCursor):
    """How far a source has been materialised."""

    rescan: bool = False
    """Every stored document is to be read again: the group began anew, or somebody asked for a rebuild."""
    rescanned: Position | None = None
    """Up to where that has come; documents at this very position may be still to read."""
    judged_at: datetime = NEVER
    """Deadlines before this instant (UTC) have been counted as passed."""
    closed: frozenset[str] = frozenset()
    """Daily indices that were closed when `offsets` passed them, so that documents in them may be still to read."""
    days: Mapping[str, Any] = field(default_factory=dict)
    """What to remember of the daily indices, as `lost_days.Days.noted` says."""


@dataclass(frozen=True)
class Merged:
    """What one batch did."""

    written: int
    """Attempts that are new or different."""
    conflicts: int
    """Attempts whose events disagree."""
    reused_ids: int
    """New events with an id that their device uses for another event too."""
    expired: int
    """Events of before what is kept; left out."""


class AttemptStore:
    """One connection that holds the lock of materialising. Called from one thread; every method blocks.

    Each method is a transaction: after a crash a run starts again at the cursor, and reading a document twice changes
    nothing.
    """

    def __init__(self, connection: Connection, source: CommandSource) -> None:
        self._connection = connection
        self._source = source

    def cursor(self) -> CommandCursor:
        """Where the last run stood; a new source starts at nothing."""
        with self._connection.transaction():
            row = self._connection.execute(
                """
                SELECT topic_id, offsets, rescan, rescanned, nullif(judged_at, '-infinity'), epochs, closed, days
                FROM fleetgauge.command_cursor WHERE (topic, consumer_group, index_name) = (%s, %s, %s)
                """,
                self._key,
            ).fetchone()
        if row is None:
            return CommandCursor()
        topic_id, offsets, rescan, rescanned, judged_at, epochs, closed, days = row
        return CommandCursor(
            topic_id,
            {int(partition): int(offset) for partition, offset in offsets.items()},
            {int(partition): epoch for partition, epoch in epochs.items()},
            rescan=rescan,
            rescanned=(rescanned[0], rescanned[1]) if rescanned is not None else None,
            judged_at=judged_at.astimezone(UTC) if judged_at is not None else NEVER,
            closed=frozenset(closed),
            days=days,
        )

    def now(self) -> datetime:
        """What the metrics database's clock says (UTC)."""
        with self._connection.transaction():
            found: datetime = only_row(self._connection.execute("SELECT clock_timestamp()"))[0]
        return found.astimezone(UTC)

    def correct(self, limit: datetime, judged_at: datetime) -> bool:
        """If deadlines were closed beyond `limit`, which cannot be, close them anew by `judged_at`; else False."""
        with self._connection.transaction():
            wrong = self._connection.execute(
                "UPDATE fleetgauge.command_cursor SET judged_at = %s, updated_at = now()"
                " WHERE (topic, consumer_group, index_name) = (%s, %s, %s) AND judged_at > %s",
                (judged_at, *self._key, limit),
            ).rowcount
            if wrong:
                self._connection.execute(statement("reopen"), {"as_of": judged_at})
        return bool(wrong)

    def save(self, cursor: CommandCursor) -> None:
        """Set the cursor, without anything else."""
        with self._connection.transaction():
            self._save(cursor)

    def merge(self, facts: Iterable[Fact], cursor: CommandCursor) -> Merged:
        """Merge facts into attempts and save the cursor, at once. Deadlines before `cursor.judged_at` have passed."""
        with self._connection.transaction():
            self._connection.execute(statement("stage"))
            with (
                self._connection.cursor() as staging,
                staging.copy(f"COPY staged_event ({_COLUMNS}) FROM STDIN (FORMAT binary)") as copy,
            ):
                copy.set_types([_BINARY[column.kind] for column in EVENT])
                for fact in facts:
                    copy.write_row(fact)
            expired = self._connection.execute(statement("drop_expired")).rowcount
            month_partitions.ensure(self._connection)
            self._connection.execute("ANALYZE staged_event")  # else each look-up might read the whole table
            self._connection.execute(statement("recall"))
            found = self._connection.execute(statement("merge"), {"as_of": _as_of(cursor)})
            written, conflicts, reused_ids = only_row(found)
            merged = Merged(written, conflicts, reused_ids, expired)
            self._save(cursor, reused_ids=merged.reused_ids, expired=expired)
        return merged

    def finish(self, cursor: CommandCursor, *, unusable: int = 0) -> int:
        """Close open attempts whose deadline lies before `cursor.judged_at`, and save the cursor; returns how many."""
        with self._connection.transaction():
            closed = self._connection.execute(statement("close_overdue"), {"as_of": _as_of(cursor)}).rowcount
            self._save(cursor, unusable=unusable)
        return closed

    @property
    def _key(self) -> tuple[str, str, str]:
        return self._source.topic, self._source.group, self._source.index

    def _save(self, cursor: CommandCursor, *, unusable: int = 0, reused_ids: int = 0, expired: int = 0) -> None:
        """Set the cursor, and add to what is counted beside it."""
        self._connection.execute(
            """
            INSERT INTO fleetgauge.command_cursor AS c (
                topic, consumer_group, index_name, topic_id, offsets, rescan, rescanned, judged_at, epochs,
                closed, days, unusable, reused_ids, expired, updated_at
            )
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now())
            ON CONFLICT (topic, consumer_group, index_name) DO UPDATE SET
                topic_id = excluded.topic_id, offsets = excluded.offsets, rescan = excluded.rescan,
                rescanned = excluded.rescanned, judged_at = excluded.judged_at, epochs = excluded.epochs,
                closed = excluded.closed, days = excluded.days, unusable = c.unusable + excluded.unusable,
                reused_ids = c.reused_ids + excluded.reused_ids, expired = c.expired + excluded.expired,
                updated_at = excluded.updated_at
            """,
            (
                *self._key,
                cursor.topic_id,
                _by_partition(cursor.offsets),
                cursor.rescan,
                list(cursor.rescanned) if cursor.rescanned is not None else None,
                _as_of(cursor),
                _by_partition(cursor.epochs),
                sorted(cursor.closed),
                Jsonb(dict(cursor.days)),
                unusable,
                reused_ids,
                expired,
            ),
        )


@contextmanager
def open_store(
    settings: MetricsSettings, source: CommandSource, *, lock_wait_s: float = 120.0
) -> Iterator[AttemptStore]:
    """Connect and take the lock, waiting for another run up to `lock_wait_s` seconds.

    One lock for all sources: they share the tables. Database errors inside come out as `Transient` or `Terminal`; so
    does a database of another release, which is looked at under the lock.
    """
    database = postgres.metrics(settings)
    try:
        # A transaction lives only inside `transaction()`, never while Elasticsearch is read.
        session = {"lock_timeout": f"{int(lock_wait_s * 1000)}ms"}
        with closing(database.connect("materialise", session=session)) as connection:
            # The session's, not a transaction's: a run is many transactions. It ends with the connection, in any case.
            connection.execute(month_partitions.LOCK.format("pg_advisory_lock"))
            check(connection)
            yield AttemptStore(connection, source)
    except errors.LockNotAvailable as error:
        raise Transient(
            f"another run over command events has not ended within {lock_wait_s:g} s; try again when it has"
        ) from error
    except Error as error:
        raise database.translate(error) from error


_COLUMNS = ", ".join(column.name for column in EVENT)


def _by_partition(values: Mapping[int, Any]) -> Jsonb:
    return Jsonb({str(partition): value for partition, value in sorted(values.items())})


def _as_of(cursor: CommandCursor) -> datetime | str:
    return cursor.judged_at if cursor.judged_at > NEVER else "-infinity"

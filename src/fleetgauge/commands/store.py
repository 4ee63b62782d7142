"""The metrics database's side of the fold: lock, cursor, staging, merge."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from fleetgauge import postgres
from fleetgauge.commands.events import Fact
from fleetgauge.errors import Transient
from fleetgauge.postgres import Connection, Error, Jsonb, errors, only_row
from fleetgauge.progress.cursor import GroupCursor
from fleetgauge.settings import MetricsSettings

NEVER = datetime(1, 1, 1, tzinfo=UTC)
"""No deadline has been judged yet; the database keeps it as -infinity, which Python's datetime lacks."""

_COLUMN_TYPES = (
    "text", "int2", "int2", "text", "text", "text", "text", "text", "text", "int8", "int8",
    "int8", "int4", "int8", "int4", "int8", "int4", "text", "text",
)  # fmt: skip
"""Of `command_fact`, sent in binary: a timestamptz travels as the int8 it is (see `events.postgres_microseconds`)."""


@dataclass(frozen=True)
class FoldSource:
    """What is folded: `topic` as `group` has ingested it, read through the alias `index`."""

    topic: str
    group: str
    index: str


@dataclass(frozen=True)
class Cursor(GroupCursor):
    """How far a source has been folded."""

    rescan: bool = False
    """The group began anew, and not everything has been read again yet."""
    judged_at: datetime = NEVER
    """Deadlines before this instant (UTC) have been counted as passed."""


@dataclass(frozen=True)
class Merged:
    """What one batch did."""

    written: int
    conflicts: int


class AttemptStore:
    """One connection that holds the source's fold lock. Called from one thread; every method blocks.

    Each method is a transaction: after a crash a fold starts again at the cursor, and folding a document twice changes
    nothing.
    """

    def __init__(self, connection: Connection, source: FoldSource) -> None:
        self._connection = connection
        self._source = source

    def cursor(self) -> Cursor:
        """Where the last fold stood; a new source starts at nothing."""
        with self._connection.transaction():
            row = self._connection.execute(
                """
                SELECT topic_id, offsets, rescan, nullif(judged_at, '-infinity'), readings FROM fleetgauge.command_fold
                WHERE (topic, consumer_group, index_name) = (%s, %s, %s)
                """,
                self._key,
            ).fetchone()
        if row is None:
            return Cursor()
        offsets = {int(partition): int(offset) for partition, offset in row[1].items()}
        readings = {int(partition): reading for partition, reading in row[4].items()}
        judged_at = row[3].astimezone(UTC) if row[3] is not None else NEVER
        return Cursor(row[0], offsets, readings, rescan=row[2], judged_at=judged_at)

    def save(self, cursor: Cursor) -> None:
        """Set the cursor, without anything else."""
        with self._connection.transaction():
            self._save(cursor)

    def merge(self, facts: Iterable[Fact], cursor: Cursor) -> Merged:
        """Merge facts into attempts and save the cursor, at once. Deadlines before `cursor.judged_at` have passed."""
        with self._connection.transaction():
            self._connection.execute(_sql("stage"))
            with (
                self._connection.cursor() as staging,
                staging.copy("COPY command_fact FROM STDIN (FORMAT binary)") as copy,
            ):
                copy.set_types(_COLUMN_TYPES)
                for fact in facts:
                    copy.write_row(fact)
            self._connection.execute(_sql("recall"))
            row = only_row(self._connection.execute(_sql("merge"), {"as_of": _as_of(cursor)}))
            self._save(cursor)
        return Merged(*row)

    def finish(self, cursor: Cursor) -> int:
        """Close open attempts whose deadline lies before `cursor.judged_at`, and save the cursor; returns how many."""
        with self._connection.transaction():
            closed = self._connection.execute(_sql("close_overdue"), {"as_of": _as_of(cursor)}).rowcount
            self._save(cursor)
        return closed

    @property
    def _key(self) -> tuple[str, str, str]:
        return self._source.topic, self._source.group, self._source.index

    def _save(self, cursor: Cursor) -> None:
        self._connection.execute(
            """
            INSERT INTO fleetgauge.command_fold
                (topic, consumer_group, index_name, topic_id, offsets, rescan, judged_at, readings, updated_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now())
            ON CONFLICT (topic, consumer_group, index_name) DO UPDATE SET
                topic_id = excluded.topic_id, offsets = excluded.offsets, rescan = excluded.rescan,
                judged_at = excluded.judged_at, readings = excluded.readings, updated_at = excluded.updated_at
            """,
            (
                *self._key,
                cursor.topic_id,
                _by_partition(cursor.offsets),
                cursor.rescan,
                _as_of(cursor),
                _by_partition(cursor.readings),
            ),
        )


@contextmanager
def open_store(settings: MetricsSettings, source: FoldSource, *, lock_wait_s: float = 120.0) -> Iterator[AttemptStore]:
    """Connect and take the fold lock, waiting for another fold up to `lock_wait_s` seconds.

    One lock for all sources: they share the table. Database errors inside come out as `Transient` or `Terminal`.
    """
    database = postgres.metrics(settings)
    try:
        # A transaction lives only inside `transaction()`, never while Elasticsearch is read.
        session = {"lock_timeout": f"{int(lock_wait_s * 1000)}ms"}
        with closing(database.connect("fold", session=session)) as connection:
            # The session's, not a transaction's: a fold is many transactions. It ends with the connection, in any case.
            connection.execute("SELECT pg_advisory_lock(hashtextextended('fleetgauge.command_attempt', 0))")
            yield AttemptStore(connection, source)
    except errors.LockNotAvailable as error:
        raise Transient(
            f"another fold of command events has not ended within {lock_wait_s:g} s; try again when it has"
        ) from error
    except Error as error:
        raise database.translate(error) from error


def reset(connection: Connection, *, truncate: bool = False) -> None:
    """Have the next fold read every stored document again; with `truncate`, into an empty table.

    Joins the caller's transaction. Truncating forgets attempts whose documents retention has deleted.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('fleetgauge.command_attempt', 0))")
    connection.execute("UPDATE fleetgauge.command_fold SET offsets = '{}', rescan = true, updated_at = now()")
    if truncate:
        connection.execute("TRUNCATE fleetgauge.command_attempt")
        connection.execute("UPDATE fleetgauge.command_fold SET judged_at = '-infinity'")


def _by_partition(values: Mapping[int, Any]) -> Jsonb:
    return Jsonb({str(partition): value for partition, value in sorted(values.items())})


def _as_of(cursor: Cursor) -> datetime | str:
    return cursor.judged_at if cursor.judged_at > NEVER else "-infinity"


def _sql(name: str) -> str:
    return (files("fleetgauge.commands") / "sql" / f"{name}.sql").read_text(encoding="utf-8")

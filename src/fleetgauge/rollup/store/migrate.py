"""Bring the metrics database up to date: Alembic's part, then each metric's tables and views. Safe to repeat."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from fleetgauge import postgres
from fleetgauge.errors import Stop, Transient
from fleetgauge.postgres import Connection, Database, Error, Jsonb, errors, sql
from fleetgauge.postgres.schema_revision import newest, require
from fleetgauge.rollup import labels
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS
from fleetgauge.rollup.store import derived, ranges, tables, viewers
from fleetgauge.rollup.store.catalogue import Saved
from fleetgauge.rollup.store.publish import LOCK_WAITS, publication
from fleetgauge.rollup.store.seams import seams
from fleetgauge.rollup.store.tables import VIEWER, WRITER
from fleetgauge.settings import Settings

LOGINS = {"fleetgauge": WRITER, "grafana": VIEWER, "analyst": VIEWER}

TRIES = 12
"""Of a migration that waits for locks, but not of a dry run."""
PAUSE_S = 5.0
"""Between tries, in which those go on that have waited behind it."""

_LOCK = 0x666C656574  # "fleet": one migration at a time in a database
_MIGRATIONS = Path(__file__).parent / "migrations"


class Locked(Transient):
    """A lock that a migration needs did not come in time."""


@dataclass(frozen=True)
class Migration:
    """What a migration did, or with a dry run would do."""

    revisions: tuple[str, ...] = ()
    created: tuple[str, ...] = ()
    """Tables, without their schema."""
    published: tuple[str, ...] = ()
    """Metrics whose views now show the current version."""
    waiting: tuple[str, ...] = ()
    """Metrics whose views keep an older version until a run has filled the current one."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Metrics whose views could not be changed, with the reason and what to do: others would have lost something."""


Record = Callable[[Connection, str, str | None, Sequence[dict[str, Any]]], int | None]
"""Writes down what is done to a metric (and which version) in the run log; returns the run's number."""


def migrate(
    settings: Settings, definitions: Mapping[str, Definition], *, dry_run: bool = False, record: Record | None = None
) -> Migration:
    """Create or update everything in the metrics database. Called by the CLI and the laboratory; blocks while another
    one runs. Each metric whose tables or views change is given to `record`.

    No try waits longer than `LOCK_WAITS` for a lock, since all who read what it is to change would wait behind it: a
    session that holds one, such as an analyst's open transaction, is waited for by `TRIES`. A dry run does the same,
    save Alembic's part, in a transaction that is rolled back, so it knows what the server would refuse, and tries once;
    `pending` takes no lock.
    Raises `Terminal` when `metrics.owner_url` is missing, `Stop` when it may not do it, `Transient` when the server
    is away or a lock does not come.
    """
    tries = Retrying(
        retry=retry_if_exception_type(Locked),
        stop=stop_after_attempt(1 if dry_run else TRIES),
        wait=wait_fixed(PAUSE_S),
        before_sleep=_tell,
        reraise=True,
    )
    return tries(_migrate, settings, definitions, record, dry_run=dry_run)


def _tell(state: RetryCallState) -> None:
    if state.outcome is not None:
        structlog.get_logger("fleetgauge.migrate").warning(str(state.outcome.exception()), tried=state.attempt_number)


def _migrate(
    settings: Settings, definitions: Mapping[str, Definition], record: Record | None, *, dry_run: bool
) -> Migration:
    database = postgres.owner(settings.metrics)
    try:
        with closing(database.connect("migrate", session={})) as guard:
            if dry_run:
                guard.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(LOCK_WAITS)))
            guard.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            guard.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(LOCK_WAITS)))
            revisions = _alembic(guard, database, dry_run=dry_run)
            if dry_run and revisions:  # what they would make is not there to look at
                return Migration(revisions, tuple(_lacking(guard, definitions.values())))
            with guard.transaction(force_rollback=dry_run):
                _grant(guard)
                viewers.limit(guard, WRITER)
                guard.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
                return _metrics(guard, revisions, definitions, record)
    except errors.LockNotAvailable as error:
        after = "; fleetgauge plan takes none" if dry_run else ""
        raise Locked(
            f"a migration waits at most {LOCK_WAITS} for a lock, so that nobody waits behind it for longer, and "
            "another session holds one: a migration, a run, a long query, an open transaction (see pg_stat_activity); "
            f"end it or try again later{after}"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise Stop(
            f"the login of metrics.owner_url may not migrate: {error.diag.message_primary}; "
            "it must own the database and have CREATEROLE"
        ) from error
    except Error as error:
        raise database.translate(error, "correct what it names, and migrate again") from error


def pending(settings: Settings, definitions: Mapping[str, Definition]) -> Migration:
    """Which revisions and tables a migration would make. Only looks: takes no lock that a reader or a run could wait
    for, and waits for none itself; what becomes of the views is not among it.

    Raises `Terminal` when `metrics.owner_url` is missing, `Stop` when it may not look, `Transient` when the server is
    away.
    """
    database = postgres.owner(settings.metrics)
    try:
        with closing(database.connect("plan", session={})) as connection:
            connection.read_only = True
            revisions = _alembic(connection, database, dry_run=True)
            with connection.transaction():
                wanted = [one for one in definitions.values() if one.lacks_key is None]
                return Migration(revisions, tuple(_lacking(connection, wanted)))
    except Error as error:
        raise database.translate(error, "correct what it names, and plan again") from error


def _alembic(guard: Connection, database: Database, *, dry_run: bool) -> tuple[str, ...]:
    """Run what is missing of the migrations; returns their revisions."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    if not dry_run:
        guard.execute("CREATE SCHEMA IF NOT EXISTS fleetgauge")

    def connected() -> Connection:
        connection = database.connect("migrate", session={"lock_timeout": LOCK_WAITS})
        connection.autocommit = False
        return connection

    engine = create_engine("postgresql+psycopg://", creator=connected, poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table_schema": "fleetgauge"})
        current = context.get_current_revision()
        connection.rollback()
        if current is not None and current > newest():
            require(current)
        if current == newest():  # not one of the files has to be loaded
            return ()
        missing = tuple(reversed([s.revision for s in script.iterate_revisions("head", current or "base")]))
        if missing and not dry_run:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except DBAPIError as error:
                raise error.orig or error from error  # the driver's own class says what is wrong
            connection.commit()
    return missing


def _grant(guard: Connection) -> None:
    """Make the known logins, where they exist, members of their group; writers may see which migration is in force."""
    guard.execute(sql.SQL("GRANT SELECT ON fleetgauge.alembic_version TO {}").format(sql.Identifier(WRITER)))
    for login, group in LOGINS.items():
        row = guard.execute(
            "SELECT pg_has_role(oid, %s, 'USAGE') FROM pg_roles WHERE rolname = %s", [group, login]
        ).fetchone()
        if row is not None and not row[0]:
            guard.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(login)))


def _metrics(
    guard: Connection, revisions: tuple[str, ...], definitions: Mapping[str, Definition], record: Record | None
) -> Migration:
    created: list[str] = []
    published: list[str] = []
    waiting: list[str] = []
    refused: dict[str, str] = {}
    dropped: list[Saved] = []
    scripts = {d.metric: d.views_sql for d in definitions.values() if d.views_sql}
    own = derived.names(scripts.values())
    for definition in definitions.values():
        if definition.lacks_key is not None and not _is_there(guard, definition):
            refused[definition.metric] = definition.lacks_key
            continue
        made = create(guard, definition)
        created += made
        run = _Run(guard, definition, made, record)
        now = publication(guard, definition, own, run)
        if made or now.state == "published":
            run()
        dropped += now.dropped
        if now.why is not None:
            refused[definition.metric] = now.why
        elif now.state == "published":
            published.append(definition.metric)
        elif now.state == "waiting":
            waiting.append(definition.metric)
    derived.apply(guard, scripts, dropped)
    between = {metric: seams(guard, metric) for metric in definitions}
    trios = [trio for one in definitions.values() for trio in ranges.of_metric(one, between[one.metric])]
    for metric, script in scripts.items():
        trios += ranges.of_views(metric, derived.names([script]), between[metric])
    refused |= ranges.apply(guard, trios)
    viewers.withdraw_sketches(guard)
    return Migration(revisions, tuple(created), tuple(published), tuple(waiting), refused)


@dataclass
class _Run:
    """The run of one metric in the run log, begun when it is first asked for."""

    guard: Connection
    definition: Definition
    made: Sequence[str]
    record: Record | None
    number: int | None = None

    def __call__(self) -> int | None:
        if self.number is None and self.record is not None:
            stages: list[dict[str, Any]] = [{"stage": "Publish", "reason": "views are made anew"}]
            if self.made:
                stages.insert(0, {"stage": "CreateTables", "reason": "new tables", "tables": list(self.made)})
            self.number = self.record(self.guard, self.definition.metric, self.definition.version, stages)
        return self.number


def _is_there(guard: Connection, definition: Definition) -> bool:
    query = "SELECT FROM fleetgauge.metric_version WHERE metric = %s AND version = %s"
    return guard.execute(query, [definition.metric, definition.version]).fetchone() is not None


def _lacking(guard: Connection, definitions: Iterable[Definition]) -> Iterator[str]:
    """Tables of metrics that are not there."""
    for name in (one.table(level) for one in definitions for level in one.levels):
        row = guard.execute(
            "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", [tables.STORE, name]
        ).fetchone()
        if row is None or row[0] is None:
            yield name


def create(connection: Connection, definition: Definition) -> list[str]:
    """Create the tables and ledger rows of this version where they are missing; returns the new tables."""
    key = [definition.metric, definition.version]
    plain = Jsonb(definition.plain())
    known = connection.execute(
        "UPDATE fleetgauge.metric_version SET definition = %s WHERE metric = %s AND version = %s RETURNING 1",
        [plain, *key],
    ).fetchone()
    if known:
        return []
    connection.execute(
        "INSERT INTO fleetgauge.metric_version (metric, version, definition, label_format) VALUES (%s, %s, %s, %s)",
        [*key, plain, labels.FORMAT],
    )
    for level in definition.levels:
        connection.execute(tables.create_table(definition, level))
        for trigger in tables.day_triggers(definition, level):
            connection.execute(trigger)
    for grain in GRAINS:
        connection.execute("INSERT INTO fleetgauge.ledger (metric, version, grain) VALUES (%s, %s, %s)", [*key, grain])
    return [definition.table(level) for level in definition.levels]

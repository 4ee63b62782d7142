"""Bring the metrics database up to date: Alembic's part, then each metric's tables and views. Safe to repeat."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from fleetgauge import postgres
from fleetgauge.errors import Stop, Terminal
from fleetgauge.postgres import Connection, Database, Error, errors, only_row, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS
from fleetgauge.rollup.store import tables
from fleetgauge.rollup.store.tables import VIEWER, WRITER
from fleetgauge.settings import Settings

LOGINS = {"fleetgauge": WRITER, "grafana": VIEWER, "analyst": VIEWER}

_LOCK = 0x666C656574  # "fleet": one migration at a time in a database
_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Migration:
    """What a migration did, or with a dry run would do."""

    revisions: tuple[str, ...] = ()
    created: tuple[str, ...] = ()
    """Tables, without their schema."""
    published: tuple[str, ...] = ()
    """Metrics whose views now show the current version."""
    waiting: tuple[str, ...] = field(default=())
    """Metrics whose views keep an older version until a pass has filled the current one."""


def migrate(settings: Settings, definitions: Mapping[str, Definition], *, dry_run: bool = False) -> Migration:
    """Create or update everything in the metrics database. Called by the CLI and the laboratory; blocks while another
    one runs.

    Raises `Terminal` when `metrics.owner_url` is missing, `Stop` when it may not do it, `Transient` when the server
    is away.
    """
    database = postgres.owner(settings.metrics)
    try:
        with closing(database.connect("migrate")) as guard:
            guard.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            revisions = _alembic(guard, database, dry_run=dry_run)
            if dry_run and "0001" in revisions:
                names = tuple(d.table(level) for d in definitions.values() for level in d.levels)
                return Migration(revisions, names, tuple(definitions))
            with guard.transaction(force_rollback=dry_run):
                _grant(guard)
                guard.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
                return _metrics(guard, revisions, definitions)
    except errors.InsufficientPrivilege as error:
        raise Stop(
            f"the login of metrics.owner_url may not migrate: {error.diag.message_primary}; "
            "it must own the database and have CREATEROLE"
        ) from error
    except Error as error:
        raise database.translate(error, "correct what it names, and migrate again") from error


def head() -> str | None:
    """The newest migration. Reads files only."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return ScriptDirectory.from_config(config).get_current_head()


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
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: database.connect("migrate", autocommit=False), poolclass=NullPool
    )
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table_schema": "fleetgauge"})
        current = context.get_current_revision()
        connection.rollback()
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


def _metrics(guard: Connection, revisions: tuple[str, ...], definitions: Mapping[str, Definition]) -> Migration:
    created: list[str] = []
    published: list[str] = []
    waiting: list[str] = []
    for definition in definitions.values():
        created += create(guard, definition)
        state = publication(guard, definition)
        if state == "published":
            published.append(definition.metric)
        elif state == "waiting":
            waiting.append(definition.metric)
    _derived(guard, definitions)
    guard.execute(
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(
            sql.Identifier(tables.VIEWS), sql.Identifier(VIEWER)
        )
    )
    return Migration(revisions, tuple(created), tuple(published), tuple(waiting))


def create(connection: Connection, definition: Definition) -> list[str]:
    """Create the tables and ledger rows of this version where they are missing; returns the new tables."""
    key = [definition.metric, definition.version]
    known = connection.execute(
        "SELECT 1 FROM fleetgauge.metric_version WHERE metric = %s AND version = %s", key
    ).fetchone()
    if known:
        return []
    connection.execute("INSERT INTO fleetgauge.metric_version (metric, version) VALUES (%s, %s)", key)
    for level in definition.levels:
        connection.execute(tables.create_table(definition, level))
    for grain in GRAINS:
        connection.execute("INSERT INTO fleetgauge.ledger (metric, version, grain) VALUES (%s, %s, %s)", [*key, grain])
    return [definition.table(level) for level in definition.levels]


def publication(connection: Connection, definition: Definition, *, replace: bool = True) -> str:
    """Point the views at this version, unless an older one is shown and this one is not filled yet.

    Called by `migrate`, and by the pass that fills a new version, with `replace` false: that one may not drop what
    others built upon a view, so new columns wait for `migrate`. Returns `current`, `published` or `waiting`.
    """
    found = connection.execute(
        """
        SELECT mine.published_at IS NOT NULL AND mine.published_at >= max(other.published_at) OVER (),
               bool_or(other.published_at IS NOT NULL) OVER (),
               EXISTS (SELECT FROM fleetgauge.ledger AS l WHERE l.metric = mine.metric AND l.version = mine.version
                       AND l.grain = 'minute' AND NOT isempty(l.closed))
        FROM fleetgauge.metric_version AS mine JOIN fleetgauge.metric_version AS other USING (metric)
        WHERE mine.metric = %s AND mine.version = %s LIMIT 1
        """,
        [definition.metric, definition.version],
    )
    current, any_published, filled = only_row(found)
    if any_published and not current and not filled:
        return "waiting"
    try:
        _publish(connection, definition, replace=replace)
    except errors.InvalidTableDefinition:
        return "waiting"
    if current:
        return "current"
    connection.execute(
        "UPDATE fleetgauge.metric_version SET published_at = clock_timestamp() WHERE metric = %s AND version = %s",
        [definition.metric, definition.version],
    )
    return "published"


def _publish(connection: Connection, definition: Definition, *, replace: bool) -> None:
    """(Re)create the views over this version; where columns differ, the old ones and what hangs on them go first."""
    try:
        with connection.transaction():
            for level in definition.levels:
                connection.execute(tables.create_view(definition, level))
    except errors.InvalidTableDefinition:
        if not replace:
            raise
        for level in definition.levels:
            view = sql.Identifier(tables.VIEWS, definition.view(level))
            connection.execute(sql.SQL("DROP VIEW IF EXISTS {} CASCADE").format(view))
            connection.execute(tables.create_view(definition, level))
    for comment in tables.comments(definition):
        connection.execute(comment)


def _derived(connection: Connection, definitions: Mapping[str, Definition]) -> None:
    """Apply every `views.sql`; if one changed its columns, drop all derived views first and apply all again."""
    scripts = {d.metric: d.views_sql for d in definitions.values() if d.views_sql}
    try:
        with connection.transaction():
            _apply(connection, scripts)
    except errors.InvalidTableDefinition:
        own = [d.view(level) for d in definitions.values() for level in d.levels]
        for (name,) in connection.execute(
            "SELECT viewname FROM pg_views WHERE schemaname = %s AND viewowner = current_user AND viewname <> ALL (%s)",
            [tables.VIEWS, own],
        ).fetchall():
            connection.execute(sql.SQL("DROP VIEW IF EXISTS {} CASCADE").format(sql.Identifier(tables.VIEWS, name)))
        _apply(connection, scripts)


def _apply(connection: Connection, scripts: Mapping[str, str]) -> None:
    for metric, script in scripts.items():
        try:
            connection.execute(script.encode())  # no parameters, so several statements may stand in it
        except errors.InvalidTableDefinition:
            raise
        except Error as error:
            raise Terminal(
                f"sql/metrics/{metric}/views.sql failed: {error.diag.message_primary or error}; "
                "correct it and migrate again"
            ) from error

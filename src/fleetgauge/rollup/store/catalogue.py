"""Views as the database's catalogue has them: columns, owner, options, comments; and dropping one without loss."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.store.dependents import Grant, dependents, grants
from fleetgauge.rollup.store.tables import VIEWER, VIEWS, WRITER
from fleetgauge.rollup.store.views import ViewColumn

# Of our own types the schema is always named, whatever the search path of the login finds by itself.
_COLUMNS = """
SELECT asked.schema, asked.relation, a.attname,
    CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN format_type(a.atttypid, a.atttypmod)
    ELSE t.typnamespace::regnamespace || '.' || t.typname END,
    CASE WHEN a.attcollation <> t.typcollation THEN (SELECT collname FROM pg_collation WHERE oid = a.attcollation) END
FROM unnest(%s::text[], %s::text[]) AS asked (schema, relation)
JOIN pg_attribute AS a ON a.attrelid = to_regclass(format('%%I.%%I', asked.schema, asked.relation))
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_VIEW = """
SELECT pg_get_userbyid(c.relowner), pg_has_role(%s, c.relowner, 'USAGE'), coalesce(c.reloptions, '{}')
FROM pg_class AS c WHERE c.oid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND c.relkind = 'v'
"""
_COMMENTS = """
SELECT a.attname, d.description FROM pg_description AS d
LEFT JOIN pg_attribute AS a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE d.classoid = 'pg_class'::regclass AND d.objoid = to_regclass(format('%%I.%%I', %s::text, %s::text))
"""


_INHERITED = """
SELECT a.attname, min(split_part(d.description, ' [NULL ', 1))
FROM pg_attribute AS a
JOIN pg_rewrite AS r ON r.ev_class = a.attrelid
JOIN pg_depend AS p ON p.classid = 'pg_rewrite'::regclass AND p.objid = r.oid AND p.refclassid = 'pg_class'::regclass
JOIN pg_attribute AS b ON b.attrelid = p.refobjid AND b.attnum = p.refobjsubid AND b.attname = a.attname
    AND b.attrelid <> a.attrelid
JOIN pg_description AS d ON d.classoid = 'pg_class'::regclass AND d.objoid = b.attrelid AND d.objsubid = b.attnum
WHERE a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND a.attnum > 0
    AND col_description(a.attrelid, a.attnum) IS NULL
GROUP BY a.attname
"""


@dataclass(frozen=True)
class ViewState:
    """A view of schema `metrics` as it is."""

    columns: tuple[ViewColumn, ...] = ()
    stranger: str | None = None
    """Its owner, where that is a role that the writers may not act as."""
    options: tuple[str, ...] = ()
    """Such as `security_barrier=true`."""


def state_of(connection: Connection, view: str) -> ViewState:
    """The view; empty if there is none."""
    row = connection.execute(_VIEW, [WRITER, VIEWS, view]).fetchone()
    if row is None:
        return ViewState()
    owner, ours, options = row
    return ViewState(columns_of(connection, VIEWS, view), None if ours else owner, tuple(options))


def columns_of(connection: Connection, schema: str, relation: str) -> tuple[ViewColumn, ...]:
    """Columns of a view or table, in order; none if there is none."""
    return columns_of_all(connection, [(schema, relation)])[schema, relation]


def columns_of_all(
    connection: Connection, relations: Collection[tuple[str, str]]
) -> dict[tuple[str, str], tuple[ViewColumn, ...]]:
    """The same of many, by schema and name, asked at once."""
    found: dict[tuple[str, str], list[ViewColumn]] = {one: [] for one in relations}
    asked = [[schema for schema, _ in found], [name for _, name in found]]
    for schema, name, *row in connection.execute(_COLUMNS, asked):
        found[schema, name].append(ViewColumn(*row))
    return {one: tuple(columns) for one, columns in found.items()}


def owned_views(connection: Connection) -> list[str]:
    """The views of schema `metrics` that the writers own: those of metrics, and those of `views.sql`."""
    query = "SELECT viewname FROM pg_views WHERE schemaname = %s AND viewowner = %s ORDER BY viewname"
    return [name for (name,) in connection.execute(query, [VIEWS, WRITER])]


def comments(connection: Connection, view: str) -> dict[str | None, str]:
    """What is said beside a view: by column, and by None of the view itself."""
    return dict(connection.execute(_COMMENTS, [VIEWS, view]).fetchall())


def say(connection: Connection, view: str, texts: Mapping[str | None, str]) -> None:
    """Write comments: by column, and by None beside the view itself. All at once."""
    if texts:
        statements = [
            sql.SQL("COMMENT ON {} IS {}").format(
                sql.SQL("VIEW {}").format(sql.Identifier(VIEWS, view))
                if column is None
                else sql.SQL("COLUMN {}").format(sql.Identifier(VIEWS, view, column)),
                sql.Literal(text),
            )
            for column, text in texts.items()
        ]
        connection.execute(sql.SQL("; ").join(statements), prepare=False)


def inherit_comments(connection: Connection, view: str) -> None:
    """Say beside columns that nobody has explained what is said beside those of the same name that they come from."""
    say(connection, view, dict(connection.execute(_INHERITED, [VIEWS, view]).fetchall()))


@contextmanager
def as_writer(connection: Connection) -> Iterator[None]:
    """Act as the role that owns tables and views, whoever is logged in. Inside a transaction."""
    row = connection.execute("SELECT current_setting('role')").fetchone()
    before = row[0] if row else "none"
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(WRITER)))
    yield
    connection.execute("SELECT set_config('role', %s, true)", [before])


@dataclass(frozen=True)
class Saved:
    """What goes with a view that is dropped, to be given to the one that replaces it."""

    view: str
    options: tuple[str, ...]
    grants: tuple[Grant, ...]
    comments: tuple[tuple[str | None, str], ...]

    @classmethod
    def of(cls, connection: Connection, view: str) -> "Saved":
        """As it is now."""
        return cls(
            view,
            state_of(connection, view).options,
            tuple(grants(connection, [view], everybody=True)),
            tuple(comments(connection, view).items()),
        )

    def restore(self, connection: Connection) -> None:
        """Grant and say it again, where the columns are still there."""
        there = {column.name for column in columns_of(connection, VIEWS, self.view)}
        for grant in self.grants:
            if grant.column is None or grant.column in there:
                connection.execute(grant.statement())
        set_options(connection, self.view, self.options)
        say(connection, self.view, {name: text for name, text in self.comments if name is None or name in there})


def clear(connection: Connection, view: str, own: Collection[str]) -> list[Saved]:
    """Drop a view and those of `own` that are built on it, nothing else; returns what goes with each, this one first.

    Raises `errors.DependentObjectsStillExist` when something else depends on one.
    """
    above = {one.name.removeprefix(f"{VIEWS}.") for one in dependents(connection, [view]) if one.kind == "view"}
    names = [view, *(name for name in own if name in above)]
    saved = [Saved.of(connection, name) for name in names]
    drop_views(connection, names)
    return saved


def drop_views(connection: Connection, names: Collection[str]) -> None:
    """Drop these views, each after those that are built on it; nothing that is not named."""
    left = list(dict.fromkeys(names))
    while left:
        free = [name for name in left if not dependents(connection, [name])] or left
        for name in free:
            connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(VIEWS, name)))
        left = [name for name in left if name not in free]


def grant_viewers(connection: Connection, view: str) -> None:
    """Let those read it who read all views."""
    connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(VIEWS, view), sql.Identifier(VIEWER)))


def set_options(connection: Connection, view: str, options: Collection[str]) -> None:
    """Give a view these options, each as the catalogue says it: `security_barrier=true`."""
    for option in options:
        connection.execute(sql.SQL("ALTER VIEW {} SET ({})").format(sql.Identifier(VIEWS, view), sql.SQL(option)))

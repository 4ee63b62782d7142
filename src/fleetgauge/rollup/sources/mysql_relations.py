"""What hides behind the names in source.sql on MariaDB or MySQL: views, and functions that somebody has written."""

from fleetgauge.errors import Terminal
from fleetgauge.mysql import MysqlSession, literal
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.source_sql import line_of, names_in, problems_behind

Parts = tuple[str, ...]
_FUNCTIONS = (
    "SELECT routine_schema, routine_name FROM information_schema.routines"
    " WHERE is_deterministic = 'NO' AND routine_type = 'FUNCTION' AND LOWER(routine_name) IN ({}) ORDER BY 1, 2"
)


def check(session: MysqlSession, definition: Definition) -> None:
    """As `postgres_relations.check`. A view whose text the login may not see is refused as well."""
    tables, calls = names_in(definition.source_sql, "mysql")
    for table in tables:
        calls += _calls_of(session, definition, table, set())
    names = ", ".join(sorted({literal(name.lower()) for name in calls}))
    for schema, name in session.rows(_FUNCTIONS.format(names)) if names else ():
        # Its body is hidden from a login that only reads, so what it declares has to do.
        said = "is NOT DETERMINISTIC; if what it gives follows from its arguments and rows, declare it so"
        raise _refused(definition, name, f"function {schema}.{name}: {said}")


def _calls_of(session: MysqlSession, definition: Definition, table: Parts, seen: set[Parts]) -> list[str]:
    """The functions that a view calls, and those that it is made of; none of a table."""
    name = table[-1]
    schema = literal(table[-2]) if len(table) > 1 else "DATABASE()"
    found = session.rows(
        "SELECT table_schema, view_definition FROM information_schema.views"
        f" WHERE table_schema = {schema} AND table_name = {literal(name)}"
    )
    if not found or table in seen:
        return []
    ((where, text),) = found
    if not text:
        said = "its text cannot be seen, and so not whether it counts from today; grant SHOW VIEW on it to the login"
        raise _refused(definition, name, f"view {where}.{name}: {said}")
    seen.add(table)
    if problems := problems_behind(text, "mysql"):
        raise _refused(definition, name, f"view {where}.{name}: {problems[0]}")
    tables, calls = names_in(text, "mysql")
    for inner in tables:
        calls += _calls_of(session, definition, inner if len(inner) > 1 else (str(where), *inner), seen)
    return calls


def _refused(definition: Definition, name: str, said: str) -> Terminal:
    line = line_of(definition.source_sql, name, "mysql")
    return Terminal(f"sql/metrics/{definition.metric}/source.sql:{line}: {said}")

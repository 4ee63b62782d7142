"""What the columns of source.sql are on a Postgres, asked of the server itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, Error, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources.column_kinds import POSTGRES, UNEVEN_NUMERIC, ColumnError, checked, is_of_known_kind
from fleetgauge.rollup.sources.postgres_parts import everything, predicate


def check(connection: Connection[Any], definition: Definition) -> None:
    """Raises `ColumnError` naming each key whose column does not fit, `Terminal` when source.sql itself fails.

    Asks for no row. Inside the look's transaction.
    """
    columns = types(connection, definition)
    checked(definition, columns, POSTGRES)
    wrong = list(_uncomparable(connection, definition, dict(columns)))
    if wrong:
        raise ColumnError(definition, wrong)


def _uncomparable(connection: Connection[Any], definition: Definition, kinds: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each `where` whose values its column's type cannot take, such as an enum of other labels.

    Else the first question of a run would fail, and nobody could tell by which line of metric.yaml.
    """
    for name, measure in definition.stored.items():
        for column, test in measure.where.items():
            if is_of_known_kind(kinds[column]):
                continue
            query = sql.SQL("SELECT 1 FROM (SELECT s.* FROM {} LIMIT 0) AS s WHERE {}")
            try:
                with connection.transaction():
                    connection.execute(query.format(everything(definition), predicate({column: test})))
            except Error as error:
                if (error.sqlstate or "")[:2] not in ("22", "42"):
                    raise
                cure = f"{error.diag.message_primary}; {_possible(connection, kinds[column])}"
                yield f"measures.{name}.where.{column}: {column} cannot be compared with that: {cure}"


def _possible(connection: Connection[Any], kind: str) -> str:
    labels = [
        label
        for (label,) in connection.execute(
            "SELECT e.enumlabel FROM pg_enum AS e JOIN pg_type AS t ON t.oid = e.enumtypid WHERE t.typname = %s"
            " ORDER BY e.enumsortorder",
            [kind],
        ).fetchall()
    ]
    return f"it can be {', '.join(labels)}" if labels else f"write a value of its type, {kind}"


def types(connection: Connection[Any], definition: Definition) -> list[tuple[str, str]]:
    """Column and the name of its type, in order, as the server describes the query. Raises `Terminal`."""
    query = sql.SQL("SELECT s.* FROM {} LIMIT 0").format(everything(definition))
    text = query.as_string(connection)
    try:
        description = connection.execute(query).description or ()
    except Error as error:
        if error.sqlstate == "42501" or (error.sqlstate or "")[:2] not in ("42", "3F"):
            raise
        offset = int(error.diag.statement_position or 1) - 1 - text.find(definition.source_sql)
        line = definition.source_sql.count("\n", 0, max(offset, 0)) + 1
        hint = f" ({error.diag.message_hint.rstrip('.')})" if error.diag.message_hint else ""
        said = f"{error.diag.message_primary}{hint}; correct it to what the database has now"
        raise Terminal(f"sql/metrics/{definition.metric}/source.sql:{line}: {said}") from error
    names = _named(connection, {column.type_code for column in description})
    return [(column.name, _kind(names.get(column.type_code, "unknown"), column.scale)) for column in description]


def _kind(name: str, scale: int | None) -> str:
    """Where a numeric has no scale, its values are told as they were written."""
    return UNEVEN_NUMERIC if name == "numeric" and scale is None else name


def _named(connection: Connection[Any], oids: set[int]) -> Mapping[int, str]:
    """The driver knows the server's own types; of others, and of arrays, the server is asked."""
    known = {oid: found.name for oid in oids if (found := connection.adapters.types.get(oid)) and found.oid == oid}
    if asked := list(oids - known.keys()):
        rows = connection.execute("SELECT oid::int8, typname::text FROM pg_type WHERE oid = ANY (%s)", [asked])
        known |= dict(rows.fetchall())
    return known

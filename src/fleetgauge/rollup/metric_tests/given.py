"""Rows that a test gives, as temporary tables that stand in for those of the source."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, Jsonb, sql
from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.metric_tests.file import GivenRow, MetricTest
from fleetgauge.rollup.sources.port import Row

_TYPES: dict[type, str] = {
    bool: "boolean",
    int: "bigint",
    float: "numeric",
    str: "text",
    datetime: "timestamptz",
    date: "date",
    dict: "jsonb",
}


def stand_in(connection: Connection[Row], definition: Definition, test: MetricTest) -> str:
    """Create the tables with their rows, for this transaction; returns source.sql as it reads them.

    Raises `Terminal` when source.sql reads a table that is not given, or a column's type cannot be told.
    """
    missing = sorted(set(_tables(definition.source_sql)) - set(_answered(test)))
    if missing:
        raise Terminal(f"{test.shown}: source.sql reads {', '.join(missing)}; give its rows, or [] for none")
    for table, rows in test.given.items():
        known = _catalogue(connection, table) if definition.source == COMMANDS else {}
        types = {**_told(test, table, rows, known), **test.types.get(table, {})}
        _create(connection, table.split(".")[-1], {**known, **types} if known else types, rows)
    return rewritten(definition.source_sql, test.given)


def rewritten(source_sql: str, given: Mapping[str, Any]) -> str:
    """`source_sql` with given tables named without their schema, so that the temporary ones are found first."""
    read = set(_tables(source_sql))
    kept, at = [], 0
    for (schema, dot), (_, table) in pairwise(pairwise(Postgres().tokenize(source_sql))):
        named = f"{schema.text}.{table.text}"
        if dot.text == "." and named in read and (named in given or table.text in given):
            kept.append(source_sql[at : schema.start])
            at = table.start
    return "".join(kept) + source_sql[at:]


def _tables(source_sql: str) -> Iterator[str]:
    """The tables that a query reads, as it names them."""
    query = sqlglot.parse_one(source_sql, dialect="postgres")
    own = {cte.alias for cte in query.find_all(exp.CTE)}
    for table in query.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and (table.db or table.name not in own):
            yield f"{table.db}.{table.name}" if table.db else table.name


def _answered(test: MetricTest) -> Iterator[str]:
    """Names by which the given tables may be read."""
    for table in test.given:
        yield table
        yield table.split(".")[-1]


def _catalogue(connection: Connection[Row], table: str) -> dict[str, str]:
    """Columns and types of a table of this very database; none if it has no such table."""
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [table],
    ).fetchall()
    return dict(rows)


def _told(test: MetricTest, table: str, rows: list[GivenRow], known: Mapping[str, str]) -> dict[str, str]:
    """Column → type, by its values."""
    found: dict[str, str] = {}
    stated = {**known, **test.types.get(table, {})}
    for column in dict.fromkeys(name for row in rows for name in row):
        if column in stated:
            continue
        kinds = {_kind(row[column]) for row in rows if row.get(column) is not None}
        if kinds == {"bigint", "numeric"}:
            kinds = {"numeric"}
        if len(kinds) != 1:
            what = "is NULL in all rows" if not kinds else f"holds {' and '.join(sorted(kinds))}"
            raise Terminal(
                f"{test.shown}: {table}.{column} {what}; say its type: `types: {{{table}: {{{column}: …}}}}`"
            )
        found[column] = kinds.pop()
    return found


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"{_kind(value[0]) if value else 'text'}[]"
    return _TYPES.get(type(value), "text")


def _create(connection: Connection[Row], table: str, types: Mapping[str, str], rows: list[GivenRow]) -> None:
    name = sql.Identifier("pg_temp", table)
    columns = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(c), sql.SQL(t)) for c, t in types.items())
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(sql.Identifier(table), columns))
    for row in rows:
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                name,
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(types.get(c, "text"))) for c in row),
            )
            if row
            else sql.SQL("INSERT INTO {} DEFAULT VALUES").format(name),
            [_plain(value) for value in row.values()],
        )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    return Jsonb(value) if isinstance(value, dict) else value

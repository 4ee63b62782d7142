"""Pieces of SQL on a source: identifiers quoted, constants as literals that psycopg escapes."""

from collections.abc import Sequence

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import UNKNOWN, Definition, Dimension
from fleetgauge.rollup.definitions.measures import Comparison, Scalar, Where

_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def predicate(where: Where) -> sql.Composable:
    """`where` as one SQL condition; true when it is empty."""
    parts = [part for column, test in where.items() for part in _tests(col(column), test)]
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")


def _tests(column: sql.Composable, test: Scalar | list[Scalar] | Comparison) -> list[sql.Composable]:
    if isinstance(test, list):
        return [sql.SQL("{} IN ({})").format(column, comma([sql.Literal(v) for v in test]))]
    if not isinstance(test, Comparison):
        return [sql.SQL("{} = {}").format(column, sql.Literal(test))]
    parts: list[sql.Composable] = []
    for name, operator in _OPERATORS.items():
        value = getattr(test, name)
        if value is not None:
            parts.append(sql.SQL("{} {} {}").format(column, sql.SQL(operator), sql.Literal(value)))
    if test.not_in:
        parts.append(sql.SQL("{} NOT IN ({})").format(column, comma([sql.Literal(v) for v in test.not_in])))
    if test.is_null is not None:
        parts.append(sql.SQL("{} IS NULL" if test.is_null else "{} IS NOT NULL").format(column))
    return parts


def col(name: str) -> sql.Composable:
    return sql.Identifier("s", name)


def value_of(dimension: Dimension) -> sql.Composable:
    return sql.SQL("coalesce({}::text, {})").format(col(dimension.column), sql.Literal(UNKNOWN))


def finite(definition: Definition) -> sql.Composable:
    """Keeps out times that neither Python nor a calendar knows, infinities first."""
    return sql.SQL("{0} >= '0002-01-01' AND {0} < '9998-01-01'").format(col(definition.event_time))


def comma(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def source(definition: Definition) -> sql.Composable:
    return sql.SQL("{} AS s").format(rows(definition))


def rows(definition: Definition) -> sql.Composable:
    return sql.SQL("(\n{}\n)").format(sql.SQL(definition.source_sql))


def places(count: int) -> sql.Composable:
    """`GROUP BY` the first so many columns."""
    return comma([sql.Literal(i + 1) for i in range(count)])


def dims_of(alias: str, definition: Definition) -> list[sql.Composable]:
    return [sql.Identifier(alias, n) for n in definition.dimensions]

"""Pieces of SQL on a source: identifiers quoted, constants as literals that psycopg escapes."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Comparison, Distinct, Last, Scalar, Sum, Tally, Where
from fleetgauge.rollup.definitions.parts import Dimension
from fleetgauge.rollup.labels import labelled_sql
from fleetgauge.rollup.values import LARGEST, LARGEST_WHOLE

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


def label_of(dimension: Dimension) -> sql.Composable:
    """A row's value as the tables have it. Compared byte by byte, whatever the column's own collation holds equal."""
    return _labelled(dimension.column)


def label_of_key(key: str) -> sql.Composable:
    """What tells a row, in a form that an index can hold."""
    return _labelled(key)


@lru_cache(maxsize=1024)
def _labelled(column: str) -> sql.SQL:
    """Rendered: it is the longest part of most questions, and stands in them several times."""
    return sql.SQL(labelled_sql(sql.SQL('{}::text COLLATE "C"').format(col(column))).as_string(None))


def accepted(definition: Definition) -> tuple[sql.Literal, sql.Literal]:
    """The first event time that is possible, and the first that is not any more."""
    accepts = definition.accepts
    return sql.Literal(f"{accepts.earliest}T00:00:00Z"), sql.Literal(f"{accepts.before}T00:00:00Z")


def finite(definition: Definition, latest_time: datetime | None = None) -> sql.Composable:
    """Keeps out times that no row can have, infinities first, and those too far ahead. NULL gives NULL."""
    earliest, before = accepted(definition)
    kept = sql.SQL("{0} >= {1} AND {0} < {2}").format(col(definition.event_time), earliest, before)
    if latest_time is None:
        return kept
    return sql.SQL("{} AND {} < {}").format(kept, col(definition.event_time), sql.Literal(latest_time))


def comma(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def everything(definition: Definition) -> sql.Composable:
    """All rows that source.sql returns."""
    return sql.SQL("{} AS s").format(rows(definition))


def source(definition: Definition) -> sql.Composable:
    """Those that can be counted."""
    rules = [rule for _, rule in countable(definition)]
    if not rules:
        return everything(definition)
    return sql.SQL("(SELECT s.* FROM {} WHERE {}) AS s").format(everything(definition), sql.SQL(" AND ").join(rules))


def judged(definition: Definition, within: sql.Composable) -> sql.Composable:
    """All rows `within`, with `_counts`: whether they can be counted. The condition is judged once for each."""
    rules = [rule for _, rule in countable(definition)] or [sql.SQL("true")]
    return sql.SQL("(SELECT s.*, {} AS _counts FROM {} WHERE {} OFFSET 0) AS s").format(
        sql.SQL(" AND ").join(rules), everything(definition), within
    )


def countable(definition: Definition) -> list[tuple[str, sql.Composable]]:
    """Column → what its values must be so that a row can be counted. NULL can, but as a key; NaN never."""
    rules: dict[str, sql.Composable] = {}
    for measure in definition.stored.values():
        of = getattr(measure, "of", None)
        if (
            of is None
            or isinstance(measure, Distinct | Tally)
            or (isinstance(measure, Last) and measure.type == "text")
        ):
            continue
        if isinstance(measure, Sum) and measure.type == "integer":
            rule = "({0} BETWEEN -{1} AND {1}) IS NOT FALSE"
            rules.setdefault(of, sql.SQL(rule).format(col(of), sql.Literal(LARGEST_WHOLE)))
        elif getattr(measure, "type", None) != "integer":
            rule = "(abs({0}::numeric) < {1}::numeric) IS NOT FALSE"
            rules[of] = sql.SQL(rule).format(col(of), sql.Literal(f"{LARGEST:.0e}"))
    if definition.key is None:
        return list(rules.items())
    return [(definition.key, sql.SQL("{} IS NOT NULL").format(col(definition.key))), *rules.items()]


def rows(definition: Definition) -> sql.Composable:
    return sql.SQL("(\n{}\n)").format(sql.SQL(definition.source_sql))


def positions(count: int) -> sql.Composable:
    """`GROUP BY` the first so many columns."""
    return comma([sql.Literal(i + 1) for i in range(count)])


def dims_of(alias: str, definition: Definition) -> list[sql.Composable]:
    return [sql.Identifier(alias, n) for n in definition.dimensions]

"""Which columns of the source's tables the time predicates meet, and whether an index serves them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlglot
from sqlglot import exp

from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.sql_words import Dialect

_SERVED = """
SELECT to_regclass(%(table)s) IS NULL OR EXISTS (
    SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(%(table)s) AND a.attname = %(column)s AND i.indisvalid)
"""


LARGE = 100_000
"""Rows from which on reading a whole table is worth a warning."""


@dataclass(frozen=True)
class TimeColumn:
    """A column of a source's table by which rows are looked up."""

    table: str
    column: str
    dialect: Dialect = "postgres"

    @property
    def remedy(self) -> str:
        """What the production DBA runs, outside a transaction; writers go on meanwhile."""
        name = f"ix_{self.table.rpartition('.')[2]}_{self.column}"
        if self.dialect == "mysql":
            return f"ALTER TABLE {self.table} ADD INDEX {name} ({self.column}), ALGORITHM = INPLACE, LOCK = NONE;"
        return f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {self.table} ({self.column});"


def time_columns(definition: Definition) -> list[TimeColumn]:
    """What stands behind event time and change time; nothing for a time that is worked out and for documents."""
    if definition.documents is not None:
        return []
    names = [name for name in (definition.event_time, definition.change_time) if name is not None]
    query = sqlglot.parse_one(definition.source_sql, dialect=definition.dialect)
    found = [replace(column, dialect=definition.dialect) for name in names for column in _behind(query, name)]
    return list(dict.fromkeys(found))


def unserved(connection: Connection[Any], columns: list[TimeColumn]) -> list[TimeColumn]:
    """Those that no index begins with. A table that is not there is for others to tell."""
    found = []
    for one in columns:
        row = connection.execute(_SERVED, {"table": one.table, "column": one.column}).fetchone()
        if row is not None and not row[0]:
            found.append(one)
    return found


def told(time: str, *, changes: bool = False) -> str:
    """What a run asks by this time, in words."""
    return f"what has changed within a minute, by {time}," if changes else f"the rows of one minute, by {time},"


def warnings(dear: Mapping[str, Mapping[str, int]], lacking: Iterable[TimeColumn]) -> list[str]:
    """A sentence for each large table that a question would read; `lacking`: the times that no index serves."""
    found = []
    for what, tables in dear.items():
        for table, rows in tables.items():
            remedies = " ".join(one.remedy for one in lacking if one.table.rpartition(".")[2] == table)
            found.append(
                f"{what} would read all of {table} (about {rows} rows); production needs "
                + (remedies or "an index that the condition on this time can use: see source.sql")
            )
    return found


def _behind(query: object, name: str) -> Iterator[TimeColumn]:
    """By position in each branch of a UNION, since only the first names the columns."""
    branches = list(_selects(query))
    if not branches:
        return
    outputs = [select.alias_or_name for select in branches[0].selects]
    index = outputs.index(name) if name in outputs else None
    for branch in branches:
        shown = branch.selects[index].unalias() if index is not None and index < len(branch.selects) else None
        tables = {table.alias_or_name: table for table in branch.find_all(exp.Table)}
        only = next(iter(tables.values())) if len(tables) == 1 else None
        if isinstance(shown, exp.Column):
            table = tables.get(shown.table) if shown.table else only
            column = shown.name
        else:  # `SELECT *` shows the column under its own name; anything else is worked out
            star = any(isinstance(select, exp.Star) for select in branch.selects)
            table = only if shown is None and star else None
            column = name
        if table is not None:
            yield TimeColumn(".".join(part.name for part in table.parts), column)


def _selects(query: object) -> Iterator[exp.Select]:
    if isinstance(query, exp.SetOperation):
        yield from _selects(query.left)
        yield from _selects(query.right)
    elif isinstance(query, exp.Subquery):
        yield from _selects(query.this)
    elif isinstance(query, exp.Select):
        yield query

"""What the columns of source.sql are on MariaDB or MySQL, asked of the server itself."""

from collections.abc import Mapping

from fleetgauge.errors import Terminal
from fleetgauge.mysql import MysqlSession
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources.column_kinds import MYSQL, checked

KINDS: Mapping[str, str] = {
    "integer": "int8",
    "decimal": "numeric",
    "double": "float8",
    "text": "text",
    "timestamp": "timestamptz",
    "datetime": "timestamp",
    "date": "date",
    "time": "time",
    "bit": "binary",
    "geometry": "binary",
    "binary": "binary",
}
"""What they are to `column_kinds`."""


def mysql_columns(session: MysqlSession, definition: Definition) -> dict[str, str]:
    """Column → kind as `MysqlSession.columns` calls it. Asks for no row, within the look's transaction.

    Raises `ColumnError` naming each key whose column does not fit, `Terminal` for a definition of another dialect.
    """
    file = f"sql/metrics/{definition.metric}/metric.yaml"
    if definition.dialect != "mysql":
        raise Terminal(f"{file}:1: its source is MariaDB or MySQL; add dialect: mysql, and write source.sql in it")
    found = session.columns(f"SELECT s.* FROM (\n{definition.source_sql}\n) AS s LIMIT 0")
    known = {**KINDS, **({} if definition.datetime_offset is None else {"datetime": "timestamptz"})}
    checked(definition, [(name, known[kind]) for name, kind in found], MYSQL)
    return dict(found)

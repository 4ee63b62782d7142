"""What a question would cost a MariaDB or MySQL, as its optimiser guesses: no row is read."""

from dataclasses import dataclass
from datetime import datetime

from fleetgauge.mysql import MysqlSession, literal
from fleetgauge.rollup.sources import mysql_sql
from fleetgauge.rollup.sources.indexes import LARGE, TimeColumn, told
from fleetgauge.rollup.sources.mysql_parts import SourceColumns
from fleetgauge.rollup.spans import MINUTE


@dataclass(frozen=True)
class Scan:
    """How one table of a query is read."""

    table: str
    """As the query calls it."""
    whole: bool
    """From end to end, by no index."""
    rows: int
    """About how many are looked at."""


def scans(session: MysqlSession, query: str) -> list[Scan]:
    """Of each table. The query is not run."""
    return [
        Scan(str(row["table"]), row["type"] in ("ALL", "index"), int(row["rows"] or 0))
        for row in session.named_rows(f"EXPLAIN {query}")
        if row["table"] and not str(row["table"]).startswith("<")
    ]


def dear_on_mysql(session: MysqlSession, columns: SourceColumns, now: datetime) -> dict[str, dict[str, int]]:
    """Question of a run → large tables that it would read from end to end, with about how many rows each has."""
    definition = columns.definition
    span = columns.within([(now - MINUTE, now)])
    asked = {told(definition.event_time): mysql_sql.numbers(columns, span, mysql_sql.by_minute(columns))}
    if definition.change_time is not None:
        asked[told(definition.change_time, changes=True)] = mysql_sql.touched(columns, now - MINUTE, None)
    return {
        what: {scan.table: scan.rows for scan in scans(session, query) if scan.whole and scan.rows > LARGE}
        for what, query in asked.items()
    }


def unserved_by_mysql(session: MysqlSession, columns: list[TimeColumn]) -> list[TimeColumn]:
    """Those that no index begins with. A table that is not there is for others to tell."""
    return [one for one in columns if _is_table(session, one) and not _serves(session, one)]


def _is_table(session: MysqlSession, one: TimeColumn) -> bool:
    return bool(session.rows(f"SELECT 1 FROM information_schema.tables WHERE {_named(one)}"))


def _serves(session: MysqlSession, one: TimeColumn) -> bool:
    first = f"seq_in_index = 1 AND column_name = {literal(one.column)}"
    return bool(session.rows(f"SELECT 1 FROM information_schema.statistics WHERE {_named(one)} AND {first} LIMIT 1"))


def _named(one: TimeColumn) -> str:
    schema, _, table = one.table.rpartition(".")
    return f"table_schema = {literal(schema) if schema else 'DATABASE()'} AND table_name = {literal(table)}"

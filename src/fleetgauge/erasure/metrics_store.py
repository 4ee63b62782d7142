"""The metrics database without a person: fingerprints leave their sketches, texts that hold the id keep the rest.

Whatever table or column a migration or a definition adds is found in the catalogue, so none is forgotten. The id
reaches the server with the start of the session, so that it is in none of the server's logs.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from secrets import token_hex

from fleetgauge.erasure.found import Found, Tell
from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, Database, Jsonb, sql
from fleetgauge.privacy.identity import Identity
from fleetgauge.privacy.redaction import redacted
from fleetgauge.rollup.execute.session import lock

REASON = "erasure of a person"
"""In the log of restatements."""
_SCHEMAS = ["fleetgauge", "store", "metrics"]
_PATTERN = sql.SQL("convert_from(decode(current_setting('fleetgauge.erase'), 'hex'), 'UTF8')")

_COLUMNS = """
SELECT n.nspname, c.relname, a.attname,
    CASE WHEN b.typname IN ('json', 'jsonb') THEN 'json' WHEN b.typcategory = 'A' THEN 'texts' ELSE 'text' END
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
INNER JOIN pg_catalog.pg_type AS b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
LEFT JOIN pg_catalog.pg_type AS e ON e.oid = b.typelem AND b.typcategory = 'A'
WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attgenerated = ''
    AND (b.typcategory = 'S' OR b.typname IN ('json', 'jsonb') OR e.typcategory = 'S')
    AND (n.nspname, c.relname) <> ('fleetgauge', 'erasure')
ORDER BY 1, 2, a.attnum
"""

_SKETCHES = r"""
SELECT c.relname, a.attname, v.metric, v.version, substring(c.relname FROM length(v.metric) + 2 FOR
    length(c.relname) - length(v.metric) - length(v.version) - 3)
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
INNER JOIN fleetgauge.metric_version AS v
    ON starts_with(c.relname, v.metric || '_') AND right(c.relname, length(v.version) + 2) = '__' || v.version
WHERE c.relnamespace = 'store'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND a.atttypid = 'fleetgauge.distinct_bits'::regtype
ORDER BY v.metric, c.relname, a.attnum
"""

_WITHOUT = """
WITH freed AS (
    UPDATE store.{table} SET {measure} = fleetgauge.distinct_without({measure}, %(prints)s::integer[])
    WHERE {measure} IS DISTINCT FROM fleetgauge.distinct_without({measure}, %(prints)s::integer[])
    RETURNING window_start
), told AS (
    INSERT INTO fleetgauge.restatement (metric, version, level, grain, window_start, measure, cells, reason)
    SELECT %(metric)s, %(version)s, %(level)s, %(grain)s, date_trunc('month', window_start), %(measure)s, count(*),
        %(reason)s
    FROM freed GROUP BY date_trunc('month', window_start)
)
SELECT count(*) FROM freed
"""


@dataclass(frozen=True)
class _TextTable:
    schema: str
    table: str
    columns: tuple[tuple[str, str], ...]
    """Name and kind: text, texts, json."""

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)


class Fingerprints:
    """Sketches of all metrics and versions, of whatever age. Each table is one transaction under its metric's lock."""

    name = "fingerprints of the metrics database"

    def __init__(self, connection: Connection, prints: Sequence[int]) -> None:
        self._connection = connection
        self._values = {"prints": list(prints), "reason": REASON}

    def run(self, tell: Tell, *, dry_run: bool) -> None:
        """See `ErasureStep.run`. Told as restatements by month: cells would tell where somebody was."""
        for table, measure, metric, version, level in self._connection.execute(_SKETCHES).fetchall():
            names = {"table": sql.Identifier(table), "measure": sql.Identifier(measure)}
            if dry_run:
                query = sql.SQL(
                    "SELECT count(*) FROM store.{table} WHERE {measure} IS DISTINCT FROM"
                    " fleetgauge.distinct_without({measure}, %(prints)s::integer[])"
                ).format(**names)
                count = self._connection.execute(query, self._values).fetchall()[0][0]
            else:
                more = {"metric": metric, "version": version, "level": level, "measure": measure}
                values = {**self._values, **more, "grain": level.rpartition("_")[2]}
                with self._connection.transaction():
                    lock(self._connection, metric)
                    query = sql.SQL(_WITHOUT).format(**names)
                    count = self._connection.execute(query, values).fetchall()[0][0]
            tell(Found(f"store.{table}", "fingerprints", count))


class Texts:
    """Every text of every table: dimension values, keys of rows, messages, run log, events. A transaction a table."""

    name = "texts of the metrics database"

    def __init__(self, database: Database, identity: Identity) -> None:
        self._database = database
        self._identity = identity
        self._instead = f"(erased {token_hex(4)})"  # another in each erasure: values of keys must stay different

    def run(self, tell: Tell, *, dry_run: bool) -> None:
        """See `ErasureStep.run`."""
        hidden = self._identity.pattern.encode().hex()
        options = self._database.started_with({"fleetgauge.erase": hidden, "DateStyle": "ISO"})
        with (
            closing(self._database.connect("erase", session={"lock_timeout": "60s"}, options=options)) as connection,
            self._database.translated(),
        ):
            for table in _tables(connection):
                with connection.transaction():
                    count = self._of(connection, table, dry_run=dry_run)
                tell(Found(f"{table.schema}.{table.table}", "rows with the id in a text", count))

    def _of(self, connection: Connection, table: _TextTable, *, dry_run: bool) -> int:
        hits = sql.SQL(" OR ").join(_hit(*column) for column in table.columns)
        where = sql.SQL("{} WHERE {}").format(table.name, hits)
        count = int(connection.execute(sql.SQL("SELECT count(*) FROM {}").format(where)).fetchall()[0][0])
        if not count or dry_run:
            return count
        allowed = "SELECT has_table_privilege(format('%%I.%%I', %s::text, %s::text), 'UPDATE')"
        if not connection.execute(allowed, [table.schema, table.table]).fetchall()[0][0]:
            raise Terminal(f"{table.schema}.{table.table} holds the id, and metrics.url may not UPDATE it; grant that")
        for name, _ in (column for column in table.columns if column[1] == "json"):
            self._json(connection, table, sql.Identifier(name))
        if plain := [_assignment(name, kind) for name, kind in table.columns if kind != "json"]:
            update = sql.SQL("UPDATE {} SET {} WHERE {}").format(table.name, sql.SQL(", ").join(plain), hits)
            connection.execute(update, {"instead": self._instead})
        return count

    def _json(self, connection: Connection, table: _TextTable, column: sql.Identifier) -> None:
        found = sql.SQL("SELECT tableoid, ctid::text, {c} FROM {t} WHERE {h}").format(
            c=column, t=table.name, h=sql.SQL("{}::text ~ {}").format(column, _PATTERN)
        )
        change = sql.SQL("UPDATE {t} SET {c} = %s WHERE tableoid = %s AND ctid = %s::tid").format(
            t=table.name, c=column
        )
        for oid, at, value in connection.execute(found).fetchall():
            connection.execute(change, [Jsonb(redacted(value, self._identity)), oid, at])


def _tables(connection: Connection) -> Iterator[_TextTable]:
    columns: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for schema, table, name, kind in connection.execute(_COLUMNS, [_SCHEMAS]).fetchall():
        columns.setdefault((schema, table), []).append((name, kind))
    for (schema, table), found in columns.items():
        yield _TextTable(schema, table, tuple(found))


def _hit(name: str, kind: str) -> sql.Composed:
    text = {"texts": "array_to_string({c}, E'\\n') ~ {p}", "json": "{c}::text ~ {p}", "text": "{c} ~ {p}"}[kind]
    return sql.SQL(text).format(c=sql.Identifier(name), p=_PATTERN)


def _assignment(name: str, kind: str) -> sql.Composed:
    text = {
        "text": "{c} = regexp_replace({c}, {p}, %(instead)s, 'g')",
        "texts": "{c} = CASE WHEN {c} IS NOT NULL THEN ARRAY(SELECT regexp_replace(x, {p}, %(instead)s, 'g')"
        " FROM unnest({c}) WITH ORDINALITY AS u (x, n) ORDER BY n) END",
    }[kind]
    return sql.SQL(text).format(c=sql.Identifier(name), p=_PATTERN)

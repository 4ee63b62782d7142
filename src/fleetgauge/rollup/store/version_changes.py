"""What a new version of a definition shows otherwise of days and hours that were final by the version before it.

Written down when the views turn to it: all days, and the hours of the last `HOURS_BACK` that were final, by the
dimensions and measures that both versions have. Older hours and all minutes are many more rows, and whoever wants them
can read both versions' tables while they are kept.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.measures import Column
from fleetgauge.rollup.labels import FORMAT, relabelled_sql
from fleetgauge.rollup.store.restatement_sql import changes, written
from fleetgauge.rollup.store.store_sql import merge
from fleetgauge.rollup.store.tables import column_type, table
from fleetgauge.rollup.store.versions import Version

MOST = 10_000
"""Changed values of a grain that are written one by one; more are added up by window and measure."""
HOURS_BACK = timedelta(days=7)
_ALWAYS = timedelta(days=365_000)
REASON = "new version"

_WINDOW = sql.Identifier("window_start")

_INCOMPARABLE = """
INSERT INTO fleetgauge.restatement (metric, version, level, grain, window_start, measure, before, after, cells, reason,
    run_id)
SELECT %(metric)s, %(version)s, 'day', 'day', coalesce(max(upper(r)), now()), %(what)s, %(before)s, %(after)s, 0,
    %(reason)s, %(run_id)s::bigint
FROM fleetgauge.ledger, unnest(closed) AS r WHERE metric = %(metric)s AND version = %(older)s AND grain = 'day'
HAVING count(*) > 0
"""


def write_version_changes(
    connection: Connection[Any], definition: Definition, older: Version, run_id: int | None = None
) -> int:
    """Inside the transaction that turns the views from `older` to the definition; returns the rows written.

    Where days cannot be compared, since they are of another time zone or the older definition is not known any more,
    one row without cells says so.
    """
    values: dict[str, Any] = {
        "metric": definition.metric,
        "version": definition.version,
        "older": older.version,
        "reason": REASON,
        "run_id": run_id,
    }
    before = older.definition
    if before is None:
        told = {"what": "version", "before": older.version, "after": definition.version}
        return connection.execute(_INCOMPARABLE, values | told).rowcount
    if before.time_zone != definition.time_zone:
        told = {"what": "time_zone", "before": before.time_zone, "after": definition.time_zone}
        return connection.execute(_INCOMPARABLE, values | told).rowcount
    reaches = [("day", _ALWAYS)]
    if all("hour" in {level.name for level in one.levels} for one in (before, definition)):
        reaches.append(("hour", HOURS_BACK))
    return sum(
        connection.execute(compared(before, definition, grain, older.label_format), {**values, "back": back}).rowcount
        for grain, back in reaches
    )


def compared(before: Definition, after: Definition, grain: str, label_format: int = FORMAT) -> sql.Composed:
    """Write what differs of days, or hours, that `before` had closed and `after` has computed; `label_format`: of
    the former.

    Parameters: `metric`, `version`, `older` (versions), `reason`, `run_id`, `back` (interval: how far before the end of
    what `before` had closed).
    """
    old, new = _level(before, grain), _level(after, grain)
    dimensions = [name for name in new.dimensions if name in old.dimensions]
    known = {column.name: column for column in before.columns}
    columns = [column for column in after.columns if _alike(column, known.get(column.name))]
    keys = [_WINDOW, *map(sql.Identifier, dimensions)]
    pairs = [sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(name)) for name in dimensions]
    return sql.SQL(
        "WITH reach AS MATERIALIZED (SELECT max(upper(r)) - %(back)s::interval AS begin FROM fleetgauge.ledger,"
        " unnest(closed) AS r WHERE metric = %(metric)s AND version = %(older)s AND grain = {grain}),"
        " windows AS MATERIALIZED (SELECT d.window_start FROM (SELECT window_start FROM {old}"
        " WHERE window_start >= (SELECT begin FROM reach) UNION SELECT window_start FROM {new}"
        " WHERE window_start >= (SELECT begin FROM reach)) AS d JOIN fleetgauge.ledger AS o"
        " ON o.closed @> d.window_start JOIN fleetgauge.ledger AS n ON n.done @> d.window_start"
        " WHERE o.metric = %(metric)s AND o.version = %(older)s AND o.grain = {grain} AND n.metric = %(metric)s"
        " AND n.version = %(version)s AND n.grain = {grain}"
        " AND d.window_start >= (SELECT min(window_start) FROM {old})),"
        " o AS ({before}), n AS ({after}), changed AS MATERIALIZED (SELECT window_start,"
        " jsonb_build_object({pairs}) AS dimensions, v.* FROM o FULL JOIN n USING ({keys}) CROSS JOIN LATERAL"
        " (VALUES {values}) AS v(_measure, _adds, _differs, _before, _after, _change) WHERE _differs) {written}"
    ).format(
        grain=sql.Literal(grain),
        old=table(before, old),
        new=table(after, new),
        before=_merged(before, old, dimensions, columns, label_format),
        after=_merged(after, new, dimensions, columns, FORMAT),
        pairs=sql.SQL(", ").join(pairs),
        keys=sql.SQL(", ").join(keys),
        values=changes(columns),
        written=written(new, MOST),
    )


def _merged(
    one: Definition, level: Level, dimensions: Sequence[str], columns: Sequence[Column], label_format: int
) -> sql.Composed:
    names = [sql.Identifier(name) for name in dimensions]
    labels = [relabelled_sql(name) if label_format != FORMAT else name for name in names]
    shown: list[sql.Composable] = [
        label if label is name else sql.SQL("{} AS {}").format(label, name)
        for name, label in zip(names, labels, strict=True)
    ]
    merges = [sql.SQL("{} AS {}").format(merge("b", c), sql.Identifier(c.name)) for c in columns]
    query = "SELECT {shown}, {merges} FROM {table} AS b JOIN windows USING (window_start) GROUP BY {keys}"
    return sql.SQL(query).format(
        shown=sql.SQL(", ").join([_WINDOW, *shown]),
        keys=sql.SQL(", ").join([_WINDOW, *names]),
        merges=sql.SQL(", ").join([*merges, sql.SQL("true AS _there")]),
        table=table(one, level),
    )


def _level(one: Definition, grain: str) -> Level:
    return next(level for level in one.levels if level.name == grain)


def _alike(column: Column, other: Column | None) -> bool:
    return (
        other is not None
        and type(column.measure) is type(other.measure)
        and column.beside == other.beside
        and column_type(column) == column_type(other)
    )

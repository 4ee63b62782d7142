"""The statements that write down what changes of closed windows: old rows are kept aside, and compared with new ones.

A temporary table, `replaced`, holds the rows of closed windows that a transaction is about to replace. Parameters:
`begin` and `end` (instants, a span of the level's windows), `closed` (multirange, as text, of the level's grain).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.measures import Additive, Column, Distinct, Percentile, Tally
from fleetgauge.rollup.store.rendered import rendered_once
from fleetgauge.rollup.store.store_sql import comma, merge
from fleetgauge.rollup.store.tables import column_type, keys, table


@dataclass(frozen=True)
class RestatementStatements:
    """Of one definition."""

    definition: Definition

    @rendered_once
    def create_replaced(self) -> sql.Composed:
        """Before rows are kept, for once per connection; rows vanish with each transaction."""
        parts: list[sql.Composable] = [sql.SQL("_level text"), sql.SQL("window_start timestamptz")]
        parts += [sql.SQL('{} text COLLATE "C"').format(sql.Identifier(n)) for n in self.definition.dimensions]
        parts += [sql.SQL("{} {}").format(sql.Identifier(c.name), column_type(c)) for c in self.definition.columns]
        return sql.SQL("CREATE TEMP TABLE IF NOT EXISTS replaced ({}) ON COMMIT DELETE ROWS").format(comma(parts))

    @rendered_once
    def keep(self, level: Level) -> sql.Composed:
        """Rows of the level's closed windows, before they are replaced."""
        names = comma([*keys(level), *(sql.Identifier(c.name) for c in self.definition.columns)])
        return sql.SQL("INSERT INTO replaced (_level, {names}) SELECT {level}, {names} FROM ({rows}) AS a").format(
            names=names, level=sql.Literal(level.name), rows=self._closed(level)
        )

    @rendered_once
    def compare(self, level: Level, most: int) -> sql.Composed:
        """Write what differs between kept and new rows; above `most` values by window and measure alone.

        Parameters besides: `metric`, `version`, `reason`, `run_id`. Rows that appear or vanish have NULLs on the
        other side. Returns (window, dimensions as text, cells) of each row written.
        """
        names = keys(level)
        pairs = [sql.SQL("{}, {}").format(sql.Literal(n), sql.Identifier(n)) for n in level.dimensions]
        key = sql.SQL("USING ({})").format(comma(names))
        return sql.SQL(
            "WITH changed AS MATERIALIZED (SELECT window_start, jsonb_build_object({pairs}) AS dimensions, v.*"
            " FROM (SELECT r.*, true AS _there FROM replaced AS r WHERE _level = {level}) AS o"
            " FULL JOIN (SELECT a.*, true AS _there FROM ({rows}) AS a) AS n {key} CROSS JOIN LATERAL"
            " (VALUES {values}) AS v(_measure, _adds, _differs, _before, _after, _change) WHERE _differs) {written}"
            " RETURNING window_start, dimensions::text, cells"
        ).format(
            pairs=comma(pairs),
            level=sql.Literal(level.name),
            rows=self._closed(level),
            key=key,
            values=changes(self.definition.columns),
            written=written(level, most),
        )

    def values(self, level: Level) -> sql.Composed:
        """Values of the cells of one window as text: (dimensions as JSON, measure, value).

        Parameters: `window` (an instant), `where` (JSON: values of dimensions), `limit`.
        """
        pairs = [sql.SQL("{}, n.{}").format(sql.Literal(n), sql.Identifier(n)) for n in level.dimensions]
        shown = [
            sql.SQL("({}, {})").format(sql.Literal(c.name), _shown(c, sql.Identifier("n", c.name)))
            for c in self.definition.columns
        ]
        return sql.SQL(
            "SELECT d.dimensions, v.* FROM {table} AS n CROSS JOIN LATERAL (VALUES (jsonb_build_object({pairs})))"
            " AS d(dimensions) CROSS JOIN LATERAL (VALUES {shown}) AS v(_measure, _value)"
            " WHERE n.window_start = %(window)s AND d.dimensions @> %(where)s ORDER BY 1, 2 LIMIT %(limit)s"
        ).format(table=table(self.definition, level), pairs=comma(pairs), shown=comma(shown))

    def differences(self) -> sql.Composed:
        """What differs between the hours `hours` (array of instants) and what `staged` holds of them, by hour.

        Of a metric that has no hours: the days.

        Rows of (window, dimensions as JSON, measure, here, in `staged`), the latter two as `compare` shows them.
        """
        level = next(one for one in self.definition.levels if one.name == self.definition.compared)
        names = keys(level)
        pairs = [sql.SQL("{}, {}").format(sql.Literal(n), sql.Identifier(n)) for n in level.dimensions]
        merges = [sql.SQL("{} AS {}").format(merge("b", c), sql.Identifier(c.name)) for c in self.definition.columns]
        return sql.SQL(
            "SELECT window_start, jsonb_build_object({pairs}), _measure, _before, _after"
            " FROM (SELECT a.*, true AS _there FROM {hours} AS a WHERE window_start = ANY (%(hours)s)) AS o"
            " FULL JOIN (SELECT {keys}, {merges}, true AS _there FROM staged AS b"
            " WHERE window_start = ANY (%(hours)s) GROUP BY {keys}) AS n USING ({keys}) CROSS JOIN LATERAL"
            " (VALUES {values}) AS v(_measure, _adds, _differs, _before, _after, _change) WHERE _differs"
            " ORDER BY {keys}, _measure"
        ).format(
            pairs=comma(pairs),
            hours=table(self.definition, level),
            keys=comma(names),
            merges=comma(merges),
            values=changes(self.definition.columns),
        )

    def _closed(self, level: Level) -> sql.Composed:
        """The level's rows of closed windows among those that are replaced."""
        return sql.SQL(
            "SELECT * FROM {} WHERE window_start >= %(begin)s AND window_start < %(end)s"
            " AND window_start <@ %(closed)s::tstzmultirange"
        ).format(table(self.definition, level))


def changes(columns: Sequence[Column]) -> sql.Composed:
    """Of old row `o` and new row `n`: rows of `_change`'s columns, one for each column of measures."""
    return comma([_change(column) for column in columns])


def told(level: Level, most: int | None) -> sql.Composed:
    """`written` as a query of its own, named `told`: (window_start, dimensions as text, cells) of each row written."""
    counted, insert = _counted_and_insert(level, most)
    return sql.SQL("{}, told AS ({} RETURNING window_start, dimensions::text, cells)").format(counted, insert)


def written(level: Level, most: int | None) -> sql.Composed:
    """Write what a query named `changed` holds: window_start, dimensions, and `changes`; above `most` by window and
    measure alone, None: it never holds so many. Parameters: `metric`, `version`, `reason`, `run_id`."""
    return sql.SQL("{} {}").format(*_counted_and_insert(level, most))


def _counted_and_insert(level: Level, most: int | None) -> tuple[sql.Composable, sql.Composable]:
    fixed = comma([sql.SQL("%(metric)s::text, %(version)s::text"), sql.Literal(level.name), sql.Literal(level.grain)])
    reason = sql.SQL("%(reason)s::text, %(run_id)s::bigint")
    insert = sql.SQL(
        "INSERT INTO fleetgauge.restatement (metric, version, level, grain, window_start, dimensions, measure,"
        " before, after, change, cells, reason, run_id)"
        " SELECT {fixed}, window_start, dimensions, _measure, _before, _after, _change, 1, {reason} FROM changed"
    ).format(fixed=fixed, reason=reason)
    if most is None:
        return sql.SQL(""), insert
    together = sql.SQL(
        ", counted WHERE n <= {most} UNION ALL"
        " SELECT {fixed}, window_start, NULL, _measure,"
        " sum(CASE WHEN _adds THEN _before::numeric END)::text,"
        " sum(CASE WHEN _adds THEN _after::numeric END)::text,"
        " sum(_change), count(*), {reason} FROM changed, counted WHERE n > {most} GROUP BY window_start, _measure"
    ).format(fixed=fixed, reason=reason, most=sql.Literal(most))
    return sql.SQL(", counted AS (SELECT count(*) AS n FROM changed)"), insert + together


def _change(column: Column) -> sql.Composed:
    """(measure, whether it adds up, whether it differs, before, after, change) of old row `o` and new row `n`."""
    old, new = sql.Identifier("o", column.name), sql.Identifier("n", column.name)
    adds = isinstance(column.measure, Additive) or (isinstance(column.measure, Tally) and column.beside)
    # A row that is not there is no row of NULLs: its first value, even NULL, is told.
    differs = sql.SQL("({0} IS DISTINCT FROM {1} OR o._there IS DISTINCT FROM n._there)").format(old, new)
    before, after = _shown(column, old), _shown(column, new)
    if isinstance(column.measure, Percentile | Distinct) or (isinstance(column.measure, Tally) and not column.beside):
        after = sql.SQL("{1} || CASE WHEN {0} = {1} THEN ' (of other values)' ELSE '' END").format(before, after)
    change = sql.SQL("coalesce({}, 0)::numeric - coalesce({}, 0)").format(new, old) if adds else sql.SQL("NULL")
    return sql.SQL(
        "({name}, {adds}, {differs}, CASE WHEN {differs} THEN {before} END, CASE WHEN {differs} THEN {after} END,"
        " {change}::numeric)"
    ).format(
        name=sql.Literal(column.name),
        adds=sql.Literal(adds),
        differs=differs,
        before=before,
        after=after,
        change=change,
    )


def _shown(column: Column, value: sql.Identifier) -> sql.Composable:
    """A value as text: of a sketch what is read from it."""
    match column.measure:
        case Percentile():
            part = "'count ' || fleetgauge.sketch_count({0}) || coalesce(', p50 ' || fleetgauge.quantile({0}, 0.5)"
            part += " || ', p95 ' || fleetgauge.quantile({0}, 0.95), '')"
            return sql.SQL(part).format(value)
        case Distinct():
            return sql.SQL("fleetgauge.distinct({})::text").format(value)
        case Tally() if not column.beside:
            part = "'count ' || fleetgauge.tally_count({0}) || coalesce(', p50 ' || fleetgauge.tally_quantile({0}, 0.5)"
            part += " || ', p95 ' || fleetgauge.tally_quantile({0}, 0.95), '')"
            return sql.SQL(part).format(value)
        case _:
            return sql.SQL("{}::text").format(value)

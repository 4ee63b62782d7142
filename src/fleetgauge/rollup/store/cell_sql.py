"""The statement that replaces the touched cells of one level, and writes down what that changes of closed windows.

A cell comes with the end of its window, for a level's rows are read from the level below by it. Old rows are looked up
once, and rows that stay as they are are not written. Parameters: those of `touched`, and where windows of the level are
closed, `closed` (multirange, as text) and those of `restatement_sql.written`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.store.emptied_hours import facts_of
from fleetgauge.rollup.store.rendered import rendered_once
from fleetgauge.rollup.store.restatement_sql import changes, told
from fleetgauge.rollup.store.store_sql import Statements, comma, merge, same
from fleetgauge.rollup.store.tables import column_type, keys
from fleetgauge.rollup.values import Cell
from fleetgauge.rollup.windows import window_end, window_start

# Where a row lies is found once: it cannot move within a statement, under the metric's lock.
_PUT = """
WITH touched AS MATERIALIZED ({touched}), old AS MATERIALIZED (
    SELECT b.ctid AS _at, {rows} FROM touched AS t JOIN {table} AS b ON {same_old}
), new AS MATERIALIZED ({new}), different AS MATERIALIZED (
    SELECT o._at, {names}, {measures} FROM new AS n LEFT JOIN old AS o USING ({names})
    WHERE o._at IS NULL OR {differs}
), put AS (
    UPDATE {table} AS a SET {sets} FROM different AS d WHERE a.ctid = d._at AND {same_put}
), come AS (
    INSERT INTO {table} ({columns}) SELECT window_start, {date}{others} FROM different WHERE _at IS NULL
    ORDER BY {order}
)
"""
_CHANGED = """
, changed AS MATERIALIZED (
    SELECT window_start, jsonb_build_object({pairs}) AS dimensions, v.*
    FROM (SELECT *, true AS _there FROM old) AS o FULL JOIN (SELECT *, true AS _there FROM new) AS n USING ({names})
    CROSS JOIN LATERAL (VALUES {changes}) AS v(_measure, _adds, _differs, _before, _after, _change)
    WHERE _differs AND window_start <@ %(closed)s::tstzmultirange
){told}
SELECT 'told', * FROM told UNION ALL
"""
_COUNTS = """
SELECT 'rows', NULL::timestamptz, NULL::text, count(*) FROM new UNION ALL
SELECT 'vanished', NULL, NULL, count(*) FROM old WHERE ({names}) NOT IN (SELECT {names} FROM new)
"""

_LOSING = """
UNION ALL SELECT 'losing', w, NULL, 0 FROM (
    SELECT DISTINCT {hour} AS w FROM (
        SELECT {names}, -{facts} AS _n FROM old UNION ALL SELECT {names}, {facts} FROM new
    ) AS weighed GROUP BY {weighed_by} HAVING sum(_n) < 0
) AS hours WHERE w <@ %(final)s::tstzmultirange
"""


@dataclass(frozen=True)
class CellStatements:
    """Of one definition."""

    definition: Definition

    @rendered_once
    def replace(self, level: Level, most: int, *, closed: bool, weighing: bool = False) -> sql.Composed:
        """Make the level's touched cells anew; `closed`: some of its windows are, and what differs in them is told.

        Returns rows of what, window, text, count: 'told' is what `RestatementStatements.compare` returns; 'rows' how
        many cells have one now; 'vanished' how many have none any more, which are still there for `clear` to take away;
        if `weighing`, 'losing' the hours among those that are `final` (multirange, as text) that lose facts.
        """
        names, measures = keys(level), [sql.Identifier(c.name) for c in self.definition.columns]
        text = "".join([_PUT, _CHANGED if closed else "", _COUNTS, _LOSING if weighing else ""])
        hour = sql.SQL("fleetgauge.window_start(window_start, {}, {})").format(
            sql.Literal(self.definition.compared), sql.Literal(self.definition.time_zone)
        )
        return sql.SQL(text).format(
            names=comma(names),
            rows=comma([sql.SQL("b.{}").format(n) for n in [*names, *measures]]),
            table=self._store.table(level),
            same_old=same("b", "t", names),
            touched=_touched(level),
            new=self._new(level),
            differs=sql.SQL("({}) IS DISTINCT FROM ({})").format(
                comma([sql.SQL("o.{}").format(n) for n in measures]),
                comma([sql.SQL("n.{}").format(n) for n in measures]),
            ),
            measures=comma([sql.SQL("n.{}").format(n) for n in measures]),
            sets=comma([sql.SQL("{0} = d.{0}").format(n) for n in measures]),
            same_put=same("a", "d", names),
            columns=comma(self._store.columns(level)),
            date=self._store.date(level, names[0]),
            others=comma([*names[1:], *measures]),
            order=self._store.order(names[0], level),
            pairs=comma([sql.SQL("{}, {}").format(sql.Literal(n), sql.Identifier(n)) for n in level.dimensions]),
            changes=changes(self.definition.columns),
            told=told(level, most),
            hour=hour,
            facts=facts_of(self.definition),
            weighed_by=hour if self.definition.key is not None else comma(names),
        )

    @rendered_once
    def clear(self, level: Level) -> sql.Composed:
        """Take away the touched cells of a level that have no rows below."""
        names = keys(level)
        return sql.SQL(
            "WITH touched AS MATERIALIZED ({touched}) DELETE FROM {table} AS a USING touched AS t WHERE {same}"
            " AND NOT EXISTS (SELECT FROM ({new}) AS n WHERE {there})"
        ).format(
            table=self._store.table(level),
            touched=_touched(level),
            same=same("a", "t", names),
            new=self._new(level),
            there=same("n", "a", names),
        )

    def _new(self, level: Level) -> sql.Composed:
        """The level's cells as they are to be: from `staged`, or merged from the level below."""
        names = keys(level)
        if level.below is None:
            cast = [
                sql.SQL("{0}::{1} AS {0}").format(sql.Identifier(c.name), column_type(c))
                for c in self.definition.columns
            ]
            return sql.SQL("SELECT {} FROM staged").format(comma([*names, *cast]))
        merges = [sql.SQL("{} AS {}").format(merge("b", c), sql.Identifier(c.name)) for c in self.definition.columns]
        return sql.SQL(
            "SELECT {keys}, {measures} FROM touched AS t CROSS JOIN LATERAL (SELECT {merges}, count(*) AS _rows"
            " FROM {lower} AS b WHERE b.window_start >= t.window_start AND b.window_start < t._window_end{same}) AS m"
            " WHERE m._rows > 0"
        ).format(
            keys=comma([sql.SQL("t.{}").format(n) for n in names]),
            measures=comma([sql.SQL("m.{}").format(sql.Identifier(c.name)) for c in self.definition.columns]),
            merges=comma(merges),
            lower=self._store.table(self._store.below(level)),
            same=sql.SQL("").join(sql.SQL(" AND b.{0} = t.{0}").format(n) for n in names[1:]),
        )

    @property
    def _store(self) -> Statements:
        return Statements(self.definition)


def _touched(level: Level) -> sql.Composed:
    arrays = ["%(starts)s::timestamptz[]", "%(ends)s::timestamptz[]"]
    arrays += [f"%(values_{n})s::text[]" for n in range(len(level.dimensions))]
    start, *dimensions = keys(level)
    return sql.SQL("SELECT * FROM unnest({}) AS t({})").format(
        comma([sql.SQL(one) for one in arrays]), comma([start, sql.Identifier("_window_end"), *dimensions])
    )


def touched(definition: Definition, level: Level, cells: Sequence[Cell]) -> dict[str, list[Any]]:
    """Parameters of the level's statements: its cells that hold these minute cells, each once."""
    zone = definition.time_zone
    at = [n for n, name in enumerate(definition.dimensions) if name in level.dimensions]
    starts = {window: window_start(window, level.grain, zone) for window, _ in cells}
    ends = {start: window_end(start, level.grain, zone) for start in starts.values()}
    found = dict.fromkeys((starts[window], *(values[n] for n in at)) for window, values in cells)
    columns = [list(column) for column in zip(*found, strict=True)]
    return {"starts": columns[0], "ends": [ends[start] for start in columns[0]]} | {
        f"values_{n}": column for n, column in enumerate(columns[1:])
    }

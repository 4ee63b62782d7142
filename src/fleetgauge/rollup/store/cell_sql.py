"""The statement that replaces the touched cells of one level, and writes down what that changes of closed windows.

A cell comes with the end of its window, for a level's rows are read from the level below by it. Old rows are looked up
once, and rows that stay as they are are not written. Parameters: those of `touched`, and where windows of the level are
closed, `closed` (multirange, as text) and those of `restatement_sql.written`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetgauge.postgres import array_text, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.store.emptied_hours import facts_of
from fleetgauge.rollup.store.rendered import rendered_once
from fleetgauge.rollup.store.restatement_sql import changes, told
from fleetgauge.rollup.store.store_sql import Statements, comma, merge, same
from fleetgauge.rollup.store.tables import column_type, keys
from fleetgauge.rollup.values import Cell
from fleetgauge.rollup.windows import window_end, window_start

# Where a row lies is found once: it cannot move within a statement, under the metric's lock. Old and new rows are
# joined once too, and all that follows reads what differs.
_PUT = """
WITH touched AS MATERIALIZED ({touched}), old AS MATERIALIZED (
    SELECT b.ctid AS _at, {rows} FROM touched AS t JOIN {table} AS b ON {same_old}
), new AS MATERIALIZED ({new}), different AS MATERIALIZED (
    SELECT {names}, n._there, {measures}, o._at, {olds}
    FROM old AS o FULL JOIN (SELECT *, true AS _there FROM new) AS n USING ({names})
    WHERE o._at IS NULL OR n._there IS NULL OR {differs}
), put AS (
    UPDATE {table} AS a SET {sets} FROM different AS d WHERE a.ctid = d._at AND d._there AND {same_put}
), come AS (
    INSERT INTO {table} ({columns}) SELECT window_start, {date}{others} FROM different WHERE _at IS NULL
    ORDER BY {order}
)
"""
_CHANGED = """
, changed AS MATERIALIZED (
    SELECT window_start, jsonb_build_object({pairs}) AS dimensions, v.*
    FROM different AS n
    CROSS JOIN LATERAL (SELECT CASE WHEN n._at IS NOT NULL THEN true END AS _there, {before}) AS o
    CROSS JOIN LATERAL (VALUES {changes}) AS v(_measure, _adds, _differs, _before, _after, _change)
    WHERE _differs AND window_start <@ %(closed)s::tstzmultirange
){told}
SELECT 'told', * FROM told UNION ALL
"""
_COUNTS = """
SELECT 'rows', NULL::timestamptz, NULL::text, count(*) FROM new UNION ALL
SELECT 'vanished', NULL, NULL, count(*) FROM different WHERE _there IS NULL
"""

_LOSING = """
UNION ALL SELECT 'losing', w, NULL, 0 FROM (
    SELECT DISTINCT {losing} AS w FROM (
        SELECT {names}, -{facts} AS _n FROM (SELECT {names}, {before} FROM different AS n WHERE _at IS NOT NULL) AS o
        UNION ALL SELECT {names}, {facts} FROM different WHERE _there
    ) AS weighed GROUP BY {weighed_by} HAVING sum(_n) < 0
) AS lost WHERE w <@ %(final)s::tstzmultirange
"""


@dataclass(frozen=True)
class CellStatements:
    """Of one definition."""

    definition: Definition

    @rendered_once
    def replace(self, level: Level, most: int | None, *, closed: bool, weighing: bool = False) -> sql.Composed:
        """Make the level's touched cells anew; `closed`: some of its windows are, and what differs in them is told.

        `most`: see `restatement_sql.written`.

        Returns rows of what, window, text, count: 'told' is what `RestatementStatements.compare` returns; 'rows' how
        many cells have one now; 'vanished' how many have none any more, which are still there for `clear` to take away;
        if `weighing`, 'losing' the windows that lose facts and lie in those hours that are `final` (multirange, as
        text): of rows that may move the hours, else those of the level.
        """
        names, measures = keys(level), [sql.Identifier(c.name) for c in self.definition.columns]
        olds = [sql.Identifier(f"_old_{n}") for n in range(len(measures))]
        text = "".join([_PUT, _CHANGED if closed else "", _COUNTS, _LOSING if weighing else ""])
        # A balance of its own for each cell that cannot lose rows to another: then its window says which hour it is.
        losing: sql.Composable = names[0]
        if self.definition.key is not None:
            losing = sql.SQL("fleetgauge.window_start(window_start, {}, {})").format(
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
            olds=comma([sql.SQL("o.{} AS {}").format(n, old) for n, old in zip(measures, olds, strict=True)]),
            before=comma([sql.SQL("n.{} AS {}").format(old, n) for n, old in zip(measures, olds, strict=True)]),
            sets=comma([sql.SQL("{0} = d.{0}").format(n) for n in measures]),
            same_put=same("a", "d", names),
            columns=comma(self._store.columns(level)),
            date=self._store.date(level, names[0]),
            others=comma([*names[1:], *measures]),
            order=self._store.order(names[0], level),
            pairs=comma([sql.SQL("{}, {}").format(sql.Literal(n), sql.Identifier(n)) for n in level.dimensions]),
            changes=changes(self.definition.columns),
            told=told(level, most),
            losing=losing,
            facts=facts_of(self.definition),
            weighed_by=losing if self.definition.key is not None else comma(names),
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
    names = [start, sql.Identifier("_window_end")]
    return sql.SQL("SELECT {} FROM unnest({}) AS t({})").format(
        comma([*names, *(sql.SQL('{0} COLLATE "C" AS {0}').format(n) for n in dimensions)]),
        comma([sql.SQL(one) for one in arrays]),
        comma([*names, *dimensions]),
    )


def touched(definition: Definition, level: Level, cells: Sequence[Cell]) -> tuple[int, dict[str, str]]:
    """The level's cells that hold these minute cells, each once: how many, and as parameters of its statements."""
    zone = definition.time_zone
    at = [n for n, name in enumerate(definition.dimensions) if name in level.dimensions]
    starts = {window: window_start(window, level.grain, zone) for window, _ in cells}
    ends = {start: window_end(start, level.grain, zone) for start in starts.values()}
    found = dict.fromkeys((starts[window], *(values[n] for n in at)) for window, values in cells)
    columns = list(zip(*found, strict=True))
    arrays = {"starts": columns[0], "ends": [ends[start] for start in columns[0]]} | {
        f"values_{n}": column for n, column in enumerate(columns[1:])
    }
    return len(found), {name: array_text(values) for name, values in arrays.items()}

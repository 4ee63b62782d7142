"""The statements that replace rows of one metric's tables, written out once per definition.

Three temporary tables carry a transaction's work: `staged` has new minute rows, `touched` the cells to replace (with
the end of their window, for the grain above reads its rows from the grain below by it), `withheld` the cells that keep
their old rows since the new ones broke a check.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain, Level
from fleetgauge.rollup.definitions.measures import (
    Column,
    Count,
    Distinct,
    Duration,
    Extreme,
    Last,
    Percentile,
    Sum,
    Tally,
)
from fleetgauge.rollup.labels import OTHER
from fleetgauge.rollup.store.tables import column_type, keys, table

STAGED = sql.Identifier("staged")


@dataclass(frozen=True)
class Statements:
    """SQL of one definition's writing side. Parameters: `begin` and `end` (instants)."""

    definition: Definition

    def create_temporary(self) -> list[sql.Composed]:
        """Once per connection; rows vanish with each transaction."""
        dimensions = [sql.SQL('{} text COLLATE "C"').format(sql.Identifier(n)) for n in self.definition.dimensions]
        measures = [sql.SQL("{} {}").format(sql.Identifier(c.name), _staged_type(c)) for c in self.definition.columns]
        start = sql.SQL("window_start timestamptz")
        return [
            sql.SQL("CREATE TEMP TABLE staged ({}) ON COMMIT DELETE ROWS").format(
                _comma([start, *dimensions, *measures])
            ),
            sql.SQL("CREATE TEMP TABLE touched (_level text, {}) ON COMMIT DELETE ROWS").format(
                _comma([start, sql.SQL("_window_end timestamptz"), *dimensions])
            ),
            sql.SQL("CREATE TEMP TABLE withheld ({}) ON COMMIT DELETE ROWS").format(_comma([start, *dimensions])),
        ]

    def copy_staged(self) -> sql.Composed:
        """COPY of source rows."""
        return sql.SQL("COPY staged ({}) FROM STDIN").format(_comma([*self._keys, *self._measures]))

    def copy_touched(self) -> sql.Composed:
        """COPY of minute cells."""
        return sql.SQL("COPY touched (_level, _window_end, {}) FROM STDIN").format(_comma(self._keys))

    def broken(self, fail: bool) -> sql.Composed | None:
        """Cells of `staged` that break a check, with one check that each breaks; None if there are no checks."""
        checks = self.definition.blocking if fail else self.definition.checks.warn
        if not checks:
            return None
        cases = sql.SQL(" ").join(sql.SQL("WHEN {} THEN {}").format(c.violated(), sql.Literal(c.text)) for c in checks)
        return sql.SQL(
            "SELECT min(_reason), {keys} FROM (SELECT {keys}, CASE {cases} END AS _reason FROM staged) AS judged"
            " WHERE _reason IS NOT NULL GROUP BY {keys} ORDER BY {keys}"
        ).format(keys=_comma(self._keys), cases=cases)

    def copy_withheld(self) -> sql.Composed:
        """COPY of cells, of any one grain, whose new rows are not written."""
        return sql.SQL("COPY withheld ({}) FROM STDIN").format(_comma(self._keys))

    def withhold_staged(self, grain: Grain) -> sql.Composed:
        """Take out of `staged` what belongs to a cell of `withheld`, whose windows are of `grain`."""
        start = sql.SQL("fleetgauge.window_start(s.window_start, {}, {})").format(
            sql.Literal(grain), sql.Literal(self.definition.time_zone)
        )
        return sql.SQL("DELETE FROM staged AS s USING withheld AS h WHERE h.window_start = {}{}").format(
            start, sql.SQL("").join(sql.SQL(" AND h.{0} = s.{0}").format(n) for n in self._keys[1:])
        )

    def withhold_touched(self) -> sql.Composed:
        """Take the cells of `withheld` out of `touched`, so that they keep their rows."""
        return sql.SQL("DELETE FROM touched AS t USING withheld AS h WHERE {}").format(self._same("t", "h", self._keys))

    def fill(self, merged: bool) -> sql.Composed:
        """`staged` into the minute table; `merged` when several staged rows fell together in `(other)`."""
        if not merged:
            columns = _comma([*self._keys, *self._measures])
            return sql.SQL("INSERT INTO {t} ({c}) SELECT {c} FROM staged ORDER BY {order}").format(
                t=self.table(self._minute), c=columns, order=self._order(sql.Identifier("window_start"), self._minute)
            )
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM staged AS b GROUP BY {}").format(
            self.table(self._minute),
            _comma([*self._keys, *self._measures]),
            _comma([*self._of("b"), *self._merges("b")]),
            _comma(self._of("b")),
        )

    def clear_cells(self, level: Level) -> sql.Composed:
        """Rows of the touched cells of a level."""
        return sql.SQL("DELETE FROM {} AS a USING touched AS t WHERE t._level = {} AND {}").format(
            self.table(level), sql.Literal(level.name), self._same("a", "t", keys(level))
        )

    def roll_up(self, level: Level) -> sql.Composed:
        """The cells of `level` above the touched cells of the level below, added to `touched`."""
        zone, grain = sql.Literal(self.definition.time_zone), sql.Literal(level.grain)
        dims = self._dims(level)
        return sql.SQL(
            "INSERT INTO touched (_level, window_start, _window_end{dims})"
            " SELECT {name}, _s, fleetgauge.window_end(_s, {grain}, {zone}){dims}"
            " FROM (SELECT DISTINCT fleetgauge.window_start(window_start, {grain}, {zone}) AS _s{dims}"
            " FROM touched WHERE _level = {below}) AS above"
        ).format(name=sql.Literal(level.name), grain=grain, zone=zone, dims=dims, below=sql.Literal(level.below))

    def merge_cells(self, level: Level) -> sql.Composed:
        """The touched cells of `level`, made anew from the level below."""
        names = keys(level)[1:]
        return sql.SQL(
            "INSERT INTO {upper} ({columns}) SELECT t.window_start, {day}{key} {measures} FROM touched AS t"
            " CROSS JOIN LATERAL (SELECT {merges}, count(*) AS _rows FROM {lower} AS b"
            " WHERE b.window_start >= t.window_start AND b.window_start < t._window_end{same}) AS m"
            " WHERE t._level = {level} AND m._rows > 0"
        ).format(
            upper=self.table(level),
            columns=_comma(self._columns(level)),
            day=self._date(level, sql.SQL("t.window_start")),
            key=sql.SQL("").join(sql.SQL("t.{}, ").format(n) for n in names),
            measures=_comma([sql.SQL("m.{}").format(n) for n in self._measures]),
            merges=_comma(self._merges("b", named=True)),
            lower=self.table(self._below(level)),
            same=sql.SQL("").join(sql.SQL(" AND b.{0} = t.{0}").format(n) for n in names),
            level=sql.Literal(level.name),
        )

    def clear_span(self, level: Level, *, withholding: bool = False) -> sql.Composed:
        """Rows of `level` in [begin, end); `withholding` all but the cells of `withheld`, which are of its grain."""
        kept: sql.Composable = sql.SQL("")
        if withholding:
            kept = sql.SQL(" AND NOT EXISTS (SELECT FROM withheld AS h WHERE {})").format(
                self._same("a", "h", keys(level))
            )
        return sql.SQL("DELETE FROM {} AS a WHERE a.window_start >= %(begin)s AND a.window_start < %(end)s{}").format(
            self.table(level), kept
        )

    def merge_span(self, level: Level, below: sql.Identifier) -> sql.Composed:
        """All of `level` in [begin, end), boundaries of its grain, made anew from a finer level's table."""
        names = keys(level)[1:]
        return sql.SQL(
            "INSERT INTO {upper} ({columns}) SELECT w._above, {day}{key} {merges} FROM {below} AS b JOIN ("
            "SELECT window_start, fleetgauge.window_start(window_start, {grain}, {zone}) AS _above"
            " FROM (SELECT DISTINCT window_start FROM {below} WHERE {span}) AS d OFFSET 0) AS w USING (window_start)"
            " WHERE b.window_start >= %(begin)s AND b.window_start < %(end)s GROUP BY w._above {group} ORDER BY {order}"
        ).format(
            upper=self.table(level),
            columns=_comma(self._columns(level)),
            day=self._date(level, sql.SQL("w._above")),
            key=sql.SQL("").join(sql.SQL("b.{}, ").format(n) for n in names),
            merges=_comma(self._merges("b")),
            below=below,
            order=self._order(sql.SQL("w._above"), level),
            grain=sql.Literal(level.grain),
            zone=sql.Literal(self.definition.time_zone),
            span=sql.SQL("window_start >= %(begin)s AND window_start < %(end)s"),
            group=sql.SQL("").join(sql.SQL(", b.{}").format(n) for n in names),
        )

    @property
    def _minute(self) -> Level:
        return self.definition.levels[0]

    @property
    def _keys(self) -> list[sql.Identifier]:
        return keys(self._minute)

    @property
    def _measures(self) -> list[sql.Identifier]:
        return [sql.Identifier(c.name) for c in self.definition.columns]

    def _below(self, level: Level) -> Level:
        return next(one for one in self.definition.levels if one.name == level.below)

    def beside_other(self, level: Level) -> sql.Composed:
        """Window and dimensions of all rows of those of the `windows` that have a row of `(other)`."""
        start, *dimensions = keys(level)
        return sql.SQL(
            "SELECT {columns} FROM {table} WHERE window_start IN (SELECT window_start FROM {table}"
            " WHERE window_start = ANY(%(windows)s::timestamptz[]) AND {other} = ANY(ARRAY[{dimensions}]::text[]))"
        ).format(
            columns=sql.SQL(", ").join([start, *dimensions]),
            table=self.table(level),
            other=sql.Literal(OTHER),
            dimensions=sql.SQL(", ").join(dimensions),
        )

    def table(self, level: Level) -> sql.Identifier:
        """The qualified table of a level."""
        return table(self.definition, level)

    def _columns(self, level: Level) -> list[sql.Identifier]:
        date = [sql.Identifier("date")] if level.grain == "day" else []
        start, *dimensions = keys(level)
        return [start, *date, *dimensions, *self._measures]

    def _date(self, level: Level, instant: sql.Composable) -> sql.Composable:
        if level.grain != "day":
            return sql.SQL("")
        return sql.SQL("({} AT TIME ZONE {})::date, ").format(instant, sql.Literal(self.definition.time_zone))

    def _order(self, window: sql.Composable, level: Level) -> sql.Composable:
        """Rows of one cell and one window of the grain above lie together, for they are merged together."""
        above = sql.SQL("date_trunc({}, {}, {})").format(
            sql.Literal({"minute": "hour", "hour": "day", "day": "month"}[level.grain]),
            window,
            sql.Literal(self.definition.time_zone),
        )
        return _comma([above, *keys(level)[1:], window])

    def _dims(self, level: Level) -> sql.Composable:
        return sql.SQL("").join(sql.SQL(", {}").format(n) for n in keys(level)[1:])

    def _of(self, alias: str) -> list[sql.Composable]:
        return [sql.SQL("{}.{}").format(sql.Identifier(alias), n) for n in self._keys]

    def _same(self, one: str, other: str, names: list[sql.Identifier]) -> sql.Composable:
        return sql.SQL(" AND ").join(
            sql.SQL("{}.{} = {}.{}").format(sql.Identifier(one), n, sql.Identifier(other), n) for n in names
        )

    def _merges(self, alias: str, *, named: bool = False) -> list[sql.Composable]:
        found: list[sql.Composable] = []
        for column in self.definition.columns:
            merged = merge(alias, column)
            found.append(sql.SQL("{} AS {}").format(merged, sql.Identifier(column.name)) if named else merged)
        return found


def _staged_type(column: Column) -> sql.SQL:
    """A sum of whole numbers has no end until it is checked."""
    whole = isinstance(column.measure, Sum) and column.measure.type == "integer"
    return sql.SQL("numeric") if whole else column_type(column)


def merge(alias: str, column: Column) -> sql.Composable:
    """The aggregate by which rows of this column become one."""
    name = sql.Identifier(alias, column.name)
    match column.measure:
        case Count():
            return sql.SQL("sum({})::bigint").format(name)
        case Tally() if column.beside:
            return sql.SQL("sum({})::bigint").format(name)
        case Tally():
            return sql.SQL("fleetgauge.tally_merge({})").format(name)
        case Sum() | Duration():
            return sql.SQL("sum({})::{}").format(name, column_type(column))
        case Extreme(agg=aggregate):
            return sql.SQL("{}({})").format(sql.SQL(aggregate), name)
        case Percentile():
            return sql.SQL("fleetgauge.sketch_merge({})").format(name)
        case Distinct():
            return sql.SQL("fleetgauge.distinct_merge({})").format(name)
        case Last() if column.beside:
            return sql.SQL("max({})").format(name)
        case Last():
            at = sql.Identifier(alias, f"{column.name}_at")
            return sql.SQL("(array_agg({0} ORDER BY {1} DESC, {0} DESC) FILTER (WHERE {1} IS NOT NULL))[1]").format(
                name, at
            )


def _comma(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)

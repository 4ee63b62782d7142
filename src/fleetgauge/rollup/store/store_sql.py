"""The statements that replace rows of one metric's tables, written out once per definition.

Temporary tables carry a transaction's work, and are made when they are first needed: `staged` has new minute rows,
`withheld` the cells that keep their old rows since the new ones broke a check. Touched cells: `cell_sql`.
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
from fleetgauge.rollup.store.rendered import rendered_once
from fleetgauge.rollup.store.tables import column_type, keys, table

STAGED = sql.Identifier("staged")


@dataclass(frozen=True)
class Statements:
    """SQL of one definition's writing side. Parameters: `begin` and `end` (instants)."""

    definition: Definition

    @rendered_once
    def create_staged(self) -> sql.Composed:
        """Before it is filled, for once per connection; rows vanish with each transaction."""
        measures = [sql.SQL("{} {}").format(sql.Identifier(c.name), _staged_type(c)) for c in self.definition.columns]
        return _temporary("staged", [*self._typed_keys, *measures])

    def create_withheld(self) -> sql.Composed:
        """The same of `withheld`."""
        return _temporary("withheld", self._typed_keys)

    @rendered_once
    def copy_staged(self) -> sql.Composed:
        """COPY of source rows."""
        return sql.SQL("COPY staged ({}) FROM STDIN").format(comma([*self._keys, *self._measures]))

    def broken(self, fail: bool) -> sql.Composed | None:
        """Cells of `staged` that break a check, with one check that each breaks; None if there are no checks."""
        checks = self.definition.blocking if fail else self.definition.checks.warn
        if not checks:
            return None
        cases = sql.SQL(" ").join(sql.SQL("WHEN {} THEN {}").format(c.violated(), sql.Literal(c.text)) for c in checks)
        return sql.SQL(
            "SELECT min(_reason), {keys} FROM (SELECT {keys}, CASE {cases} END AS _reason FROM staged) AS judged"
            " WHERE _reason IS NOT NULL GROUP BY {keys} ORDER BY {keys}"
        ).format(keys=comma(self._keys), cases=cases)

    def copy_withheld(self) -> sql.Composed:
        """COPY of cells, of any one grain, whose new rows are not written."""
        return sql.SQL("COPY withheld ({}) FROM STDIN").format(comma(self._keys))

    def withhold_staged(self, grain: Grain) -> sql.Composed:
        """Take out of `staged` what belongs to a cell of `withheld`, whose windows are of `grain`."""
        start = sql.SQL("fleetgauge.window_start(s.window_start, {}, {})").format(
            sql.Literal(grain), sql.Literal(self.definition.time_zone)
        )
        return sql.SQL("DELETE FROM staged AS s USING withheld AS h WHERE h.window_start = {}{}").format(
            start, sql.SQL("").join(sql.SQL(" AND h.{0} = s.{0}").format(n) for n in self._keys[1:])
        )

    @rendered_once
    def fill(self, merged: bool) -> sql.Composed:
        """`staged` into the minute table; `merged` when several staged rows fell together in `(other)`."""
        if not merged:
            columns = comma([*self._keys, *self._measures])
            return sql.SQL("INSERT INTO {t} ({c}) SELECT {c} FROM staged ORDER BY {order}").format(
                t=self.table(self._minute), c=columns, order=self.order(sql.Identifier("window_start"), self._minute)
            )
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM staged AS b GROUP BY {}").format(
            self.table(self._minute),
            comma([*self._keys, *self._measures]),
            comma([*self._of("b"), *self._merges("b")]),
            comma(self._of("b")),
        )

    @rendered_once
    def clear_span(self, level: Level, *, withholding: bool = False) -> sql.Composed:
        """Rows of `level` in [begin, end); `withholding` all but the cells of `withheld`, which are of its grain."""
        kept: sql.Composable = sql.SQL("")
        if withholding:
            kept = sql.SQL(" AND NOT EXISTS (SELECT FROM withheld AS h WHERE {})").format(same("a", "h", keys(level)))
        return sql.SQL("DELETE FROM {} AS a WHERE a.window_start >= %(begin)s AND a.window_start < %(end)s{}").format(
            self.table(level), kept
        )

    @rendered_once
    def merge_span(self, level: Level, below: Level | None) -> sql.Composed:
        """All of `level` in [begin, end), boundaries of its grain, made anew from a finer level, or from `staged`."""
        names = keys(level)[1:]
        return sql.SQL(
            "INSERT INTO {upper} ({columns}) SELECT w._above, {day}{key} {merges} FROM {below} AS b JOIN ("
            "SELECT window_start, fleetgauge.window_start(window_start, {grain}, {zone}) AS _above"
            " FROM (SELECT DISTINCT window_start FROM {below} WHERE {span}) AS d OFFSET 0) AS w USING (window_start)"
            " WHERE b.window_start >= %(begin)s AND b.window_start < %(end)s GROUP BY w._above {group} ORDER BY {order}"
        ).format(
            upper=self.table(level),
            columns=comma(self.columns(level)),
            day=self.date(level, sql.SQL("w._above")),
            key=sql.SQL("").join(sql.SQL("b.{}, ").format(n) for n in names),
            merges=comma(self._merges("b")),
            below=STAGED if below is None else self.table(below),
            order=self.order(sql.SQL("w._above"), level),
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
    def _typed_keys(self) -> list[sql.Composable]:
        dimensions = [sql.SQL('{} text COLLATE "C"').format(sql.Identifier(n)) for n in self.definition.dimensions]
        return [sql.SQL("window_start timestamptz"), *dimensions]

    @property
    def _measures(self) -> list[sql.Identifier]:
        return [sql.Identifier(c.name) for c in self.definition.columns]

    def below(self, level: Level) -> Level:
        """The level that this one is merged from."""
        return next(one for one in self.definition.levels if one.name == level.below)

    @rendered_once
    def with_other(self, level: Level) -> sql.Composed:
        """Those of the `windows` that have a row of `(other)`."""
        return sql.SQL(
            "SELECT DISTINCT window_start FROM {} WHERE window_start = ANY(%(windows)s::timestamptz[])"
            " AND {} = ANY(ARRAY[{}]::text[])"
        ).format(self.table(level), sql.Literal(OTHER), comma(keys(level)[1:]))

    @rendered_once
    def cells_of(self, level: Level) -> sql.Composed:
        """Window and dimensions of all rows of the `windows`."""
        return sql.SQL("SELECT {} FROM {} WHERE window_start = ANY(%(windows)s::timestamptz[])").format(
            comma(keys(level)), self.table(level)
        )

    def table(self, level: Level) -> sql.Identifier:
        """The qualified table of a level."""
        return table(self.definition, level)

    def columns(self, level: Level) -> list[sql.Identifier]:
        """All of the level's table, in its order."""
        date = [sql.Identifier("date")] if level.grain == "day" else []
        start, *dimensions = keys(level)
        return [start, *date, *dimensions, *self._measures]

    def date(self, level: Level, instant: sql.Composable) -> sql.Composable:
        """The local date of a day, with a comma behind it; nothing of other grains."""
        if level.grain != "day":
            return sql.SQL("")
        return sql.SQL("({} AT TIME ZONE {})::date, ").format(instant, sql.Literal(self.definition.time_zone))

    def order(self, window: sql.Composable, level: Level) -> sql.Composable:
        """In which order rows are written: those of one cell and one window of the grain above lie
        together, for they are merged together."""
        above = sql.SQL("date_trunc({}, {}, {})").format(
            sql.Literal({"minute": "hour", "hour": "day", "day": "month"}[level.grain]),
            window,
            sql.Literal(self.definition.time_zone),
        )
        return comma([above, *keys(level)[1:], window])

    def _of(self, alias: str) -> list[sql.Composable]:
        return [sql.SQL("{}.{}").format(sql.Identifier(alias), n) for n in self._keys]

    def _merges(self, alias: str) -> list[sql.Composable]:
        return [merge(alias, column) for column in self.definition.columns]


def _temporary(name: str, columns: Sequence[sql.Composable]) -> sql.Composed:
    text = "CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS"
    return sql.SQL(text).format(sql.Identifier(name), comma(columns))


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


def same(one: str, other: str, names: Sequence[sql.Identifier]) -> sql.Composed:
    """That two rows, by their aliases, have the same values in these columns."""
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} = {}.{}").format(sql.Identifier(one), n, sql.Identifier(other), n) for n in names
    )


def comma(parts: Sequence[sql.Composable]) -> sql.Composed:
    """A list, as SQL writes it."""
    return sql.SQL(", ").join(parts)

"""The statements that replace rows of one metric's tables, written out once per definition.

Two temporary tables carry a step's work: `staged` has new minute rows, `touched` the cells to replace (with the end of
their window, for the grain above reads its rows from the grain below by it).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from fleetgauge.rollup.definition import Count, Definition, Extreme, Grain, Percentile, StoredMeasure, Sum
from fleetgauge.rollup.tables import column_type, keys, table

BELOW: dict[Grain, Grain] = {"hour": "minute", "day": "hour"}


@dataclass(frozen=True)
class Statements:
    """SQL of one definition's writing side. Parameters: `begin`, `end` (instants), `windows` (array of instants)."""

    definition: Definition

    def create_temporary(self) -> list[sql.Composed]:
        """Once per connection; rows vanish with each transaction."""
        dimensions = [sql.SQL('{} text COLLATE "C"').format(sql.Identifier(n)) for n in self.definition.dimensions]
        measures = [
            sql.SQL("{} {}").format(sql.Identifier(n), column_type(m)) for n, m in self.definition.stored.items()
        ]
        start = sql.SQL("window_start timestamptz")
        return [
            sql.SQL("CREATE TEMP TABLE staged ({}) ON COMMIT DELETE ROWS").format(
                _comma([start, *dimensions, *measures])
            ),
            sql.SQL("CREATE TEMP TABLE touched (grain text, {}) ON COMMIT DELETE ROWS").format(
                _comma([start, sql.SQL("window_end timestamptz"), *dimensions])
            ),
        ]

    def copy_staged(self) -> sql.Composed:
        """COPY of source rows."""
        return sql.SQL("COPY staged ({}) FROM STDIN").format(_comma([*self._keys, *self._measures]))

    def copy_touched(self) -> sql.Composed:
        """COPY of minute cells."""
        return sql.SQL("COPY touched (grain, window_end, {}) FROM STDIN").format(_comma(self._keys))

    def broken(self, fail: bool) -> sql.Composed | None:
        """Windows of `staged` that break a check, with one check that each breaks; None if there are no checks."""
        checks = self.definition.checks.fail if fail else self.definition.checks.warn
        if not checks:
            return None
        cases = sql.SQL(" ").join(sql.SQL("WHEN {} THEN {}").format(c.violated(), sql.Literal(c.text)) for c in checks)
        return sql.SQL(
            "SELECT window_start, min(reason) FROM (SELECT window_start, CASE {} END AS reason FROM staged) AS judged"
            " WHERE reason IS NOT NULL GROUP BY window_start ORDER BY window_start"
        ).format(cases)

    def fill(self, merged: bool) -> sql.Composed:
        """`staged` into the minute table; `merged` when several staged rows fell together in `other`."""
        if not merged:
            columns = _comma([*self._keys, *self._measures])
            return sql.SQL("INSERT INTO {t} ({c}) SELECT {c} FROM staged").format(t=self._table("minute"), c=columns)
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM staged AS b GROUP BY {}").format(
            self._table("minute"),
            _comma([*self._keys, *self._measures]),
            _comma([*self._of("b"), *self._merges("b")]),
            _comma(self._of("b")),
        )

    def clear_minutes(self) -> sql.Composed:
        """Rows of the minutes in [begin, end), save those of `windows`."""
        return sql.SQL(
            "DELETE FROM {} WHERE window_start >= %(begin)s AND window_start < %(end)s"
            " AND window_start <> ALL (%(windows)s::timestamptz[])"
        ).format(self._table("minute"))

    def clear_cells(self, grain: Grain) -> sql.Composed:
        """Rows of the touched cells of a grain."""
        return sql.SQL("DELETE FROM {} AS a USING touched AS t WHERE t.grain = {} AND {}").format(
            self._table(grain), sql.Literal(grain), self._same("a", "t", self._keys)
        )

    def rise(self, grain: Grain) -> sql.Composed:
        """The cells of `grain` above the touched cells of the grain below, added to `touched`."""
        zone, name = sql.Literal(self.definition.time_zone), sql.Literal(grain)
        return sql.SQL(
            "INSERT INTO touched (grain, window_start, window_end{dims})"
            " SELECT {name}, s, fleetgauge.window_end(s, {name}, {zone}){dims}"
            " FROM (SELECT DISTINCT fleetgauge.window_start(window_start, {name}, {zone}) AS s{dims}"
            " FROM touched WHERE grain = {below}) AS above"
        ).format(name=name, zone=zone, dims=self._dims(), below=sql.Literal(BELOW[grain]))

    def merge_cells(self, grain: Grain) -> sql.Composed:
        """The touched cells of `grain`, made anew from the grain below."""
        return sql.SQL(
            "INSERT INTO {upper} ({columns}) SELECT t.window_start, {day}{key} {measures} FROM touched AS t"
            " CROSS JOIN LATERAL (SELECT {merges}, count(*) AS _rows FROM {lower} AS b"
            " WHERE b.window_start >= t.window_start AND b.window_start < t.window_end{same}) AS m"
            " WHERE t.grain = {grain} AND m._rows > 0"
        ).format(
            upper=self._table(grain),
            columns=_comma(self._columns(grain)),
            day=self._date(grain, sql.SQL("t.window_start")),
            key=sql.SQL("").join(sql.SQL("t.{}, ").format(n) for n in self._keys[1:]),
            measures=_comma([sql.SQL("m.{}").format(n) for n in self._measures]),
            merges=_comma(self._merges("b", named=True)),
            lower=self._table(BELOW[grain]),
            same=sql.SQL("").join(sql.SQL(" AND b.{0} = t.{0}").format(n) for n in self._keys[1:]),
            grain=sql.Literal(grain),
        )

    def clear_span(self, grain: Grain) -> sql.Composed:
        """Rows of `grain` in [begin, end)."""
        return sql.SQL("DELETE FROM {} WHERE window_start >= %(begin)s AND window_start < %(end)s").format(
            self._table(grain)
        )

    def merge_span(self, grain: Grain) -> sql.Composed:
        """All of `grain` in [begin, end), boundaries of that grain, made anew from the grain below."""
        below = self._table(BELOW[grain])
        span = sql.SQL("window_start >= %(begin)s AND window_start < %(end)s")
        return sql.SQL(
            "INSERT INTO {upper} ({columns}) SELECT w.above, {day}{key} {merges} FROM {below} AS b JOIN ("
            "SELECT window_start, fleetgauge.window_start(window_start, {grain}, {zone}) AS above"
            " FROM (SELECT DISTINCT window_start FROM {below} WHERE {span}) AS d OFFSET 0) AS w USING (window_start)"
            " WHERE b.{span_b} GROUP BY w.above {group}"
        ).format(
            upper=self._table(grain),
            columns=_comma(self._columns(grain)),
            day=self._date(grain, sql.SQL("w.above")),
            key=sql.SQL("").join(sql.SQL("b.{}, ").format(n) for n in self._keys[1:]),
            merges=_comma(self._merges("b")),
            below=below,
            grain=sql.Literal(grain),
            zone=sql.Literal(self.definition.time_zone),
            span=span,
            span_b=sql.SQL("window_start >= %(begin)s AND b.window_start < %(end)s"),
            group=sql.SQL("").join(sql.SQL(", b.{}").format(n) for n in self._keys[1:]),
        )

    @property
    def _keys(self) -> list[sql.Identifier]:
        return keys(self.definition)

    @property
    def _measures(self) -> list[sql.Identifier]:
        return [sql.Identifier(n) for n in self.definition.stored]

    def _table(self, grain: Grain) -> sql.Identifier:
        return table(self.definition, grain)

    def _columns(self, grain: Grain) -> list[sql.Identifier]:
        date = [sql.Identifier("date")] if grain == "day" else []
        return [self._keys[0], *date, *self._keys[1:], *self._measures]

    def _date(self, grain: Grain, instant: sql.Composable) -> sql.Composable:
        if grain != "day":
            return sql.SQL("")
        return sql.SQL("({} AT TIME ZONE {})::date, ").format(instant, sql.Literal(self.definition.time_zone))

    def _dims(self) -> sql.Composable:
        return sql.SQL("").join(sql.SQL(", {}").format(n) for n in self._keys[1:])

    def _of(self, alias: str) -> list[sql.Composable]:
        return [sql.SQL("{}.{}").format(sql.Identifier(alias), n) for n in self._keys]

    def _same(self, one: str, other: str, names: list[sql.Identifier]) -> sql.Composable:
        return sql.SQL(" AND ").join(
            sql.SQL("{}.{} = {}.{}").format(sql.Identifier(one), n, sql.Identifier(other), n) for n in names
        )

    def _merges(self, alias: str, *, named: bool = False) -> list[sql.Composable]:
        found: list[sql.Composable] = []
        for name, measure in self.definition.stored.items():
            merged = _merge(sql.Identifier(alias, name), measure)
            found.append(sql.SQL("{} AS {}").format(merged, sql.Identifier(name)) if named else merged)
        return found


def _merge(column: sql.Composable, measure: StoredMeasure) -> sql.Composable:
    match measure:
        case Count():
            return sql.SQL("sum({})::bigint").format(column)
        case Sum():
            return sql.SQL("sum({})::{}").format(column, column_type(measure))
        case Extreme():
            return sql.SQL("{}({})").format(sql.SQL(measure.agg), column)
        case Percentile():
            return sql.SQL("fleetgauge.sketch_merge({})").format(column)


def _comma(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)

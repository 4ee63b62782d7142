"""The SQL of a metric's views: one branch for each stretch of time and the version that shows it.

A view may only grow at its end, for whoever has built on it: columns that are there stay, in their order. What a
version does not measure is NULL in its branch. Nothing here asks a database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.measures import Column, Ratio
from fleetgauge.rollup.store.store_sql import merge
from fleetgauge.rollup.store.tables import STORE, VIEWS, column_type

_FLOAT, _TEXT, _INSTANT = "double precision", "text", "timestamp with time zone"
_SHOWN = {"fleetgauge.sketch": "bigint[]", "fleetgauge.tally": "bigint[]", "fleetgauge.distinct_bits": "bit varying"}
"""A sketch is shown as the array or the bits that it is: readers' tools don't know our domains."""
_WIDENED = {("bigint", "numeric"), ("bigint", _FLOAT), ("numeric", _FLOAT)}
"""Types in which an older version's value can be shown, when it is the narrower one."""


@dataclass(frozen=True)
class ViewColumn:
    """A column as a reader sees it; types as `format_type` calls them."""

    name: str
    type: str
    collation: str | None = None

    def null(self) -> sql.Composed:
        """NULL of the type."""
        collation = sql.SQL(" COLLATE {}").format(sql.Identifier(self.collation)) if self.collation else sql.SQL("")
        return sql.SQL("NULL::{}{}").format(sql.SQL(self.type), collation)


@dataclass(frozen=True)
class Branch:
    """The rows that one version shows in a stretch of time."""

    version: str
    table: str
    """In schema `store`."""
    columns: Mapping[str, str]
    """Of the table, with their types."""
    begin: datetime | None = None
    end: datetime | None = None
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    """Those of the version's own definition."""
    merged: bool = False
    """Whether the table keeps more dimensions apart than the level: rows are then merged."""


def columns(definition: Definition, level: Level) -> list[ViewColumn]:
    """What the view shows of this definition, in the order of a new view."""
    found = [ViewColumn("window_start", _INSTANT)]
    if level.grain == "day":
        found.append(ViewColumn("date", "date"))
    found += [ViewColumn(name, _TEXT, "C") for name in level.dimensions]
    for name in definition.measures:
        if name in definition.ratios:
            found.append(ViewColumn(name, _FLOAT))
        found += [_view_column(one) for one in definition.columns if one.measure is definition.measures[name]]
    return [*found, ViewColumn("provisional", "boolean"), ViewColumn("version", _TEXT)]


def arranged(wanted: Sequence[ViewColumn], existing: Sequence[ViewColumn]) -> list[ViewColumn]:
    """The columns of the view that is made: those that exist stay where they are, new ones follow."""
    known = {column.name for column in existing}
    return [*existing, *(column for column in wanted if column.name not in known)]


def retyped(wanted: Sequence[ViewColumn], existing: Sequence[ViewColumn]) -> list[ViewColumn]:
    """The wanted columns that exist with another type: no view may change that while it stands."""
    types = {column.name: column.type for column in existing}
    return [column for column in wanted if types.get(column.name, column.type) != column.type]


def own_branch(
    definition: Definition, level: Level, begin: datetime | None = None, end: datetime | None = None
) -> Branch:
    """The branch of the definition's own version, without a look at its table."""
    known = {"window_start": _INSTANT, **({"date": "date"} if level.grain == "day" else {})}
    known |= dict.fromkeys(level.dimensions, _TEXT) | {one.name: _raw_type(one) for one in definition.columns}
    return Branch(definition.version, definition.table(level), known, begin, end, definition.ratios)


def create_view(
    definition: Definition,
    level: Level,
    branches: Sequence[Branch] = (),
    existing: Sequence[ViewColumn] = (),
    options: Sequence[str] = (),
) -> sql.Composed:
    """`CREATE OR REPLACE VIEW` of one level. `options`: those that the view has, such as `security_barrier=true`.

    `provisional` is read from the ledger, so that closing a window rewrites no row.
    """
    shown = arranged(columns(definition, level), existing)
    selects = [_select(definition, level, branch, shown) for branch in branches or (own_branch(definition, level),)]
    kept = sql.SQL(" WITH ({})").format(sql.SQL(", ".join(options))) if options else sql.SQL("")
    return sql.SQL("CREATE OR REPLACE VIEW {}{} AS {}").format(
        sql.Identifier(VIEWS, definition.view(level)), kept, sql.SQL(" UNION ALL ").join(selects)
    )


def measured(definition: Definition, level: Level, branch: Branch, column: ViewColumn) -> bool:
    """Whether the branch has values of this column, not NULL alone."""
    return _value(definition, level, branch, column) is not None


def _select(definition: Definition, level: Level, branch: Branch, shown: Sequence[ViewColumn]) -> sql.Composed:
    parts = []
    for column in shown:
        value = _value(definition, level, branch, column) or column.null()
        parts.append(sql.SQL("{} AS {}").format(value, sql.Identifier(column.name)))
    bounds = [
        sql.SQL("t.window_start {} {}").format(sql.SQL(sign), sql.Literal(at))
        for sign, at in ((">=", branch.begin), ("<", branch.end))
        if at is not None
    ]
    return sql.SQL("SELECT {} FROM {} AS t{}").format(
        sql.SQL(", ").join(parts),
        _merged(definition, level, branch) if branch.merged else sql.Identifier(STORE, branch.table),
        sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(bounds)) if bounds else sql.SQL(""),
    )


def _value(definition: Definition, level: Level, branch: Branch, column: ViewColumn) -> sql.Composable | None:
    name = sql.Identifier("t", column.name)
    if column.name == "provisional":
        return _provisional(definition, level, branch)
    if column.name == "version":
        return sql.SQL("{}::text").format(sql.Literal(branch.version))
    ratio = definition.ratios.get(column.name) or branch.ratios.get(column.name)
    if ratio is not None and column.type == _FLOAT and column.name not in branch.columns:
        if {ratio.numerator, ratio.denominator} <= _available(definition, level, branch):
            return sql.SQL("(t.{}::double precision / nullif(t.{}, 0)::double precision)").format(
                sql.Identifier(ratio.numerator), sql.Identifier(ratio.denominator)
            )
        return None
    if column.name not in _available(definition, level, branch):
        return None
    raw = branch.columns[column.name]
    plain = _SHOWN.get(raw, raw)
    if plain == column.type:
        return name if plain == raw else sql.SQL("{}::{}").format(name, sql.SQL(plain))
    if (plain, column.type) in _WIDENED:
        return sql.SQL("{}::{}").format(name, sql.SQL(column.type))
    return None


def _provisional(definition: Definition, level: Level, branch: Branch) -> sql.Composed:
    opened = definition.provisional_while
    more: sql.Composable = sql.SQL("")
    if opened is not None and opened in _available(definition, level, branch):
        more = sql.SQL(" OR t.{} > 0").format(sql.Identifier(opened))
    return sql.SQL(
        "(NOT coalesce((SELECT closed FROM fleetgauge.ledger WHERE metric = {} AND version = {} AND grain = {})"
        " @> t.window_start, false){})"
    ).format(sql.Literal(definition.metric), sql.Literal(branch.version), sql.Literal(level.grain), more)


def _available(definition: Definition, level: Level, branch: Branch) -> set[str]:
    """The columns that can be read of the branch: of merged rows, those that the definition knows how to merge."""
    if not branch.merged:
        return set(branch.columns)
    always = {"window_start", "date", *level.dimensions}
    return (always & branch.columns.keys()) | {one.name for one in _mergeable(definition, branch)}


def _mergeable(definition: Definition, branch: Branch) -> list[Column]:
    return [one for one in definition.columns if branch.columns.get(one.name) == _raw_type(one)]


def _merged(definition: Definition, level: Level, branch: Branch) -> sql.Composed:
    """The table's rows merged to the level's dimensions; conditions on the window still reach its partitions."""
    keys = [name for name in ("window_start", "date", *level.dimensions) if name in branch.columns]
    named = [
        sql.SQL("{} AS {}").format(merge("f", one), sql.Identifier(one.name)) for one in _mergeable(definition, branch)
    ]
    grouped = sql.SQL(", ").join(sql.Identifier("f", key) for key in keys)
    return sql.SQL("(SELECT {} FROM {} AS f GROUP BY {})").format(
        sql.SQL(", ").join([*(sql.Identifier("f", key) for key in keys), *named]),
        sql.Identifier(STORE, branch.table),
        grouped,
    )


def _view_column(column: Column) -> ViewColumn:
    raw = _raw_type(column)
    return ViewColumn(column.name, _SHOWN.get(raw, raw), "C" if raw == _TEXT else None)


def _raw_type(column: Column) -> str:
    """The type of a table's column as `format_type` calls it."""
    name = column_type(column).as_string(None).removesuffix(' COLLATE "C"')
    return {"timestamptz": _INSTANT}.get(name, name)

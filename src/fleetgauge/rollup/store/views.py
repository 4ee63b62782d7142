"""The SQL of a metric's views: one branch for each stretch of time and the version that shows it.

A view may only grow at its end, for whoever has built on it: columns that are there stay, in their order. What a
version does not measure is NULL in its branch. Nothing here asks a database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleetgauge.postgres import sql
from fleetgauge.rollup import labels
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.measures import Column, Distinct, Last, Ratio, Tally, columns_of
from fleetgauge.rollup.definitions.parts import Privacy
from fleetgauge.rollup.sketches.distinct import EXACT, PRINT
from fleetgauge.rollup.store.store_sql import merge
from fleetgauge.rollup.store.tables import STORE, VIEWS, column_type

_FLOAT, _TEXT, _INSTANT = "double precision", "text", "timestamp with time zone"
_BITS = "fleetgauge.distinct_bits"
_SETS = (_BITS, "fleetgauge.distinct_sketch")
"""Sketches of sets; the latter of versions of before migration 0010."""
_SHOWN = {"fleetgauge.sketch": "bigint[]", "fleetgauge.tally": "bigint[]", **dict.fromkeys(_SETS, "bigint")}
"""A sketch of a distribution is shown as the array that it is: readers' tools don't know our domains. Of a set readers
see how many there are, never the sketch."""
SUPPRESSED = "suppressed"
"""The column of views that says whether a row keeps numbers back."""
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
    label_format: int = labels.FORMAT
    """Of the table's dimensions; older labels are shown as today's."""


def columns(definition: Definition, level: Level, *, sketches: bool = False) -> list[ViewColumn]:
    """What the view shows of this definition, in the order of a new view. `sketches`: see `create_sketches_view`."""
    found = [ViewColumn("window_start", _INSTANT)]
    if level.grain == "day":
        found.append(ViewColumn("date", "date"))
    found += [ViewColumn(name, _TEXT, "C") for name in level.dimensions]
    for name in definition.measures:
        if name in definition.ratios:
            found.append(ViewColumn(name, _FLOAT))
        measure = definition.measures[name]
        found += [_view_column(one, sketches=sketches) for one in definition.columns if one.measure is measure]
    found += [ViewColumn("provisional", "boolean"), ViewColumn("version", _TEXT)]
    return found if definition.privacy is None or sketches else [*found, ViewColumn(SUPPRESSED, "boolean")]


def meanings(definition: Definition, level: Level) -> dict[str, str]:
    """What columns mean that the engine adds, or whose definition does not say it: by name, for the catalogue."""
    zone = definition.time_zone
    found = {
        "window_start": f"The beginning of the {level.grain}, which is counted in {zone}.",
        "provisional": "Whether the row may still change without being told as a restatement.",
        "version": "The version of the definition that the row was made by.",
    }
    found |= {name: of_column(definition.dimensions[name].column) for name in level.dimensions}
    found |= {name: measure.label or of_rows(measure.agg) for name, measure in definition.measures.items()}
    if level.grain == "day":
        found["date"] = f"The local date, in {zone}."
    if definition.privacy is not None:
        found[SUPPRESSED] = f"Whether numbers of fewer than {definition.privacy.k} persons are kept back here."
    found |= {f"{name}_at": f"When {name} was seen." for name, m in definition.measures.items() if isinstance(m, Last)}
    tallies = [name for name, measure in definition.measures.items() if isinstance(measure, Tally)]
    return found | {f"{name}_unknown": f"How many had no value that {name} counts." for name in tallies}


def of_column(column: str) -> str:
    """What is said of a dimension that nobody has described."""
    return f"Column {column} of the source."


def of_rows(aggregate: str) -> str:
    """What is said of a measure that has neither description nor label."""
    return f"{aggregate} of the rows."


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
    body = _body(definition, level, branches, shown)
    if definition.privacy is not None:
        body = sql.SQL("SELECT {} FROM {} AS c").format(
            sql.SQL(", ").join(_kept_back(definition, column) for column in shown),
            _judged(definition.privacy, level, body),
        )
    kept = sql.SQL(" WITH ({})").format(sql.SQL(", ".join(options))) if options else sql.SQL("")
    return sql.SQL("CREATE OR REPLACE VIEW {}{} AS {}").format(
        sql.Identifier(VIEWS, definition.view(level)), kept, body
    )


def create_sketches_view(definition: Definition, level: Level, branches: Sequence[Branch] = ()) -> sql.Composed | None:
    """`CREATE VIEW` in `store`, which viewers cannot read: the same with the sketches of sets, and nothing kept back.

    Of it `fleetgauge.distinct_count` answers, and operators' tools. None where the metric has no such sketch.
    """
    if not counts_sets(definition):
        return None
    body = _body(definition, level, branches, columns(definition, level, sketches=True))
    if definition.privacy is not None:
        body = sql.SQL("SELECT c.*, {} AS _of, {} AS _k, {}::text[] AS _hidden FROM ({}) AS c").format(
            sql.Identifier("c", definition.privacy.of),
            sql.Literal(definition.privacy.k),
            sql.Literal(list(definition.hidden)),
            body,
        )
    return sql.SQL("CREATE VIEW {} AS {}").format(sketches_view(definition, level), body)


def counts_sets(definition: Definition) -> bool:
    """Whether the metric has sketches of sets, and so a view of them."""
    return any(isinstance(measure, Distinct) for measure in definition.stored.values())


def sketches_view(definition: Definition, level: Level) -> sql.Identifier:
    """Its qualified name."""
    return sql.Identifier(STORE, definition.view(level))


def _body(
    definition: Definition, level: Level, branches: Sequence[Branch], shown: Sequence[ViewColumn]
) -> sql.Composed:
    """The rows of all branches; where numbers may be kept back, with `_persons`, as far as that must be known."""
    selects = [_select(definition, level, branch, shown) for branch in branches or (own_branch(definition, level),)]
    return sql.SQL(" UNION ALL ").join(selects)


def _judged(privacy: Privacy, level: Level, body: sql.Composable) -> sql.Composed:
    """The rows with `_suppressed`: fewer persons than k; and where a window has such rows, the next larger ones too,
    until all that are kept back have k persons together, so that the total does not tell what is missing."""
    return sql.SQL(
        "(SELECT b.*, b._persons < {k} OR (min(b._persons) OVER whole < {k} AND coalesce(sum(b._persons) OVER"
        " (PARTITION BY b.window_start ORDER BY {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < {k})"
        " AS _suppressed FROM ({body}) AS b WINDOW whole AS (PARTITION BY b.window_start))"
    ).format(
        k=sql.Literal(privacy.k),
        order=sql.SQL(", ").join([sql.Identifier("b", name) for name in ("_persons", *sorted(level.dimensions))]),
        body=body,
    )


def _kept_back(definition: Definition, column: ViewColumn) -> sql.Composed:
    if column.name == SUPPRESSED:
        return sql.SQL("c._suppressed AS {}").format(sql.Identifier(SUPPRESSED))
    name = sql.Identifier("c", column.name)
    hidden = {one.name for kept in definition.hidden for one in columns_of(kept, definition.stored[kept])}
    if column.name in hidden:
        return sql.SQL("CASE WHEN NOT c._suppressed THEN {} END AS {}").format(name, sql.Identifier(column.name))
    return sql.SQL("{}").format(name)


def measured(definition: Definition, level: Level, branch: Branch, column: ViewColumn) -> bool:
    """Whether the branch has values of this column, not NULL alone."""
    return _value(definition, level, branch, column) is not None


def _select(definition: Definition, level: Level, branch: Branch, shown: Sequence[ViewColumn]) -> sql.Composed:
    parts = []
    for column in shown:
        value = _value(definition, level, branch, column) or column.null()
        parts.append(sql.SQL("{} AS {}").format(value, sql.Identifier(column.name)))
    if definition.privacy is not None:
        parts.append(sql.SQL("{} AS _persons").format(_persons(definition, definition.privacy, level, branch)))
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


def _persons(definition: Definition, privacy: Privacy, level: Level, branch: Branch) -> sql.Composable:
    """How many persons a row has, up to 129; 0 where its version did not count them."""
    raw = branch.columns.get(privacy.of)
    if raw not in _SETS or privacy.of not in _available(definition, level, branch):
        return sql.SQL("0")
    name = sql.Identifier("t", privacy.of)
    if raw != _BITS:
        return sql.SQL('fleetgauge."distinct"({})').format(name)
    return sql.SQL("least(length({}) / {}, {})").format(name, sql.Literal(PRINT), sql.Literal(EXACT + 1))


def _value(definition: Definition, level: Level, branch: Branch, column: ViewColumn) -> sql.Composable | None:
    name = sql.Identifier("t", column.name)
    if column.name == "provisional":
        return _provisional(definition, level, branch)
    if column.name == SUPPRESSED and column.type == "boolean" and SUPPRESSED not in branch.columns:
        return sql.SQL("false")
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
    if raw in _SETS and column.type == "bigint":
        return sql.SQL('fleetgauge."distinct"({})').format(name)
    if raw == _BITS and column.type == "bit varying":
        return sql.SQL("{}::bit varying").format(name)
    if column.name in level.dimensions and branch.label_format != labels.FORMAT:
        return labels.relabelled_sql(name)
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


def _view_column(column: Column, *, sketches: bool) -> ViewColumn:
    raw = _raw_type(column)
    if sketches and raw == _BITS:
        return ViewColumn(column.name, "bit varying")
    return ViewColumn(column.name, _SHOWN.get(raw, raw), "C" if raw == _TEXT else None)


def _raw_type(column: Column) -> str:
    """The type of a table's column as `format_type` calls it."""
    name = column_type(column).as_string(None).removesuffix(' COLLATE "C"')
    return {"timestamptz": _INSTANT}.get(name, name)

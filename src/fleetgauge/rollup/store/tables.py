"""DDL of one metric: the versioned tables in `store` and the views in `metrics`, all owned by `fleetgauge_writer`."""

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
from fleetgauge.rollup.definitions.measures import Column, Count, Distinct, Duration, Extreme, Last, Percentile, Sum

STORE = "store"
VIEWS = "metrics"
WRITER = "fleetgauge_writer"
VIEWER = "fleetgauge_viewer"

_TYPES = {"integer": "bigint", "numeric": "numeric", "float": "double precision", "text": 'text COLLATE "C"'}


def column_type(column: Column) -> sql.SQL:
    """The Postgres type of a measure's column."""
    match column.measure:
        case Count():
            return sql.SQL("bigint")
        case Percentile():
            return sql.SQL("fleetgauge.sketch")
        case Distinct():
            return sql.SQL("fleetgauge.distinct_bits")
        case Duration():
            return sql.SQL("numeric")
        case Last() if column.at:
            return sql.SQL("timestamptz")
        case Sum() | Extreme() | Last():
            return sql.SQL(_TYPES[column.measure.type])


def table(definition: Definition, level: Level) -> sql.Identifier:
    """The qualified table of a level."""
    return sql.Identifier(STORE, definition.table(level))


def keys(level: Level) -> list[sql.Identifier]:
    """Columns of the primary key: the window and the dimensions."""
    return [sql.Identifier("window_start"), *(sql.Identifier(n) for n in level.dimensions)]


def create_table(definition: Definition, level: Level) -> sql.Composed:
    """`CREATE TABLE IF NOT EXISTS` of one level; partitions come when they are first needed."""
    columns = [sql.SQL("window_start timestamptz NOT NULL")]
    if level.grain == "day":
        columns.append(sql.SQL("date date NOT NULL"))
    parts: list[sql.Composable] = [*columns]
    parts += [sql.SQL('{} text COLLATE "C" NOT NULL').format(sql.Identifier(n)) for n in level.dimensions]
    for column in definition.columns:
        null = sql.SQL("") if isinstance(column.measure, Extreme | Last) else sql.SQL(" NOT NULL")
        parts.append(sql.SQL("{} {}{}").format(sql.Identifier(column.name), column_type(column), null))
    parts.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(keys(level))))
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}) PARTITION BY RANGE (window_start)").format(
        table(definition, level), sql.SQL(", ").join(parts)
    )


def create_view(definition: Definition, level: Level) -> sql.Composed:
    """`CREATE OR REPLACE VIEW` of one level, over this version's table.

    `provisional` is read from the ledger, so that closing a window rewrites no row.
    """
    columns: list[sql.Composable] = [sql.Identifier("t", "window_start")]
    if level.grain == "day":
        columns.append(sql.Identifier("t", "date"))
    columns += [sql.Identifier("t", n) for n in level.dimensions]
    stored = definition.columns
    for name in definition.measures:
        if name in definition.ratios:
            ratio = definition.ratios[name]
            columns.append(
                sql.SQL("(t.{}::double precision / nullif(t.{}, 0)::double precision) AS {}").format(
                    sql.Identifier(ratio.numerator), sql.Identifier(ratio.denominator), sql.Identifier(name)
                )
            )
        for column in stored:
            if column.measure is definition.measures[name]:
                columns.append(_shown(column))
    opened = (
        sql.SQL(" OR t.{} > 0").format(sql.Identifier(definition.provisional_while))
        if definition.provisional_while
        else sql.SQL("")
    )
    return sql.SQL(
        "CREATE OR REPLACE VIEW {view} AS SELECT {columns}, (NOT coalesce((SELECT closed FROM fleetgauge.ledger"
        " WHERE metric = {metric} AND version = {version} AND grain = {grain}) @> t.window_start, false){opened})"
        " AS provisional FROM {table} AS t"
    ).format(
        view=sql.Identifier(VIEWS, definition.view(level)),
        columns=sql.SQL(", ").join(columns),
        metric=sql.Literal(definition.metric),
        version=sql.Literal(definition.version),
        grain=sql.Literal(level.grain),
        opened=opened,
        table=table(definition, level),
    )


def _shown(column: Column) -> sql.Composable:
    """A sketch is shown as the array or the bits that it is: readers' tools don't know our domains."""
    plain = {Percentile: "bigint[]", Distinct: "bit varying"}.get(type(column.measure))
    if plain is None:
        return sql.Identifier("t", column.name)
    return sql.SQL("t.{0}::{1} AS {0}").format(sql.Identifier(column.name), sql.SQL(plain))


def comments(definition: Definition) -> list[sql.Composed]:
    """What a reader of the catalogue sees beside the views."""
    found = []
    for level in definition.levels:
        view = sql.Identifier(VIEWS, definition.view(level))
        found.append(sql.SQL("COMMENT ON VIEW {} IS {}").format(view, sql.Literal(definition.description)))
        shown = {n: definition.dimensions[n] for n in level.dimensions} | definition.measures
        for name, part in shown.items():
            if part.description:
                found.append(
                    sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                        view, sql.Identifier(name), sql.Literal(part.description)
                    )
                )
    return found

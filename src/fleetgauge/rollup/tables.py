"""DDL of one metric: the versioned tables in `store` and the views in `metrics`, all owned by `fleetgauge_writer`."""

from psycopg import sql

from fleetgauge.rollup.definition import GRAINS, Count, Definition, Extreme, Grain, Percentile, StoredMeasure, Sum

STORE = "store"
VIEWS = "metrics"

_NUMBERS = {"integer": "bigint", "numeric": "numeric", "float": "double precision"}


def column_type(measure: StoredMeasure) -> sql.SQL:
    """The Postgres type of a stored measure."""
    match measure:
        case Count():
            return sql.SQL("bigint")
        case Percentile():
            return sql.SQL("fleetgauge.sketch")
        case Sum() | Extreme():
            return sql.SQL(_NUMBERS[measure.type])


def table(definition: Definition, grain: Grain) -> sql.Identifier:
    """The qualified table of a grain."""
    return sql.Identifier(STORE, definition.table(grain))


def keys(definition: Definition) -> list[sql.Identifier]:
    """Columns of the primary key: the window and the dimensions."""
    return [sql.Identifier("window_start"), *(sql.Identifier(n) for n in definition.dimensions)]


def create_table(definition: Definition, grain: Grain) -> sql.Composed:
    """`CREATE TABLE IF NOT EXISTS` of one grain."""
    columns = [sql.SQL("window_start timestamptz NOT NULL")]
    if grain == "day":
        columns.append(sql.SQL("date date NOT NULL"))
    parts: list[sql.Composable] = [*columns]
    parts += [sql.SQL('{} text COLLATE "C" NOT NULL').format(sql.Identifier(n)) for n in definition.dimensions]
    for name, measure in definition.stored.items():
        null = sql.SQL("") if isinstance(measure, Extreme) else sql.SQL(" NOT NULL")
        parts.append(sql.SQL("{} {}{}").format(sql.Identifier(name), column_type(measure), null))
    parts.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(keys(definition))))
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(table(definition, grain), sql.SQL(", ").join(parts))


def create_view(definition: Definition, grain: Grain) -> sql.Composed:
    """`CREATE OR REPLACE VIEW` of one grain, over this version's table.

    `provisional` is read from the ledger, so that closing a window rewrites no row.
    """
    columns: list[sql.Composable] = [sql.Identifier("t", "window_start")]
    if grain == "day":
        columns.append(sql.Identifier("t", "date"))
    columns += [sql.Identifier("t", n) for n in definition.dimensions]
    for name, measure in definition.measures.items():
        if name in definition.ratios:
            ratio = definition.ratios[name]
            columns.append(
                sql.SQL("(t.{}::double precision / nullif(t.{}, 0)::double precision) AS {}").format(
                    sql.Identifier(ratio.numerator), sql.Identifier(ratio.denominator), sql.Identifier(name)
                )
            )
        elif isinstance(measure, Percentile):
            columns.append(sql.SQL("t.{0}::bigint[] AS {0}").format(sql.Identifier(name)))
        else:
            columns.append(sql.Identifier("t", name))
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
        view=sql.Identifier(VIEWS, definition.view(grain)),
        columns=sql.SQL(", ").join(columns),
        metric=sql.Literal(definition.metric),
        version=sql.Literal(definition.version),
        grain=sql.Literal(grain),
        opened=opened,
        table=table(definition, grain),
    )


def comments(definition: Definition) -> list[sql.Composed]:
    """What a reader of the catalogue sees beside the views."""
    found = []
    for grain in GRAINS:
        view = sql.Identifier(VIEWS, definition.view(grain))
        found.append(sql.SQL("COMMENT ON VIEW {} IS {}").format(view, sql.Literal(definition.description)))
        for name, part in (*definition.dimensions.items(), *definition.measures.items()):
            if part.description:
                found.append(
                    sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                        view, sql.Identifier(name), sql.Literal(part.description)
                    )
                )
    return found

"""DDL of one metric's versioned tables in `store`, owned by `fleetgauge_writer`. Their views: `views`."""

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Level
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

STORE = "store"
VIEWS = "metrics"
WRITER = "fleetgauge_writer"
VIEWER = "fleetgauge_viewer"

_TYPES = {
    None: "numeric",
    "integer": "bigint",
    "numeric": "numeric",
    "float": "double precision",
    "text": 'text COLLATE "C"',
}


def column_type(column: Column) -> sql.SQL:
    """The Postgres type of a measure's column."""
    match column.measure:
        case Count():
            return sql.SQL("bigint")
        case Percentile():
            return sql.SQL("fleetgauge.sketch")
        case Tally() if column.beside:
            return sql.SQL("bigint")
        case Tally():
            return sql.SQL("fleetgauge.tally")
        case Distinct():
            return sql.SQL("fleetgauge.distinct_bits")
        case Duration():
            return sql.SQL("numeric")
        case Last() if column.beside:
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


def day_triggers(definition: Definition, level: Level) -> list[sql.Composed]:
    """Count in `fleetgauge.day_change` that days of a month were written, where a metric keeps no minutes.

    Its days are rows of individual things, so what a view computes of a whole month of them is worth keeping.
    """
    if level.grain != "day" or not level.whole or definition.finest == "minute":
        return []
    return [
        sql.SQL(
            "CREATE OR REPLACE TRIGGER {} AFTER {} ON {} REFERENCING {} TABLE AS changed FOR EACH STATEMENT"
            " EXECUTE FUNCTION fleetgauge.note_day_change({}, {})"
        ).format(
            sql.Identifier(f"day_change_{event.lower()}"),
            sql.SQL(event),
            table(definition, level),
            sql.SQL(rows),
            sql.Literal(definition.metric),
            sql.Literal(definition.version),
        )
        for event, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ]

"""What is asked of MariaDB or MySQL: aggregates by minute and dimension, so that no raw row travels.

They have no arrays, so each sketch, tally and `last` is a query of its own, grouped by its values besides; all see one
snapshot. `mysql_rows` makes rows of the answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from fleetgauge.errors import sure
from fleetgauge.mysql import quoted
from fleetgauge.rollup.definitions.measures import (
    Column,
    Count,
    Distinct,
    Extreme,
    Last,
    Percentile,
    Sum,
    Tally,
)
from fleetgauge.rollup.labels import LONGEST
from fleetgauge.rollup.sketches.sketch import LN_GAMMA, ORIGIN
from fleetgauge.rollup.sources.late_changes import EPOCH, STRETCH_US
from fleetgauge.rollup.sources.mysql_parts import SourceColumns, col
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import Unfollowed

WINDOW = "_window"
_SHOWN = 2_000
"""Bytes of what tells a row, to a reader."""
_SMALLEST, _GREATEST = -(2**63), 2**63 - 1


def numbers(columns: SourceColumns, span: str, window: str) -> str:
    """Window, dimensions, then each of `numeric` of the rows that `span` is true of."""
    selected = [*_key(columns, window), *(f"{_number(columns, c)} AS {quoted(c.name)}" for c in numeric(columns))]
    return _grouped(columns, selected, len(columns.definition.dimensions) + 1, [span])


def numeric(columns: SourceColumns) -> list[Column]:
    """The columns of the tables that one number each is asked for."""
    return [
        c
        for c in columns.definition.columns
        if isinstance(c.measure, Count | Sum | Extreme) or (isinstance(c.measure, Tally) and c.beside)
    ]


def _number(columns: SourceColumns, column: Column) -> str:
    measure, where = column.measure, columns.where(column.measure.where)
    match measure:
        case Count():
            return f"COUNT(CASE WHEN {where} THEN 1 END)"
        case Sum():
            return f"COALESCE(SUM(CASE WHEN {where} THEN {columns.exact(measure.of)} END), 0)"
        case Extreme():
            value = f"{col(measure.of)} + 0e0" if measure.type == "float" else columns.exact(measure.of)
            return f"{measure.agg.upper()}(CASE WHEN {where} THEN {value} END)"
        case Tally():
            return f"COUNT(CASE WHEN {where} AND {_whole(columns, measure.of)} IS NULL THEN 1 END)"
    raise AssertionError(f"{measure.agg} is no single number")


def values(columns: SourceColumns, measure: Percentile | Tally | Distinct, span: str, window: str) -> str:
    """Window, dimensions, a value of the measure (a bucket, a whole number, a text), and how many rows have it."""
    match measure:
        case Percentile():
            value = _bucket(measure.of)
        case Tally():
            value = _whole(columns, measure.of)
        case Distinct():
            value = columns.bounded(measure.of)
    n = len(columns.definition.dimensions) + 2
    known = f"{value if isinstance(measure, Tally) else col(measure.of)} IS NOT NULL"
    selected = [*_key(columns, window), f"{value} AS _value", "COUNT(*)"]
    return _grouped(columns, selected, n, [span, columns.where(measure.where), known])


def latest(columns: SourceColumns, measure: Last, span: str, window: str) -> str:
    """Window, dimensions, the value at the latest event time, and that time; of equal times the greatest value."""
    event = col(columns.definition.event_time)
    value = columns.bytes_of(measure.of) if measure.type == "text" else columns.exact(measure.of)
    if measure.type == "float":
        value = f"{col(measure.of)} + 0e0"
    greatest = f"LEFT(_value, {LONGEST}) DESC, SHA2(_value, 256)" if measure.type == "text" else "_value"
    names = [WINDOW, *(f"_d{i}" for i in range(len(columns.definition.dimensions)))]
    known = _all(span, columns.counted, columns.where(measure.where), f"{col(measure.of)} IS NOT NULL")
    shown = ", ".join([*names, "_value", "_at"])
    return (
        f"SELECT {shown} FROM (SELECT k.*, ROW_NUMBER() OVER (PARTITION BY {', '.join(names)}"
        f" ORDER BY _at DESC, {greatest} DESC) AS _rank FROM (SELECT {', '.join(_key(columns, window))},"
        f" {value} AS _value, {event} AS _at FROM {columns.rows} WHERE {known}) AS k) AS r WHERE _rank = 1"
    )


def all_of(columns: SourceColumns, span: str, window: str) -> list[str]:
    """Every query of the rows that `span` is true of: `numbers`, then `values` or `latest` of a measure."""
    found = [numbers(columns, span, window)]
    for column in columns.definition.columns:
        if isinstance(column.measure, Percentile | Tally | Distinct) and not column.beside:
            found.append(values(columns, column.measure, span, window))
        if isinstance(column.measure, Last) and not column.beside:
            found.append(latest(columns, column.measure, span, window))
    return found


def by_minute(columns: SourceColumns) -> str:
    """The window of a row: its minute."""
    return columns.minute(columns.definition.event_time)


def by_stretch(columns: SourceColumns, edges: Sequence[datetime]) -> str:
    """The window of a row: between which two edges, whole minutes, it lies; from 0."""
    event = columns.definition.event_time
    known = ", ".join(str(columns.number_of(event, edge)) for edge in edges)
    return f"INTERVAL({columns.minute(event)}, {known}) - 1"


def first_event(columns: SourceColumns) -> str:
    """The earliest event time; one index look-up where the event time is indexed."""
    event = col(columns.definition.event_time)
    return f"SELECT MIN({event}) FROM {columns.rows} WHERE {_all(columns.possible(), columns.counted)}"


def counted_rows(columns: SourceColumns, spans: Sequence[Span]) -> str:
    """The facts of some spans; to be explained, not run."""
    return f"SELECT 1 FROM {columns.rows} WHERE {_all(columns.within(spans), columns.counted)}"


def touched(
    columns: SourceColumns, cursor: datetime, open_from: datetime | None, latest_time: datetime | None = None
) -> str:
    """As `postgres_sql.touched`."""
    definition = columns.definition
    change_time = sure(definition.change_time, "change_time")
    counts = columns.possible(latest_time)
    within = counts if definition.key is None else columns.told_apart
    selected = _whereabouts(columns, None if definition.key is None else counts)
    unchanged = f"{columns.unfollowed} AND {within}"  # until a first update, such as it is
    since = [(change_time, cursor, within), (definition.event_time, cursor, unchanged)]
    if open_from is not None:
        since.append((definition.event_time, open_from, within))
    return " UNION ".join(
        f"SELECT DISTINCT {', '.join(selected)} FROM {columns.rows}"
        f" WHERE {col(column)} >= {columns.at(column, instant)} AND {condition}"
        for column, instant, condition in since
    )


def changes(columns: SourceColumns, spans: Sequence[Span], upto: datetime) -> str:
    """As `postgres_sql.changes`."""
    change_time = sure(columns.definition.change_time, "change_time")
    change, epoch = col(change_time), columns.at(change_time, EPOCH)
    return (
        f"SELECT x._at DIV {STRETCH_US}, x._early, COUNT(*), SUM(x._at MOD {STRETCH_US}) FROM ("
        f"SELECT TIMESTAMPDIFF(MICROSECOND, {epoch}, {change}) AS _at,"
        f" {change} < {columns.at(change_time, upto)} AS _early"
        f" FROM {columns.rows} WHERE {columns.inside(change_time, spans)}) AS x GROUP BY 1, 2"
    )


def placed(columns: SourceColumns, span: Span) -> str:
    """The rows of every minute in the span as `touched` tells them."""
    within = _all(columns.within([span]), columns.told_apart)
    return f"SELECT {', '.join(_whereabouts(columns))} FROM {columns.rows} WHERE {within}"


def _whereabouts(columns: SourceColumns, counts: str | None = None) -> list[str]:
    """Minute and dimensions of a row; where rows may move, its key and change time too, NULL if it has none.

    The minute is NULL of a row that `counts` is not true of.
    """
    definition = columns.definition
    wanted = definition.finest == "minute" or definition.key is not None
    minute = by_minute(columns) if counts is None else f"CASE WHEN {counts} THEN {by_minute(columns)} END"
    parts = _key(columns, minute, dimensions=wanted)
    if definition.key is not None and definition.change_time is not None:
        changed = f"CASE WHEN {columns.unfollowed} THEN NULL ELSE {col(definition.change_time)} END"
        parts += [columns.bounded(definition.key), changed]
    return parts


def left_out(columns: SourceColumns, spans: Sequence[Span]) -> str | None:
    """Minute, column, how many rows of the spans cannot be counted by it, and a row for each of some of their keys."""
    rules = columns.countable
    if not rules:
        return None
    cases = " ".join(f"WHEN NOT ({rule}) THEN '{column}'" for column, rule in rules)
    groups = {"_window": by_minute(columns), "_column": f"CASE {cases} END"}
    return _some_of_each(columns, groups, columns.within(spans))


def out_of_range(columns: SourceColumns, latest_time: datetime) -> str:
    """Rows whose event time no row of a fleet has, or lies too far ahead.

    Which of the two (1: ahead), how many, and a row for each of some of their keys.
    """
    event = columns.definition.event_time
    earliest, before = columns.definition.accepts.instants
    outside = columns.at(event, min(before, latest_time))
    where = f"{col(event)} < {columns.at(event, earliest)} OR {col(event)} >= {outside} OR NOT {columns.real(event)}"
    return _some_of_each(columns, {"_ahead": columns.possible()}, where)


def _some_of_each(columns: SourceColumns, groups: Mapping[str, str], where: str) -> str:
    """Rows by the expressions `groups`, but where the last of them is NULL: these, a count, and five keys at most."""
    names = ", ".join(groups)
    shown = ", ".join(f"{expression} AS {name}" for name, expression in groups.items())
    return (
        f"SELECT {names}, _count, _key FROM (SELECT k.*, COUNT(*) OVER (PARTITION BY {names}) AS _count,"
        f" ROW_NUMBER() OVER (PARTITION BY {names} ORDER BY _at, _key) AS _rank"
        f" FROM (SELECT {shown}, {col(columns.definition.event_time)} AS _at, {_named(columns)} AS _key"
        f" FROM {columns.rows} WHERE {where}) AS k"
        f" WHERE {list(groups)[-1]} IS NOT NULL) AS x WHERE _rank <= 5 ORDER BY _rank"
    )


def unfollowed(columns: SourceColumns) -> str:
    """How many rows have no time of change, up to a limit, beside each of some of their keys."""
    where = f"{columns.unfollowed} AND {col(columns.definition.event_time)} IS NOT NULL"
    return (
        f"SELECT COUNT(*) OVER (), _key FROM (SELECT {_named(columns)} AS _key FROM {columns.rows}"
        f" WHERE {where} LIMIT {Unfollowed.MANY}) AS x LIMIT 5"
    )


def source_rows(columns: SourceColumns, span: Span, where: Mapping[str, str]) -> str:
    """The facts that count in the span, with these labels of dimensions."""
    dimensions = columns.definition.dimensions
    labels = [columns.labelled(dimensions[name].column, [label]) for name, label in where.items()]
    return (
        f"SELECT s.* FROM {columns.rows} WHERE {_all(columns.within([span]), columns.counted, *labels)}"
        f" ORDER BY {col(columns.definition.event_time)}"
    )


def _named(columns: SourceColumns) -> str:
    """What tells a row that was left out: its key where there is one, else its time and dimensions."""
    definition = columns.definition
    shown = [definition.event_time, *(d.column for d in definition.dimensions.values())]
    told = f"CONCAT_WS(' ', {', '.join(columns.bytes_of(name) for name in shown)})"
    found = told if definition.key is None else f"COALESCE({columns.bytes_of(definition.key)}, {told})"
    return f"LEFT({found}, {_SHOWN})"


def _key(columns: SourceColumns, window: str, *, dimensions: bool = True) -> list[str]:
    """What a row is grouped by: its window, and its values as bytes."""
    shown = columns.definition.dimensions.values() if dimensions else ()
    return [f"{window} AS {WINDOW}", *(f"{columns.bounded(d.column)} AS _d{i}" for i, d in enumerate(shown))]


def _grouped(columns: SourceColumns, selected: Iterable[str], positions: int, conditions: Sequence[str]) -> str:
    grouped_by = ", ".join(str(i + 1) for i in range(positions))
    where = _all(*conditions, columns.counted)
    return f"SELECT {', '.join(selected)} FROM {columns.rows} WHERE {where} GROUP BY {grouped_by}"


def _all(*conditions: str) -> str:
    return " AND ".join(one for one in conditions if one != "TRUE") or "TRUE"


def _whole(columns: SourceColumns, column: str) -> str:
    """A whole number that a bigint of Postgres holds; anything else is NULL."""
    value = columns.exact(column)
    known = f"{value} BETWEEN {_SMALLEST} AND {_GREATEST} AND {value} = TRUNCATE({value}, 0)"
    return f"CASE WHEN {known} THEN CAST({value} AS SIGNED) END"


def _bucket(column: str) -> str:
    """Stored bucket of a value, as `sketch.bucket`."""
    value = f"({col(column)} + 0e0)"
    growth = repr(LN_GAMMA) + "e0"
    return (
        f"CAST(CASE WHEN {value} > 0 THEN {ORIGIN} + CEILING(LN({value}) / {growth})"
        f" WHEN {value} < 0 THEN -({ORIGIN} + CEILING(LN(-{value}) / {growth})) ELSE 0 END AS SIGNED)"
    )

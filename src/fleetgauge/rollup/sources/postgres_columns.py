"""Whether the columns that source.sql returns fit what the definition makes of them, asked of the server itself.

Without this a naive time would shift windows by hours, a sum would round, and a text would fail in the middle of a run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fleetgauge.errors import Terminal
from fleetgauge.files.plain import nearest, shown
from fleetgauge.postgres import Connection, Error, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Comparison, Distinct, Extreme, Last, Percentile, Sum, Tally, Where
from fleetgauge.rollup.sources.postgres_parts import everything

_WHOLE = frozenset({"int2", "int4", "int8"})
_FRACTIONS = frozenset({"numeric", "float4", "float8"})
_NUMBERS = _WHOLE | _FRACTIONS
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "citext"})
_TIMES = frozenset({"timestamptz", "timestamp", "date", "time", "timetz", "interval"})
_WORDS = {
    "bool": "true or false",
    "timestamp": "a timestamp without time zone",
    "date": "a date",
    "interval": "an interval",
    "timestamptz": "an instant",
}


class ColumnError(Terminal):
    """Columns of a source do not fit. `problems`: each begins with the path of a key of metric.yaml."""

    def __init__(self, definition: Definition, problems: list[str]) -> None:
        self.problems = tuple(problems)
        file = f"sql/metrics/{definition.metric}/metric.yaml"
        super().__init__("; ".join(f"{file}:{definition.line(p.partition(': ')[0])}: {p}" for p in problems))


def check(connection: Connection[Any], definition: Definition) -> None:
    """Raises `ColumnError` naming each key whose column does not fit, `Terminal` when source.sql itself fails.

    Asks for no row. Inside the look's transaction.
    """
    found = problems(definition, types(connection, definition))
    if found:
        raise ColumnError(definition, found)


def types(connection: Connection[Any], definition: Definition) -> list[tuple[str, str]]:
    """Column and the name of its type, in order, as the server describes the query. Raises `Terminal`."""
    query = sql.SQL("SELECT s.* FROM {} LIMIT 0").format(everything(definition))
    text = query.as_string(connection)
    try:
        description = connection.execute(query).description or ()
    except Error as error:
        if error.sqlstate == "42501" or (error.sqlstate or "")[:2] not in ("42", "3F"):
            raise
        offset = int(error.diag.statement_position or 1) - 1 - text.find(definition.source_sql)
        line = definition.source_sql.count("\n", 0, max(offset, 0)) + 1
        hint = f" ({error.diag.message_hint.rstrip('.')})" if error.diag.message_hint else ""
        said = f"{error.diag.message_primary}{hint}; correct it to what the database has now"
        raise Terminal(f"sql/metrics/{definition.metric}/source.sql:{line}: {said}") from error
    names = _named(connection, {column.type_code for column in description})
    return [(column.name, names.get(column.type_code, "unknown")) for column in description]


def _named(connection: Connection[Any], oids: set[int]) -> Mapping[int, str]:
    rows = connection.execute("SELECT oid::int8, typname::text FROM pg_type WHERE oid = ANY (%s)", [list(oids)])
    return dict(rows.fetchall())


def problems(definition: Definition, columns: list[tuple[str, str]]) -> list[str]:
    """One sentence for each key that does not fit; pure."""
    return list(_problems(definition, columns))


def _problems(definition: Definition, columns: list[tuple[str, str]]) -> Iterator[str]:
    known = dict(columns)
    names = [name for name, _ in columns]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"event_time: source.sql returns two columns {name}; rename one of them there"
    times = [("event_time", definition.event_time)]
    if definition.change_time is not None:
        times.append(("change_time", definition.change_time))
    if definition.interval is not None and definition.interval.until is not None:
        times.append(("interval.until", definition.interval.until))
    others = [(f"dimensions.{name}.column", one.column) for name, one in definition.dimensions.items()]
    if definition.key is not None:
        others.append(("key", definition.key))
    if definition.interval is not None:
        others += [
            (f"interval.{name}", column)
            for name in ("until_next_of", "then_by")
            if (column := getattr(definition.interval, name)) is not None
        ]
    for path, column in times:
        yield from _missing(path, column, known) or _instant(path, column, known[column], definition)
    for path, column in others:
        yield from _missing(path, column, known)
    for name, measure in definition.stored.items():
        of = getattr(measure, "of", None)
        if isinstance(of, str):
            path = f"measures.{name}.of"
            yield from _missing(path, of, known) or _fits(path, measure, of, known[of])
        yield from _compared(f"measures.{name}.where", measure.where, known)


def _missing(path: str, column: str, known: Mapping[str, str]) -> list[str]:
    if column in known:
        return []
    near = nearest(column, known)
    return [f"{path}: source.sql returns no column {column}{near or '; it returns ' + ', '.join(known)}"]


def _instant(path: str, column: str, kind: str, definition: Definition) -> Iterator[str]:
    if kind == "timestamptz":
        return
    if kind == "timestamp":
        cure = (
            f"write {column} AT TIME ZONE '{definition.time_zone}' AS {column} in source.sql, with the zone that the "
            "application writes it in, or make the column timestamptz"
        )
        yield f"{path}: {column} is a timestamp without time zone, which names no instant; {cure}"
    else:
        yield f"{path}: {column} is {_word(kind)}, and no instant; return a timestamptz in source.sql"


def _fits(path: str, measure: object, column: str, kind: str) -> Iterator[str]:
    agg = getattr(measure, "agg", "")
    match measure:
        case Distinct():
            return
        case Last(type="text"):
            return
        case Tally() if kind not in _WHOLE:
            yield f"{path}: {column} is {_word(kind)}, and a tally needs whole numbers; cast it in source.sql"
        case Sum() | Extreme() | Last() | Percentile() if kind not in _NUMBERS:
            yield f"{path}: {column} is {_word(kind)}, and {agg} needs numbers; {_cure(measure, column, kind)}"
        case Sum(type="integer") | Extreme(type="integer") | Last(type="integer") if kind in _FRACTIONS:
            yield (
                f"{path}: {column} is {kind}, and type integer would round each row; leave type out, by which it is "
                "numeric, or write type: numeric"
            )


def _cure(measure: object, column: str, kind: str) -> str:
    if kind in _TIMES:
        return f"write extract(epoch FROM {column}) AS {column} in source.sql"
    if kind == "bool":
        return f"count the rows with where: {{{column}: true}}"
    if isinstance(measure, Last):
        return "write type: text"
    return f"write {column}::numeric AS {column} in source.sql if all of it is numbers"


def _compared(path: str, where: Where, known: Mapping[str, str]) -> Iterator[str]:
    for column, test in where.items():
        if missing := _missing(f"{path}.{column}", column, known):
            yield from missing
            continue
        kind = known[column]
        for value in _values(test):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            wrong = (
                (kind in _TEXTS and not isinstance(value, str))
                or (kind in _NUMBERS and not number)
                or (kind == "bool" and not isinstance(value, bool))
            )
            if wrong:
                cure = f'write "{value}" in quotes' if kind in _TEXTS else "write a value of that kind"
                yield f"{path}.{column}: {column} is {_word(kind)}, and cannot be compared with {shown(value)}; {cure}"
                break


def _values(test: object) -> list[object]:
    if isinstance(test, list):
        return test
    if not isinstance(test, Comparison):
        return [test]
    single = (test.eq, test.ne, test.lt, test.lte, test.gt, test.gte)
    return [*(value for value in single if value is not None), *(test.not_in or ())]


def _word(kind: str) -> str:
    return _WORDS.get(kind) or ("text" if kind in _TEXTS else kind)

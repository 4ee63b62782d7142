"""Whether the columns that source.sql returns fit what the definition makes of them, whatever database has them.

Without this a naive time would shift windows by hours, a sum would round, and a text would fail in the middle of a run.
Kinds are called as Postgres calls its types; another dialect says which of them its own are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fleetgauge.errors import Terminal
from fleetgauge.files.plain import nearest, shown
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Comparison, Distinct, Extreme, Last, Percentile, Sum, Tally, Where

_WHOLE = frozenset({"int2", "int4", "int8"})
UNEVEN_NUMERIC = "numeric without scale"
"""A numeric whose values have as many decimals as each was written with."""
_UNEVEN = frozenset({UNEVEN_NUMERIC, "float4", "float8"})
"""Two texts of such a column may be one number: 1.0 and 1.00, 0 and -0."""
_FRACTIONS = _UNEVEN | {"numeric"}
_NUMBERS = _WHOLE | _FRACTIONS
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "citext"})
_TIMES = frozenset({"timestamptz", "timestamp", "date", "time", "timetz", "interval"})
_WORDS = {
    "bool": "true or false",
    "timestamp": "a timestamp without time zone",
    "date": "a date",
    "interval": "an interval",
    "timestamptz": "an instant",
    "binary": "binary",
}


@dataclass(frozen=True)
class KindRules:
    """What to do about a column, in the words of a dialect; `{column}` and `{zone}` are filled in."""

    naive: str
    instant: str
    epoch: str
    number: str
    has_booleans: bool = True
    """Else they are whole numbers."""


POSTGRES = KindRules(
    naive="write {column} AT TIME ZONE '{zone}' AS {column} in source.sql, with the zone that the application writes "
    "it in, or make the column timestamptz",
    instant="return a timestamptz in source.sql",
    epoch="write extract(epoch FROM {column}) AS {column} in source.sql",
    number="write {column}::numeric AS {column} in source.sql if all of it is numbers",
)
MYSQL = KindRules(
    naive='say in which offset from UTC the application writes it with datetime_offset (UTC, or "+09:00"), or make the '
    "column a TIMESTAMP",
    instant="return a TIMESTAMP in source.sql, or a DATETIME with datetime_offset",
    epoch="write TIMESTAMPDIFF(SECOND, '1970-01-01', {column}) AS {column} in source.sql",
    number="write CAST({column} AS DECIMAL(65, 10)) AS {column} in source.sql if all of it is numbers",
    has_booleans=False,
)


class ColumnError(Terminal):
    """Columns of a source do not fit. `problems`: each begins with the path of a key of metric.yaml."""

    def __init__(self, definition: Definition, problems: list[str]) -> None:
        self.problems = tuple(problems)
        file = f"sql/metrics/{definition.metric}/metric.yaml"
        super().__init__("; ".join(f"{file}:{definition.line(p.partition(': ')[0])}: {p}" for p in problems))


def checked(definition: Definition, columns: list[tuple[str, str]], rules: KindRules) -> None:
    """Raises `ColumnError` naming each key whose column does not fit. Touches no server."""
    found = problems(definition, columns, rules)
    if found:
        raise ColumnError(definition, found)


def problems(definition: Definition, columns: list[tuple[str, str]], rules: KindRules = POSTGRES) -> list[str]:
    """One sentence for each key that does not fit; pure. `columns`: name and kind, in order."""
    return list(_problems(definition, columns, rules))


def _problems(definition: Definition, columns: list[tuple[str, str]], rules: KindRules) -> Iterator[str]:
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
    orders = [
        (f"interval.{name}", column)
        for name in ("until_next_of", "then_by")
        if definition.interval is not None and (column := getattr(definition.interval, name)) is not None
    ]
    for path, column in times:
        yield from _missing(path, column, known) or _instant(path, column, known[column], definition, rules)
    for path, column in others:
        yield from _missing(path, column, known) or _told_apart(path, column, known[column])
    for path, column in orders:
        yield from _missing(path, column, known) or _with_a_text(path, column, known[column])
    for name, measure in definition.stored.items():
        of = getattr(measure, "of", None)
        if isinstance(of, str):
            path = f"measures.{name}.of"
            yield from _missing(path, of, known) or _fits(path, measure, of, known[of], rules)
        yield from _compared(f"measures.{name}.where", measure.where, known, rules)


def _missing(path: str, column: str, known: Mapping[str, str]) -> list[str]:
    if column in known:
        return []
    near = nearest(column, known)
    return [f"{path}: source.sql returns no column {column}{near or '; it returns ' + ', '.join(known)}"]


def _instant(path: str, column: str, kind: str, definition: Definition, rules: KindRules) -> Iterator[str]:
    if kind == "timestamptz":
        return
    if kind == "timestamp":
        cure = rules.naive.format(column=column, zone=definition.time_zone)
        yield f"{path}: {column} is a timestamp without time zone, which names no instant; {cure}"
    else:
        yield f"{path}: {column} is {_word(kind)}, and no instant; {rules.instant}"


def _with_a_text(path: str, column: str, kind: str) -> Iterator[str]:
    if kind == "binary":
        yield f"{path}: {column} is binary, which no label shows; write HEX({column}) AS {column} in source.sql"


def _told_apart(path: str, column: str, kind: str) -> Iterator[str]:
    yield from _with_a_text(path, column, kind)
    if kind in _UNEVEN:
        yield (
            f"{path}: {column} is {kind}, of which one number has several texts (1.0 and 1.00, 0 and -0), each a value "
            f"of its own here; write CAST({column} AS decimal(20, 2)) AS {column} in source.sql, with as many decimals "
            "as count"
        )


def _fits(path: str, measure: object, column: str, kind: str, rules: KindRules) -> Iterator[str]:
    agg = getattr(measure, "agg", "")
    match measure:
        case Distinct():
            yield from _told_apart(path, column, kind)
        case Last(type="text"):
            return
        case Tally() if kind not in _WHOLE:
            yield f"{path}: {column} is {_word(kind)}, and a tally needs whole numbers; cast it in source.sql"
        case Sum() | Extreme() | Last() | Percentile() if kind not in _NUMBERS:
            yield f"{path}: {column} is {_word(kind)}, and {agg} needs numbers; {_cure(measure, column, kind, rules)}"
        case Sum(type="integer") | Extreme(type="integer") | Last(type="integer") if kind in _FRACTIONS:
            yield (
                f"{path}: {column} is {kind}, and type integer would round each row; leave type out, by which it is "
                "numeric, or write type: numeric"
            )


def _cure(measure: object, column: str, kind: str, rules: KindRules) -> str:
    if kind in _TIMES:
        return rules.epoch.format(column=column)
    if kind == "bool":
        return f"count the rows with where: {{{column}: true}}"
    if isinstance(measure, Last):
        return "write type: text"
    return rules.number.format(column=column)


def _compared(path: str, where: Where, known: Mapping[str, str], rules: KindRules) -> Iterator[str]:
    for column, test in where.items():
        if missing := _missing(f"{path}.{column}", column, known):
            yield from missing
            continue
        kind = known[column]
        for value in _values(test):
            number = isinstance(value, int | float) and not (rules.has_booleans and isinstance(value, bool))
            wrong = (
                (kind in _TEXTS and not isinstance(value, str))
                or (kind in _NUMBERS and not number)
                or (kind == "bool" and not isinstance(value, bool))
            )
            if wrong:
                cure = f'write "{value}" in quotes' if kind in _TEXTS else "write a value of that kind"
                yield f"{path}.{column}: {column} is {_word(kind)}, and cannot be compared with {shown(value)}; {cure}"
                break


def is_of_known_kind(kind: str) -> bool:
    """Whether `problems` itself tells which values a column of the kind can be compared with; else the server does."""
    return kind in _TEXTS | _NUMBERS or kind == "bool"


def _values(test: object) -> list[object]:
    if isinstance(test, list):
        return test
    if not isinstance(test, Comparison):
        return [test]
    single = (test.eq, test.ne, test.lt, test.lte, test.gt, test.gte)
    return [*(value for value in single if value is not None), *(test.not_in or ())]


def _word(kind: str) -> str:
    return _WORDS.get(kind) or ("text" if kind in _TEXTS else kind)

"""The SQL that makes attempts of events: the templates in `sql/`, filled with the names of `columns`."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from fleetgauge.commands.columns import (
    AGREED,
    ANSWER,
    ATTEMPT,
    ATTEMPT_KEY,
    EVENT,
    EVENT_KEY,
    EVENT_REST,
    SENT,
    SHARED,
    EventColumn,
)
from fleetgauge.postgres import sql

STATEMENTS = ("stage", "drop_expired", "recall", "merge", "close_overdue", "reopen")
"""What `statement` knows, in the order in which a batch needs them."""

_COLUMNS = tuple(column.name for column in EVENT)


@cache
def statement(name: str) -> str:
    """The text of one statement. Reads a file of the package, once."""
    text = (files("fleetgauge.commands") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return sql.SQL(text).format(**_names()).as_string().rstrip()


def _names() -> dict[str, sql.Composable]:
    """What the templates leave open: lists of columns, mostly, each under an alias or as fields of a kept row."""
    rest_of_event = [name for name in _COLUMNS if name not in (*EVENT_KEY, "requested_at")]
    rest_of_attempt = [name for name in ATTEMPT if name not in (*ATTEMPT_KEY, "requested_at")]
    return {
        "definitions": sql.SQL(",\n    ").join(_definition(column) for column in EVENT),
        "columns": _list(_COLUMNS),
        "stored": _list(_COLUMNS, "e"),
        "staged_key": _list(EVENT_KEY, "s"),
        "staged_rest": _list(EVENT_REST, "s"),
        "told_attempt_key": _list(ATTEMPT_KEY, "t"),
        "told_event": _fields(_COLUMNS, "t", "event"),
        "agreed": _fields(AGREED, "t", "event"),
        "answer": _fields(ANSWER, "t", "event"),
        "grouped_attempt_key": _list(ATTEMPT_KEY, "g"),
        "described": _fields(SHARED, "g", "described", named=True),
        "implied_event": sql.SQL(", ").join(_implied(column) for column in EVENT),
        "implied_same": _same(ATTEMPT_KEY, "s", "g"),
        "event_key": _list(EVENT_KEY),
        "event_columns": _list(_COLUMNS, "e"),
        "event_assignments": _assignments(rest_of_event),
        "written_event_values": _list(rest_of_event, "w"),
        "excluded_event_values": _list(rest_of_event, "excluded"),
        "staged_same_event": _same(EVENT_KEY, "s", "e"),
        "written_same_event": _same(EVENT_KEY, "w", "s"),
        "attempt_key": _list(ATTEMPT_KEY),
        "attempt_columns": _list(ATTEMPT),
        "attempt_values": _list(ATTEMPT, "a"),
        "attempt_assignments": _assignments(rest_of_attempt),
        "written_attempt_values": _list(rest_of_attempt, "w"),
        "excluded_attempt_values": _list(rest_of_attempt, "excluded"),
        "staged_same_attempt": _same(ATTEMPT_KEY, "s", "a"),
        "written_same_attempt": _same(ATTEMPT_KEY, "w", "s"),
    }


def _definition(column: EventColumn) -> sql.Composable:
    kind = 'text COLLATE "C"' if column.kind == "text" else column.kind
    return sql.SQL("{} {}{}").format(_name(column.name), sql.SQL(kind), sql.SQL("" if column.optional else " NOT NULL"))


def _implied(column: EventColumn) -> sql.Composable:
    """What a message says that no event tells of."""
    match column.name:
        case "step":
            return sql.SQL("{}").format(sql.Literal(SENT))
        case "event_id":
            return sql.SQL("''")
        case "at":
            return sql.SQL("coalesce((g.sent).at, least((g.delivered).at, (g.responded).at))")
        case name if name in ATTEMPT_KEY:
            return _name("g", name)
        case name if name in SHARED:
            return sql.SQL("coalesce((g.sent).{0}, (g.described).{0})").format(_name(name))
    return sql.SQL("NULL")


def _name(*parts: str) -> sql.SQL:
    """A name of ours, bare: a reader of a plan or a log shall find it as it stands in the templates."""
    return sql.SQL(".".join(parts))


def _list(names: Iterable[str], alias: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(_name(*([] if alias is None else [alias]), name) for name in names)


def _fields(names: Iterable[str], alias: str, row: str, *, named: bool = False) -> sql.Composed:
    form = sql.SQL("({0}).{1} AS {1}" if named else "({0}).{1}")
    return sql.SQL(", ").join(form.format(_name(alias, row), _name(name)) for name in names)


def _same(names: Iterable[str], one: str, other: str) -> sql.Composed:
    form = sql.SQL("{} = {}")
    return sql.SQL(" AND ").join(form.format(_name(one, n), _name(other, n)) for n in names)


def _assignments(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(_name(name)) for name in names)

"""The views of `views.sql`, applied so that what others have built on them stays."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import TokenType
from sqlglot.dialects.postgres import Postgres

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, Error, errors, sql
from fleetgauge.rollup.definitions import views_sql
from fleetgauge.rollup.store.catalogue import (
    Saved,
    clear,
    columns_of,
    grant_viewers,
    inherit_comments,
    set_options,
    state_of,
)
from fleetgauge.rollup.store.dependents import dependents
from fleetgauge.rollup.store.tables import VIEWS
from fleetgauge.rollup.store.views import ViewColumn, arranged, retyped

_PROBE = "fleetgauge_probe"


@dataclass(frozen=True)
class Statement:
    """One statement of a script."""

    text: str
    view: str | None = None
    """Without its schema, where it makes a view of ours."""
    query: str = ""
    """What the view selects."""


def statements(script: str) -> list[Statement]:
    """The script's statements, in order. Never raises: what is no view of ours is left to the server."""
    found: list[Statement] = []
    tokens: list[Any] = []
    for token in [*Postgres().tokenize(script), None]:
        if token is not None and token.token_type != TokenType.SEMICOLON:
            tokens.append(token)
        elif tokens:
            found.append(_statement(script, tokens))
            tokens = []
    return found


def names(scripts: Collection[str]) -> list[str]:
    """The views that the scripts make."""
    return [one.view for script in scripts for one in statements(script) if one.view is not None]


def apply(connection: Connection, scripts: Mapping[str, str], dropped: Sequence[Saved] = ()) -> None:
    """Make the views of every metric's script, keep the columns that others may use, and give back what was `dropped`.

    Inside the caller's transaction, as the role that owns them. Raises `Terminal` for a script that fails, and when a
    view would have to go on which something depends.
    """
    own = names(scripts.values())
    options = {name: state_of(connection, name).options for name in own}
    saved = list(dropped)
    for metric, script in scripts.items():
        try:
            with connection.transaction():
                for statement in views_sql.statements(script):  # refuses whatever is no view of ours or its comment
                    # In binary, by which the server takes one statement alone.
                    connection.execute(statement.encode(), binary=True)
        except errors.InvalidTableDefinition:
            for one in statements(script):
                saved += _one(connection, metric, one, own)
        except ValueError as error:
            raise Terminal(f"sql/metrics/{metric}/views.sql: {error}") from None
        except Error as error:
            raise _failed(metric, error) from error
    for name in own:
        grant_viewers(connection, name)
        set_options(connection, name, options[name])  # a view that is replaced loses them
    for view in saved:
        if not columns_of(connection, VIEWS, view.view):
            raise Terminal(f"view {VIEWS}.{view.view} had to be made again, but no views.sql makes it; add it there")
        view.restore(connection)
    for name in own:
        inherit_comments(connection, name)


def _one(connection: Connection, metric: str, statement: Statement, own: Collection[str]) -> Iterator[Saved]:
    """Make one view although its columns differ: new ones at the end, and NULL where one is gone."""
    try:
        if statement.view is None:
            connection.execute(statement.text.encode())
            return
        before = state_of(connection, statement.view)
        wanted = _columns(connection, statement.query)
        if changed := retyped(wanted, before.columns):
            if found := dependents(connection, [statement.view], own):
                raise Terminal(
                    f"sql/metrics/{metric}/views.sql: {', '.join(f'{one.name} becomes {one.type}' for one in changed)} "
                    f"in {VIEWS}.{statement.view}, for which it must be dropped, and these depend on it: "
                    f"{'; '.join(map(str, found))}; drop them, run fleetgauge migrate and make them again, or give "
                    "the column a new name"
                )
            yield from clear(connection, statement.view, own)
            connection.execute(statement.text.encode())
            return
        known = {column.name for column in wanted}
        shown = [
            sql.Identifier("q", column.name)
            if column.name in known
            else sql.SQL("{} AS {}").format(column.null(), sql.Identifier(column.name))
            for column in arranged(wanted, before.columns)
        ]
        text = sql.SQL("CREATE OR REPLACE VIEW {} AS SELECT {} FROM (\n").format(
            sql.Identifier(VIEWS, statement.view), sql.SQL(", ").join(shown)
        )
        connection.execute(f"{text.as_string(connection)}{statement.query}\n) AS q".encode())
    except Error as error:
        raise _failed(metric, error) from error


def _columns(connection: Connection, query: str) -> tuple[ViewColumn, ...]:
    """What a query would show, by a view that is gone at once."""
    connection.execute(f"CREATE TEMP VIEW {_PROBE} AS {query}".encode())
    found = columns_of(connection, "pg_temp", _PROBE)
    connection.execute(f"DROP VIEW pg_temp.{_PROBE}".encode())
    return found


def _failed(metric: str, error: Error) -> Terminal:
    return Terminal(
        f"sql/metrics/{metric}/views.sql failed: {error.diag.message_primary or error}; correct it and migrate again"
    )


def _statement(script: str, tokens: Sequence[Any]) -> Statement:
    text = script[tokens[0].start : tokens[-1].end + 1]
    words = [token.text.upper() for token in tokens]
    at = 3 if words[1:3] == ["OR", "REPLACE"] else 1
    head = [*words[:1], *words[at : at + 3]]
    if head == ["CREATE", "VIEW", VIEWS.upper(), "."] and words[at + 4 : at + 5] == ["AS"] and len(tokens) > at + 5:
        return Statement(text, tokens[at + 3].text, script[tokens[at + 5].start : tokens[-1].end + 1])
    return Statement(text)

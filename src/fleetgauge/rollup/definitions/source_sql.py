"""What may stand in source.sql: one SELECT that only reads, and whose rows depend on nothing but the tables' rows.

A team writes its own source.sql, so this tells of mistakes and is no wall against a will: what a query can reach and do
is decided by the grants of the reader's login, in a read-only transaction on a standby.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from sqlglot import Token, exp

from fleetgauge.rollup.definitions import sql_words
from fleetgauge.rollup.definitions.sql_functions import BY_DIALECT, Unfit
from fleetgauge.rollup.definitions.sql_words import Dialect, Problem

_WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "SHARE"}
_CUTS = {"LIMIT", "OFFSET", "FETCH", "ORDER", "ORDER BY"}

_RUN_BY_THE_SERVER = ("!", "M!")
"""How such comments begin."""
_TEXTS_OF_THE_MOMENT = re.compile(r"\W*(now|today|tomorrow|yesterday)\b[\d\s:.,+/a-z_-]*\W*")
"""Also with a time of day or a zone behind them, or in an array."""
_AS_TIMES = (exp.Cast, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.Coalesce, exp.Greatest, exp.Least, exp.Date)
"""Where such a text may be read as a time."""

_CURE = (
    "every window is read by itself, and again when a row changes, so the rows must not depend on when it is asked; "
    "remove it, or have production write the value into a column"
)


def problems(text: str, dialect: Dialect = "postgres") -> list[Problem]:
    """What keeps `text` from being a source: it must be one plain SELECT that can stand in a FROM clause."""
    return [*_found(text, dialect)]


@lru_cache(maxsize=256)  # a text is looked at again by everything that loads a definition
def _found(text: str, dialect: Dialect) -> tuple[Problem, ...]:
    try:
        tokens, statements = sql_words.parsed(text, dialect)
    except sql_words.NotSql as error:
        return ((error.line, str(error)),)
    if len(statements) != 1 or not isinstance(statements[0], exp.Query) or tokens[0].text.upper() == "FROM":
        second = _line(tokens[_end_of_first(tokens) :], None) if len(statements) > 1 else _line(tokens, None)
        near = sql_words.beginning(tokens) if len(statements) == 1 else ""
        return ((second, f"must be exactly one SELECT{near or '; keep the one that returns the facts'}"),)
    return tuple(dict.fromkeys(_within(statements[0], tokens, BY_DIALECT[dialect])))


def problems_behind(text: str, dialect: Dialect) -> list[str]:
    """The same of a view that source.sql reads, or of a function's body, as the server has it; rows may be ordered.

    What is no SELECT that can be understood is looked at word by word.
    """
    unfit = BY_DIALECT[dialect]
    try:
        tokens, statements = sql_words.parsed(text, dialect)
    except sql_words.NotSql:
        tokens, statements = sql_words.tokens_of(text, dialect), []
    query = statements[0] if len(statements) == 1 else None
    found = _words_of_the_moment(tokens, unfit)
    if isinstance(query, exp.Query):
        found = _within(query, tokens, unfit, ordered=True)
    return list(dict.fromkeys(said for _, said in found))


def names_in(text: str, dialect: Dialect) -> tuple[list[tuple[str, ...]], list[str]]:
    """Tables and views as the query names them, by their parts; functions that it calls. Empty for what is not SQL.

    Names without quotes are in lower case, as Postgres reads them.
    """
    try:
        tokens, statements = sql_words.parsed(text, dialect)
    except sql_words.NotSql:
        return [], []
    named = [table.parts for statement in statements for table in statement.find_all(exp.Table)]
    tables = {
        tuple(part.name if dialect != "postgres" or part.args.get("quoted") else part.name.lower() for part in parts)
        for parts in named
    }
    calls = {token.text for token, after in pairwise(tokens) if after.text == "("}
    tables = {parts for parts in tables if parts and all(parts)}  # a function in FROM has no name
    return sorted(tables), sorted(calls | {name.lower() for name in calls})


def line_of(text: str, name: str, dialect: Dialect) -> int:
    """The line of source.sql on which a name stands first."""
    tokens = sql_words.tokens_of(text, dialect)
    return next((token.line for token in tokens if token.text.lower() == name.lower()), 1)


def _within(query: exp.Query, tokens: list[Token], unfit: Unfit, *, ordered: bool = False) -> Iterator[Problem]:
    if query.find(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into, exp.Lock):
        yield _line(tokens, _WRITES), "must only read: no INSERT, UPDATE, DELETE, MERGE, INTO, FOR UPDATE; remove it"
    if any(query.args.get(part) for part in ("limit", "offset", *(() if ordered else ("order",)))):
        line = _line([*reversed(tokens)], _CUTS)
        yield line, "must not have LIMIT, OFFSET or ORDER BY: every window is read by itself; remove it"
    yield from _cuts(query, tokens)
    if query.find(exp.Placeholder, exp.Parameter, exp.SessionParameter):
        line = next((t.line for t in tokens if t.text in ("$", "%", "?", ":", "@", "@@")), 1)
        yield line, "must not have parameters: the engine adds the time predicates around it; write the value"
    for token, after in pairwise(tokens):
        if after.text == "(" and unfit.side_effects.fullmatch(token.text.lower()):
            yield token.line, f"must only read: {token.text} does more than that; remove it"
    for token in tokens:
        if any(comment.startswith(_RUN_BY_THE_SERVER) for comment in token.comments):
            yield token.line, "must have no /*! … */: MySQL and MariaDB run what stands in it; write it plainly"
    yield from _words_of_the_moment(tokens, unfit)
    yield from _texts_of_the_moment(query, tokens)
    if query.find(exp.Window):
        line = _line(tokens, {"OVER"})
        yield (
            line,
            "must have no window function (OVER): a row's value would change with other rows, which no change of its "
            "own tells; use until_next_of for the next row, or have production write the value into a column",
        )
    for select in query.find_all(exp.Select):
        distinct = select.args.get("distinct")
        if distinct is not None and distinct.args.get("on") is not None:
            line = _line(tokens, {"DISTINCT"})
            yield line, "must not have DISTINCT ON: which row is kept changes with other rows; remove it"
    if query.find(exp.TableSample):
        yield _line(tokens, {"TABLESAMPLE"}), f"TABLESAMPLE takes other rows each time: {_CURE}"


def _cuts(query: exp.Query, tokens: list[Token]) -> Iterator[Problem]:
    """LIMIT within: fine where it picks one row for each fact (a subquery in a value, LATERAL), else rows are lost."""
    for limited in query.find_all(exp.Query):
        if limited is query or not any(limited.args.get(part) for part in ("limit", "offset")):
            continue
        above = limited.find_ancestor(exp.Lateral, exp.CTE, exp.From, exp.Join, exp.Exists, exp.In)
        inner = limited.parent
        if isinstance(above, exp.Lateral | exp.Exists | exp.In):
            continue
        if isinstance(inner, exp.Subquery) and not isinstance(inner.parent, exp.From | exp.Join | exp.SetOperation):
            continue
        line = _line([*reversed(tokens)], {"LIMIT", "OFFSET", "FETCH"})
        yield line, "must not cut rows by LIMIT or OFFSET: every window is read by itself; remove it"


def _words_of_the_moment(tokens: list[Token], unfit: Unfit) -> Iterator[Problem]:
    padded = [None, *tokens, None]
    for before, token, after in zip(padded, tokens, padded[2:], strict=False):
        word = token.text.lower()
        column = before is not None and (before.text == "." or before.text.upper() == "AS")
        called = after is not None and after.text == "("
        if token.token_type.name.endswith("STRING"):
            continue
        plain = token.token_type.name != "IDENTIFIER"
        alone = word in unfit.words and plain and not column
        if (called and unfit.of_the_moment.fullmatch(word)) or alone or word in unfit.of_a_copy:
            yield token.line, f"{token.text} gives another value each time: {_CURE}"
        if called and word in unfit.from_now and _arguments(tokens, token) == unfit.from_now[word]:
            how = "one argument" if unfit.from_now[word] else "no argument"
            yield token.line, f"{word} with {how} counts from today: {_CURE}"


def _texts_of_the_moment(query: exp.Query, tokens: list[Token]) -> Iterator[Problem]:
    for literal in query.find_all(exp.Literal, exp.RawString, exp.ByteString):
        found = (literal.is_string or not isinstance(literal, exp.Literal)) and _TEXTS_OF_THE_MOMENT.fullmatch(
            literal.name.lower()
        )
        if found and isinstance(_around(literal), _AS_TIMES):
            line = next((t.line for t in tokens if t.text == literal.name), 1)
            yield line, f"'{literal.name}' is another time each day: {_CURE}"


def _around(literal: exp.Expression) -> object:
    """What a value stands in, parentheses aside."""
    inside = literal.parent
    while isinstance(inside, exp.Paren):
        inside = inside.parent
    return inside


def _arguments(tokens: list[Token], function: Token) -> int:
    """How many arguments a call has."""
    at = next(i for i, token in enumerate(tokens) if token is function) + 1
    depth, commas, something = 0, 0, False
    for token in tokens[at:]:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            break
        something = something or token.text != "("
        commas += depth == 1 and token.text == ","
    return commas + 1 if something else 0


def _end_of_first(tokens: list[Token]) -> int:
    return next((at + 1 for at, token in enumerate(tokens) if token.text == ";"), 0)


def _line(tokens: list[Token], words: set[str] | None) -> int:
    """Line of the first token that is one of the words; of the first of all when there is none."""
    found = next((t for t in tokens if words is not None and t.text.upper() in words), None)
    return (found or tokens[0]).line if tokens else 1

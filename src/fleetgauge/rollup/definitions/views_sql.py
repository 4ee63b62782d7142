"""What may stand in views.sql: `CREATE [OR REPLACE] VIEW metrics.…` and `COMMENT ON` them, nothing else.

`migrate` runs it with the rights of the writers, so a statement that is not one of these is refused before anything is
run, and each is sent by itself, so that the server never takes for two what is one here.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from sqlglot import Token, exp

from fleetgauge.rollup.definitions import sql_words
from fleetgauge.rollup.definitions.sql_functions import POSTGRES
from fleetgauge.rollup.definitions.sql_words import Problem

SCHEMA = "metrics"
_ALLOWED = f"only CREATE [OR REPLACE] VIEW {SCHEMA}.name AS SELECT … and COMMENT ON VIEW or COLUMN may stand here"


def problems(text: str) -> list[Problem]:
    """What must not stand there."""
    return [*_found(text)]


@lru_cache(maxsize=256)  # a text is looked at again by everything that loads a definition
def _found(text: str) -> tuple[Problem, ...]:
    try:
        return tuple(_problems(text))
    except sql_words.NotSql as error:
        return ((error.line, str(error)),)


def statements(text: str) -> list[str]:
    """The statements, each by itself. Raises `ValueError` for a text that has `problems`."""
    found = problems(text)
    if found:
        raise ValueError("; ".join(f"line {line}: {said}" for line, said in found))
    return [text[part[0].start : part[-1].end + 1] for part in _split(sql_words.tokenised(text))]


def _problems(text: str) -> Iterator[Problem]:
    for part in _split(sql_words.tokenised(text)):
        line = part[0].line
        try:
            own, found = sql_words.parsed(text[part[0].start : part[-1].end + 1])
        except sql_words.NotSql:
            sql_words.parsed(text)  # raises, with lines that count from the top
            raise
        if len(found) != 1:
            yield line, f"{_ALLOWED}; correct it"
        else:
            yield from ((line, said) for said in _of(found[0], own))


def _of(statement: exp.Expr, tokens: list[Token]) -> Iterator[str]:
    first = tokens[0].text.upper()
    if isinstance(statement, exp.Comment) and str(statement.args.get("kind")).upper() in ("VIEW", "COLUMN"):
        column = statement.this if isinstance(statement.this, exp.Column) else None
        schema = column.db if column is not None else statement.this.db
        if schema != SCHEMA:
            yield f"comments on something outside schema {SCHEMA}; write {SCHEMA}. before the view's name"
        return
    if not isinstance(statement, exp.Create) or statement.kind != "VIEW" or _more_than_a_view(tokens):
        words = " ".join(token.text.upper() for token in tokens[:2])
        yield f"{words} is not allowed: {_ALLOWED}; remove it" if first else f"{_ALLOWED}; remove it"
        return
    target = statement.this.this if isinstance(statement.this, exp.Schema) else statement.this
    if not isinstance(target, exp.Table) or target.db != SCHEMA or target.catalog:
        yield f"makes a view outside schema {SCHEMA}; write {SCHEMA}. before its name"
    body = statement.expression
    if not isinstance(body, exp.Query):
        yield "a view must be a SELECT; write AS SELECT …"
    elif body.find(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into, exp.Lock):
        yield "a view must only read: no INSERT, UPDATE, DELETE, MERGE, INTO, FOR UPDATE; remove it"
    for token, after in pairwise(tokens):
        if after.text == "(" and POSTGRES.side_effects.fullmatch(token.text.lower()):
            yield f"a view must only read: {token.text} does more than that; remove it"


def _more_than_a_view(tokens: list[Token]) -> bool:
    """TEMPORARY, MATERIALIZED and the like."""
    words = [token.text.upper() for token in tokens[:4]]
    return words[:2] != ["CREATE", "VIEW"] and words != ["CREATE", "OR", "REPLACE", "VIEW"]


def _split(tokens: list[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in tokens:
        if token.text == ";" and token.token_type.name == "SEMICOLON":
            if part:
                yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part

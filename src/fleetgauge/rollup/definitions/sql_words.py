"""What the SQL parser finds, in the words of who wrote the query."""

import re
from typing import Literal

import sqlglot
from sqlglot import Token, exp
from sqlglot.dialects import Dialect as Sqlglot

from fleetgauge.files.plain import nearest

Dialect = Literal["postgres", "mysql"]
"""As sqlglot calls them; MariaDB's is that of MySQL."""

Problem = tuple[int, str]
"""A line of the text, from 1, and what is wrong there."""

_BRACES = re.compile(r"\{\{|\{%|\{#")
_BEGINNINGS = ("SELECT", "WITH", "VALUES", "CREATE", "COMMENT")


class NotSql(ValueError):
    """A text is not SQL; `line` counts from 1."""

    def __init__(self, line: int, said: str) -> None:
        self.line = line
        super().__init__(said)


def parsed(text: str, dialect: Dialect = "postgres") -> tuple[list[Token], list[exp.Expr]]:
    """The tokens and the statements. Raises `NotSql`."""
    rules = Sqlglot.get_or_raise(dialect)
    tokens = tokenised(text, dialect)
    try:
        return tokens, [one for one in rules.parser().parse(list(tokens), text) if one is not None]
    except sqlglot.errors.ParseError as error:
        first = error.errors[0] if error.errors else {}
        if near := beginning(tokens):
            raise NotSql(tokens[0].line, f"is not SQL: begins with {tokens[0].text[:40]}{near}") from None
        raise NotSql(int(first.get("line") or 1), f"is not SQL: {_cause(first)}; correct it") from None
    except sqlglot.errors.SqlglotError:
        raise NotSql(1, "is not SQL; correct it") from None
    except RecursionError:
        raise NotSql(1, "is nested too deeply; write it flatter") from None
    except Exception:  # the parser's own faults on texts that nobody foresaw
        raise NotSql(1, "is not SQL that can be understood; write it more plainly") from None


def tokenised(text: str, dialect: Dialect = "postgres") -> list[Token]:
    """The tokens. Raises `NotSql`."""
    try:
        tokens = list(Sqlglot.get_or_raise(dialect).tokenize(text))
    except sqlglot.errors.SqlglotError as error:
        found = re.search(r"(?:from |[Ll]ine )(\d+)", str(error))
        line = int(found[1]) if found else _unclosed(text)
        if _BRACES.search(text):
            raise _template(text) from None
        raise NotSql(line, "is not SQL: a quote or a comment that begins here is not closed; close it") from None
    if _BRACES.search(bare := _without_strings(text, tokens)):
        raise _template(bare)
    return tokens


def tokens_of(text: str, dialect: Dialect) -> list[Token]:
    """The tokens; none of what cannot be cut into any."""
    try:
        return tokenised(text, dialect)
    except NotSql:
        return []


def beginning(tokens: list[Token]) -> str:
    """`; did you mean SELECT?` where the first word is nearly a word that may stand there."""
    return nearest(tokens[0].text.upper(), _BEGINNINGS) if tokens and tokens[0].text.upper() not in _BEGINNINGS else ""


def _template(text: str) -> NotSql:
    braces = _BRACES.search(text)
    line = text.count("\n", 0, braces.start()) + 1 if braces else 1
    return NotSql(line, f"{braces[0] if braces else '{{'} begins a template, and nothing fills it in; write plain SQL")


def _without_strings(text: str, tokens: list[Token]) -> str:
    """The text with blanks in place of what stands in quotes."""
    kept = list(text)
    for token in tokens:
        if token.token_type.name.endswith(("STRING", "IDENTIFIER")):
            for at in range(token.start, min(token.end + 1, len(kept))):
                kept[at] = kept[at] if kept[at] == "\n" else " "
    return "".join(kept)


def _cause(error: dict[str, object]) -> str:
    said, at = str(error.get("description") or ""), str(error.get("highlight") or "").strip()
    near = f" near {at[:40]}" if at else ""
    if wanted := re.search(r"Expecting (\)|\(|\]|,)", said):
        return f"a {wanted[1]} is missing{near}"
    if "END after CASE" in said:
        return f"CASE has no END{near}"
    if re.search(r"Required keyword|Expected table name|Expected type", said):
        return f"something is missing after {at[:40]}" if at else "something is missing at the end"
    return f"this cannot stand here{near}"


def _unclosed(text: str) -> int:
    """The line of the last quote or comment that opens without an end, as far as it can be told."""
    opened, line = None, 1
    at = 0
    while at < len(text):
        if opened is None and text[at] in "'\"":
            opened, line = text[at], text.count("\n", 0, at) + 1
        elif opened is None and text.startswith("/*", at):
            opened, line = "*/", text.count("\n", 0, at) + 1
        elif opened is None and text.startswith("--", at):
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif opened is not None and text.startswith(opened, at):
            opened = None
        at += 1
    return line

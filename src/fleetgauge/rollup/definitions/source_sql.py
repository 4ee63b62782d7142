"""What may stand in source.sql: one SELECT that only reads. Touches no database.

A team writes its own source.sql, so this tells of mistakes and is no wall against a will: what a query can reach and do
is decided by the grants of the reader's login, in a read-only transaction on a standby.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import sqlglot
from sqlglot import Token, exp
from sqlglot.dialects.postgres import Postgres

Problem = tuple[int, str]
"""A line of the text, from 1, and what is wrong there."""

_WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "SHARE"}
_CUTS = {"LIMIT", "OFFSET", "FETCH", "ORDER", "ORDER BY"}

_SIDE_EFFECTS = re.compile(
    r"dblink\w*|lo_\w+|pg_(read|write|ls|stat)_(binary_)?(file|dir|\w+dir)|pg_(terminate|cancel)_backend|pg_sleep\w*"
    r"|pg_(try_)?advisory_\w+|pg_notify|pg_reload_conf|pg_rotate_logfile|pg_promote|pg_switch_wal|pg_wal_replay_\w+"
    r"|pg_create_\w+|pg_drop_\w+|pg_logical_\w+|set_config|nextval|setval|query_to_xml\w*|cursor_to_xml\w*"
    r"|table_to_xml\w*|schema_to_xml\w*|database_to_xml\w*|pg_export_snapshot|pg_stat_reset\w*"
)
"""Functions that do something besides computing a value, or run text as SQL."""


def problems(text: str) -> list[Problem]:
    """What keeps `text` from being a source: it must be one plain SELECT that can stand in a FROM clause."""
    try:
        tokens = Postgres().tokenize(text)
        statements = [s for s in sqlglot.parse(text, dialect="postgres") if s is not None]
    except sqlglot.errors.ParseError as error:
        first = error.errors[0] if error.errors else {}
        said = first.get("description") or str(error).splitlines()[0]
        return [(first.get("line") or 1, f"is not SQL: {str(said).rstrip('.')}; correct it")]
    except sqlglot.errors.SqlglotError as error:
        said = str(error).splitlines()[0]
        place = re.search(r" from (\d+):", said)
        return [(int(place[1]) if place else 1, f"is not SQL: {said}; correct it")]
    except RecursionError:
        return [(1, "is nested too deeply; write it flatter")]
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        second = _line(tokens[_end_of_first(tokens) :], None) if len(statements) > 1 else _line(tokens, None)
        return [(second, "must be exactly one SELECT; keep the one that returns the facts")]
    return list(_within(statements[0], tokens))


def _within(query: exp.Query, tokens: list[Token]) -> Iterator[Problem]:
    if query.find(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into, exp.Lock):
        yield _line(tokens, _WRITES), "must only read: no INSERT, UPDATE, DELETE, MERGE, INTO, FOR UPDATE; remove it"
    if any(query.args.get(part) for part in ("limit", "offset", "order")):
        line = _line([*reversed(tokens)], _CUTS)
        yield line, "must not have LIMIT, OFFSET or ORDER BY: every window is read by itself; remove it"
    if query.find(exp.Placeholder, exp.Parameter):
        line = next((t.line for t in tokens if t.text in ("$", "%", "?", ":")), 1)
        yield line, "must not have parameters: the engine adds the time predicates around it; write the value"
    for token, after in pairwise(tokens):
        if after.text == "(" and _SIDE_EFFECTS.fullmatch(token.text.lower()):
            yield token.line, f"must only read: {token.text} does more than that; remove it"


def _end_of_first(tokens: list[Token]) -> int:
    return next((at + 1 for at, token in enumerate(tokens) if token.text == ";"), 0)


def _line(tokens: list[Token], words: set[str] | None) -> int:
    """Line of the first token that is one of the words; of the first of all when there is none."""
    found = next((t for t in tokens if words is not None and t.text.upper() in words), None)
    return (found or tokens[0]).line if tokens else 1

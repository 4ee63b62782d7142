"""What would be asked, as text that can be read and run: SQL, or for documents the bodies of the searches."""

import json
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from sqlglot import TokenType
from sqlglot.dialects import Dialect as Sqlglot

from fleetgauge.errors import Terminal
from fleetgauge.postgres import sql
from fleetgauge.progress.cursor import Offsets
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.definitions.sql_words import Dialect
from fleetgauge.rollup.sources import elasticsearch_query, postgres_held, postgres_sql
from fleetgauge.rollup.sources.elasticsearch_query import Json
from fleetgauge.rollup.spans import HOUR, MINUTE, Span, floor
from fleetgauge.rollup.store import tables, views
from fleetgauge.rollup.store.store_sql import Statements

What = Literal["windows", "cells", "touched", "totals", "tables", "views"]

_BREAKS = {
    *(TokenType.SELECT, TokenType.FROM, TokenType.WHERE, TokenType.GROUP_BY, TokenType.ORDER_BY, TokenType.UNION),
    *(TokenType.HAVING, TokenType.WINDOW, TokenType.LIMIT),
}
_JOINS = {TokenType.JOIN, TokenType.LEFT, TokenType.FULL, TokenType.CROSS, TokenType.INNER}


def render(definition: Definition, what: What, grain: Grain, now: datetime) -> str:
    """The text, over the last whole window of the grain before `now`. Touches no server.

    Raises `Terminal` for what a source of this kind is never asked.
    """
    if grain not in definition.grains:
        if grain != "minute":
            raise Terminal(f"metric {definition.metric} has no {grain}s; its finest grain is the {definition.finest}")
        grain = definition.finest
    if what in ("tables", "views"):
        make = tables.create_table if what == "tables" else views.create_view
        levels = [level for level in definition.levels if level.grain == grain]
        return "\n\n".join(f"{pretty(_text(make(definition, level)))};" for level in levels)
    span = _last(definition, grain, now)
    if what == "windows" and grain != definition.finest:
        return _merged(definition, grain, span)
    if definition.documents is not None:
        return "\n\n".join(json.dumps(body, indent=2) for body in _searches(definition, what, span))
    if definition.dialect == "mysql":
        return "\n\n".join(f"{pretty(query, 'mysql')};" for query in _mysql_queries(definition, what, span))
    return f"{pretty(_text(_query(definition, what, span)))};"


def pretty(text: str, dialect: Dialect = "postgres") -> str:
    """The same tokens with a line for each clause and each column of a query; remarks go."""
    lines: list[str] = [""]
    frames = [True]  # by parenthesis that is open: whether it holds a query
    selecting = [False]
    tokens = Sqlglot.get_or_raise(dialect).tokenize(text)

    def line(indent: int) -> None:
        if lines[-1].strip():
            lines.append("")
        lines[-1] = "  " * indent

    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        kind, depth = token.token_type, len(frames) - 1
        said = text[token.start : token.end + 1]
        if kind == TokenType.R_PAREN:
            held = frames.pop() if depth else True
            selecting = selecting[:-1] or [False]
            if held and depth:
                line(depth - 1)
        elif frames[-1] and (
            kind in _BREAKS or (kind in _JOINS and (before is None or before.token_type not in _JOINS))
        ):
            line(depth)
            selecting[-1] = kind == TokenType.SELECT
        gap = before is not None and before.end + 1 < token.start
        lines[-1] += (" " if gap and lines[-1].strip() else "") + said
        if kind == TokenType.L_PAREN:
            after = tokens[index + 1].token_type if index + 1 < len(tokens) else None
            query = after in (TokenType.SELECT, TokenType.WITH)
            frames.append(query)
            selecting.append(False)
        elif kind == TokenType.COMMA and frames[-1] and selecting[-1]:
            line(depth + 1)
    return "\n".join(one.rstrip() for one in lines if one.strip())


def _last(definition: Definition, grain: Grain, now: datetime) -> Span:
    """The last whole window, as a calendar without changes of the offset has it."""
    end = floor(now).astimezone(ZoneInfo(definition.time_zone))
    if grain == "minute":
        return floor(end - MINUTE), floor(end)
    end = end.replace(minute=0) if grain == "hour" else end.replace(hour=0, minute=0)
    return floor(end - (HOUR if grain == "hour" else 24 * HOUR)), floor(end)


def _text(query: sql.Composable) -> str:
    return query.as_string(None)


def _query(definition: Definition, what: What, span: Span) -> sql.Composed:
    match what:
        case "cells":
            return postgres_sql.cells(definition, [(span[0], _example(definition))])
        case "touched" if definition.change_time is None:
            raise _never_asked(definition)
        case "touched" if definition.interval is not None:
            return postgres_held.held_since(definition, span[0], span[1])
        case "touched":
            return postgres_sql.touched(definition, span[0], None)
        case "totals":
            return postgres_sql.totals(definition, span)
    return postgres_sql.windows(definition, span)


def _never_asked(definition: Definition) -> Terminal:
    return Terminal(
        f"metric {definition.metric} has no change_time, so it is never asked what has changed; "
        "every window is read once, after its grace"
    )


def _mysql_queries(definition: Definition, what: What, span: Span) -> list[str]:
    """One for the numbers, and one for each sketch or last value, as `MysqlFacts` asks them of instants and numbers."""
    try:
        from fleetgauge.rollup.sources import mysql_sql as query
        from fleetgauge.rollup.sources.mysql_parts import SourceColumns
    except ModuleNotFoundError:
        raise Terminal("the driver of MariaDB and MySQL is not installed; pip install 'fleetgauge[mysql]'") from None
    columns = SourceColumns(definition, {})
    if what == "touched":
        if definition.change_time is None:
            raise _never_asked(definition)
        return [query.touched(columns, span[0], None)]
    by = query.by_stretch(columns, span) if what == "totals" else query.by_minute(columns)
    where = columns.within([span])
    if what == "cells":
        labels = zip(definition.dimensions.values(), _example(definition), strict=True)
        where = " AND ".join([where, *(columns.labelled(d.column, [label]) for d, label in labels)])
    return query.all_of(columns, where, by)


def _merged(definition: Definition, grain: Grain, span: Span) -> str:
    """From the level below, in the metrics database; not from the source."""
    statements, found = Statements(definition), []
    by_name = {level.name: level for level in definition.levels}
    values = {
        "%(begin)s": _text(sql.Literal(span[0])),
        "%(end)s": _text(sql.Literal(span[1])),
    }
    for level in definition.levels:
        if level.grain == grain and level.below is not None:
            text = _text(statements.merge_span(level, by_name[level.below]))
            for name, value in values.items():
                text = text.replace(name, value)
            found.append(f"{pretty(text)};")
    return "\n\n".join(found)


def _example(definition: Definition) -> tuple[str, ...]:
    return tuple(f"<{name}>" for name in definition.dimensions)


def _searches(definition: Definition, what: What, span: Span) -> list[Json]:
    """One body for the numbers, and one for each sketch, as `ElasticsearchFacts` asks them."""
    query = elasticsearch_query
    if what == "touched":
        where = query.matching(definition, query.stored_at(0, Offsets(0, 1000)))
        return [_groups(where, query.keys(definition))]
    if what == "totals":
        where = query.matching(definition, query.within([span]))
        step = query.milliseconds(span[1]) - query.milliseconds(span[0])
        keys = query.keys(definition, step_ms=step, from_ms=query.milliseconds(span[0]))
        return [_groups(where, keys, query.numbers(definition.stored))]
    filters = [query.within([span])]
    if what == "cells":
        dimensions = definition.dimensions.values()
        wanted = (query.one_of(one, [text]) for one, text in zip(dimensions, _example(definition), strict=True))
        filters += [one for one in wanted if one is not None]
    numbers = _groups(query.matching(definition, *filters), query.keys(definition), query.numbers(definition.stored))
    sketches = [
        _groups(
            query.matching(definition, *filters, *query.conditions(measure.where)),
            query.keys(definition, value=measure.of),
        )
        for measure in definition.stored.values()
        if measure.agg in ("percentile", "distinct")
    ]
    return [numbers, *sketches]


def _groups(where: Json, keys: list[Json], numbers: Json | None = None) -> Json:
    return elasticsearch_query.search(where, elasticsearch_query.groups(keys, numbers or {}, elasticsearch_query.PAGE))

"""What is asked of a source: aggregates by minute and dimension, so that no raw row travels.

Constants go in as literals escaped by psycopg, identifiers are quoted and come from a checked definition; source.sql
is the team's own text and stands in parentheses.
"""

from collections.abc import Sequence
from datetime import datetime

from psycopg import sql

from fleetgauge.rollup.definition import (
    UNKNOWN,
    Comparison,
    Count,
    Definition,
    Dimension,
    Extreme,
    Percentile,
    Scalar,
    StoredMeasure,
    Sum,
    Where,
)
from fleetgauge.rollup.sketch import LN_GAMMA, ORIGIN
from fleetgauge.rollup.sources.port import Cell

_TYPES = {"integer": "bigint", "numeric": "numeric", "float": "double precision"}
_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def first_event(definition: Definition) -> sql.Composed:
    """The earliest event time; one index look-up where the event time is indexed."""
    return sql.SQL("SELECT min({event}) FROM {source} WHERE {finite}").format(
        event=_column(definition.event_time), source=_source(definition), finite=_finite(definition)
    )


def windows(definition: Definition, begin: datetime, end: datetime) -> sql.Composed:
    """Rows of every minute in [begin, end): window, dimensions, stored measures."""
    group = [sql.SQL("date_trunc('minute', {}, 'UTC') AS window_start").format(_column(definition.event_time))]
    group += [sql.SQL("{} AS {}").format(_value(d), sql.Identifier(name)) for name, d in definition.dimensions.items()]
    return sql.SQL(
        "SELECT c.window_start, {outer} FROM (SELECT {group}, {inner} FROM {source}"
        " WHERE {event} >= {begin} AND {event} < {end} GROUP BY {places}) AS c"
    ).format(
        outer=_comma([*_names("c", definition), *_finished(definition)]),
        group=_comma(group),
        inner=_comma(_aggregates(definition)),
        source=_source(definition),
        event=_column(definition.event_time),
        begin=sql.Literal(begin),
        end=sql.Literal(end),
        places=_comma([sql.Literal(i + 1) for i in range(len(group))]),
    )


def cells(definition: Definition, wanted: Sequence[Cell]) -> sql.Composed:
    """Rows of the given cells, in the shape of `windows`; a cell without facts gives none.

    Lateral, so that each cell is one short look-up by event time however large the table is.
    """
    arrays = [sql.SQL("{}::timestamptz[]").format(sql.Literal([window for window, _ in wanted]))]
    names: list[sql.Composable] = [sql.Identifier("window_start")]
    match: list[sql.Composable] = []
    for place, (name, dimension) in enumerate(definition.dimensions.items()):
        arrays.append(sql.SQL("{}::text[]").format(sql.Literal([values[place] for _, values in wanted])))
        names.append(sql.Identifier(name))
        match.append(sql.SQL(" AND {} = t.{}").format(_value(dimension), sql.Identifier(name)))
    return sql.SQL(
        "SELECT t.window_start, {outer} FROM unnest({arrays}) AS t({names}) CROSS JOIN LATERAL ("
        "SELECT {inner}, count(*) AS _facts FROM {source}"
        " WHERE {event} >= t.window_start AND {event} < t.window_start + interval '1 minute'{match}"
        ") AS c WHERE c._facts > 0"
    ).format(
        outer=_comma([*_names("t", definition), *_finished(definition)]),
        arrays=_comma(arrays),
        names=_comma(names),
        inner=_comma(_aggregates(definition)),
        source=_source(definition),
        event=_column(definition.event_time),
        match=sql.Composed(match),
    )


def touched(definition: Definition, cursor: datetime, open_from: datetime | None) -> sql.Composed:
    """Distinct cells of the facts that changed at or after `cursor`, and of all from `open_from` on if it is given."""
    assert definition.change_time is not None
    part = sql.SQL("SELECT DISTINCT {key} FROM {source} WHERE {time} >= {since} AND {finite}")
    key = _comma(
        [
            sql.SQL("date_trunc('minute', {}, 'UTC')").format(_column(definition.event_time)),
            *(_value(d) for d in definition.dimensions.values()),
        ]
    )
    since = [(definition.change_time, cursor)]
    if open_from is not None:
        since.append((definition.event_time, open_from))
    return sql.SQL(" UNION ").join(
        part.format(
            key=key,
            source=_source(definition),
            time=_column(column),
            since=sql.Literal(instant),
            finite=_finite(definition),
        )
        for column, instant in since
    )


def totals(definition: Definition, edges: Sequence[datetime]) -> sql.Composed:
    """Counts and sums between consecutive edges, by dimension; nothing outside them."""
    measures = [n for n, m in definition.stored.items() if isinstance(m, Count | Sum)]
    return sql.SQL(
        "SELECT width_bucket(w.window_start, {edges}::timestamptz[]) - 1, {sums} FROM ({rows}) AS w GROUP BY 1{places}"
    ).format(
        edges=sql.Literal(list(edges)),
        sums=_comma([*_names("w", definition), *(sql.SQL("sum(w.{})").format(sql.Identifier(n)) for n in measures)]),
        rows=windows(definition, edges[0], edges[-1]),
        places=sql.SQL("").join(sql.SQL(", {}").format(sql.Literal(i + 2)) for i in range(len(definition.dimensions))),
    )


def predicate(where: Where) -> sql.Composable:
    """`where` as one SQL condition; true when it is empty."""
    parts = [part for column, test in where.items() for part in _tests(_column(column), test)]
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")


def _tests(column: sql.Composable, test: Scalar | list[Scalar] | Comparison) -> list[sql.Composable]:
    if isinstance(test, list):
        return [sql.SQL("{} IN ({})").format(column, _comma([sql.Literal(v) for v in test]))]
    if not isinstance(test, Comparison):
        return [sql.SQL("{} = {}").format(column, sql.Literal(test))]
    parts: list[sql.Composable] = []
    for name, operator in _OPERATORS.items():
        value = getattr(test, name)
        if value is not None:
            parts.append(sql.SQL("{} {} {}").format(column, sql.SQL(operator), sql.Literal(value)))
    if test.not_in:
        parts.append(sql.SQL("{} NOT IN ({})").format(column, _comma([sql.Literal(v) for v in test.not_in])))
    if test.is_null is not None:
        parts.append(sql.SQL("{} IS NULL" if test.is_null else "{} IS NOT NULL").format(column))
    return parts


def _aggregates(definition: Definition) -> list[sql.Composable]:
    return [sql.SQL("{} AS {}").format(_aggregate(m), sql.Identifier(name)) for name, m in definition.stored.items()]


def _aggregate(measure: StoredMeasure) -> sql.Composable:
    where = predicate(measure.where)
    match measure:
        case Count():
            return sql.SQL("count(*) FILTER (WHERE {})").format(where)
        case Sum():
            # The cast is of each row, not of the sum, so that hours add up to the same.
            return sql.SQL("coalesce(sum({0}::{1}) FILTER (WHERE {2}), 0)::{1}").format(
                _column(measure.of), sql.SQL(_TYPES[measure.type]), where
            )
        case Extreme():
            return sql.SQL("{}({}::{}) FILTER (WHERE {})").format(
                sql.SQL(measure.agg), _column(measure.of), sql.SQL(_TYPES[measure.type]), where
            )
        case Percentile():
            value = sql.SQL("({}::double precision)").format(_column(measure.of))
            return sql.SQL(
                "array_agg({bucket}) FILTER (WHERE abs({value}) < 'Infinity'::double precision AND {where})"
            ).format(bucket=_bucket(value), value=value, where=where)


def _bucket(value: sql.Composable) -> sql.Composable:
    """Stored bucket of a finite value, as `sketch.bucket`. NULL, NaN and infinities are left out by the filter."""
    return sql.SQL(
        "(CASE WHEN {v} > 0 THEN {o} + ceil(ln({v}) / {g}) WHEN {v} < 0 THEN -({o} + ceil(ln(-{v}) / {g})) ELSE 0 END)"
        "::bigint"
    ).format(v=value, o=sql.Literal(ORIGIN), g=sql.SQL("{}::double precision").format(sql.Literal(repr(LN_GAMMA))))


def _finished(definition: Definition) -> list[sql.Composable]:
    """The measures outside the grouping: buckets become a sketch there, everything else passes."""
    done: list[sql.Composable] = []
    for name, measure in definition.stored.items():
        if isinstance(measure, Percentile):
            done.append(
                sql.SQL(
                    "(SELECT coalesce(array_agg(b ORDER BY b) || array_agg(n ORDER BY b), '{{}}')"
                    " FROM (SELECT b, count(*) AS n FROM unnest(c.{}) AS b GROUP BY b) AS g)"
                ).format(sql.Identifier(name))
            )
        else:
            done.append(sql.Identifier("c", name))
    return done


def _names(alias: str, definition: Definition) -> list[sql.Composable]:
    return [sql.Identifier(alias, n) for n in definition.dimensions]


def _source(definition: Definition) -> sql.Composable:
    return sql.SQL("(\n{}\n) AS s").format(sql.SQL(definition.source_sql))


def _column(name: str) -> sql.Composable:
    return sql.Identifier("s", name)


def _value(dimension: Dimension) -> sql.Composable:
    return sql.SQL("coalesce({}::text, {})").format(_column(dimension.column), sql.Literal(UNKNOWN))


def _finite(definition: Definition) -> sql.Composable:
    """Keeps out times that neither Python nor a calendar knows, infinities first."""
    return sql.SQL("{0} >= '0002-01-01' AND {0} < '9998-01-01'").format(_column(definition.event_time))


def _comma(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)

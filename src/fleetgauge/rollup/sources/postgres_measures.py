"""How each measure is computed on a source: an aggregate inside the grouping, and what it becomes outside."""

from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import (
    Column,
    Count,
    Distinct,
    Duration,
    Extreme,
    Last,
    Percentile,
    Sum,
    Tally,
)
from fleetgauge.rollup.sketches.distinct import COUPONS, EXACT, FINER, RANKS, REGISTERS, REST
from fleetgauge.rollup.sketches.sketch import LN_GAMMA, ORIGIN
from fleetgauge.rollup.sources.postgres_parts import col, predicate

_TYPES = {None: "numeric", "integer": "bigint", "numeric": "numeric", "float": "double precision", "text": "text"}


def aggregates(definition: Definition, counts: sql.Composable | None = None) -> list[sql.Composable]:
    """`counts`: which rows do; None for all."""
    return [
        sql.SQL("{} AS {}").format(_aggregate(c, definition, counts), sql.Identifier(c.name))
        for c in definition.columns
        if not isinstance(c.measure, Duration)
    ]


def _aggregate(column: Column, definition: Definition, counts: sql.Composable | None) -> sql.Composable:
    measure = column.measure
    where = predicate(measure.where)
    if counts is not None:
        where = sql.SQL("{} AND {}").format(counts, where)
    match measure:
        case Count():
            return sql.SQL("count(*) FILTER (WHERE {})").format(where)
        case Sum():
            # The cast is of each row, not of the sum, so that hours add up to the same; whole numbers add up to a
            # numeric, which has no end.
            total = sql.SQL("numeric" if measure.type == "integer" else _TYPES[measure.type])
            return sql.SQL("coalesce(sum({}::{}) FILTER (WHERE {}), 0)::{}").format(
                col(measure.of), sql.SQL(_TYPES[measure.type]), where, total
            )
        case Extreme():
            return sql.SQL("{}({}::{}) FILTER (WHERE {})").format(
                sql.SQL(measure.agg), col(measure.of), sql.SQL(_TYPES[measure.type]), where
            )
        case Percentile():
            value: sql.Composable = sql.SQL("({}::double precision)").format(col(measure.of))
            return sql.SQL(
                "array_agg({bucket}) FILTER (WHERE abs({value}) < 'Infinity'::double precision AND {where})"
            ).format(bucket=_bucket(value), value=value, where=where)
        case Tally():
            value = _whole(col(measure.of))
            if column.beside:
                return sql.SQL("count(*) FILTER (WHERE {} IS NULL AND {})").format(value, where)
            return sql.SQL("array_agg({0}) FILTER (WHERE {0} IS NOT NULL AND {1})").format(value, where)
        case Distinct():
            return sql.SQL("array_agg(DISTINCT {}) FILTER (WHERE {} IS NOT NULL AND {})").format(
                _hash(col(measure.of), keyed=measure.personal and definition.distinct_key is not None),
                col(measure.of),
                where,
            )
        case Last():
            known = sql.SQL("FILTER (WHERE {} IS NOT NULL AND {})").format(col(measure.of), where)
            event = col(definition.event_time)
            if column.beside:
                return sql.SQL("max({}) {}").format(event, known)
            value = sql.SQL("{}::{}").format(col(measure.of), sql.SQL(_TYPES[measure.type]))
            if measure.type == "text":
                value = sql.SQL('({} COLLATE "C")').format(value)
            return sql.SQL("(array_agg({v} ORDER BY {e} DESC, {v} DESC) {known})[1]").format(
                v=value, e=event, known=known
            )
        case Duration():
            raise AssertionError("durations are read by _held")


INNER, OUTER = "fleetgauge.distinct_inner", "fleetgauge.distinct_outer"
"""Settings of a session that hold the two halves of the key of fingerprints, in hexadecimal digits."""


def _hash(value: sql.Composable, *, keyed: bool) -> sql.Composable:
    """The first 64 bits of a value's HMAC-SHA-256, or of its SHA-256, as `distinct.hashed`.

    The key is read from the session, once for a query, so that no text of a statement, no plan and no log has it.
    """
    digest = sql.SQL("sha256(convert_to({}::text, 'UTF8'))").format(value)
    if keyed:
        inner, outer = (
            sql.SQL("(SELECT decode(current_setting({}), 'hex'))").format(sql.Literal(name)) for name in (INNER, OUTER)
        )
        digest = sql.SQL("sha256({} || sha256({} || convert_to({}::text, 'UTF8')))").format(outer, inner, value)
    return sql.SQL("('x' || left(encode({}, 'hex'), 16))::bit(64)::bigint").format(digest)


def _whole(value: sql.Composable) -> sql.Composable:
    """A whole number that a bigint holds; anything else, NaN and infinities included, is NULL."""
    return sql.SQL(
        "(CASE WHEN {0}::numeric BETWEEN -9223372036854775808 AND 9223372036854775807"
        " AND {0}::numeric = trunc({0}::numeric) THEN {0}::bigint END)"
    ).format(value)


def _bucket(value: sql.Composable) -> sql.Composable:
    """Stored bucket of a finite value, as `sketch.bucket`. NULL, NaN and infinities are left out by the filter."""
    return sql.SQL(
        "(CASE WHEN {v} > 0 THEN {o} + ceil(ln({v}) / {g}) WHEN {v} < 0 THEN -({o} + ceil(ln(-{v}) / {g})) ELSE 0 END)"
        "::bigint"
    ).format(v=value, o=sql.Literal(ORIGIN), g=sql.SQL("{}::double precision").format(sql.Literal(repr(LN_GAMMA))))


def finished(definition: Definition) -> list[sql.Composable]:
    """The columns outside the grouping: buckets and hashes become sketches there, everything else stays.

    Beside durations a minute may have no fact: there a count is 0.
    """
    done: list[sql.Composable] = []
    for column in definition.columns:
        name = sql.Identifier("c", column.name)
        match column.measure:
            case Tally() if column.beside:
                done.append(sql.SQL("coalesce({}, 0)").format(name))
            case Percentile() | Tally():
                done.append(
                    sql.SQL(
                        "(SELECT coalesce(array_agg(b ORDER BY b) || array_agg(n ORDER BY b), '{{}}')"
                        " FROM (SELECT b, count(*) AS n FROM unnest({}) AS b GROUP BY b) AS g)"
                    ).format(name)
                )
            case Distinct():
                done.append(sql.SQL("({})").format(_set(name)))
            case Count() | Sum() if definition.interval is not None:
                done.append(sql.SQL("coalesce({}, 0)").format(name))
            case Duration():
                done.append(sql.SQL("coalesce(d.{}, 0)").format(sql.Identifier(column.name)))
            case _:
                done.append(name)
    return done


def _set(hashes: sql.Composable) -> sql.Composable:
    """A sketch of hashes, as `distinct.short`: fingerprints, or of many a bitmap by words of 32 bits."""
    return sql.SQL(
        "SELECT 'x' || CASE WHEN cardinality(prints) <= {exact} THEN ("
        "SELECT coalesce(string_agg(lpad(to_hex(p), 8, '0'), '' ORDER BY p), '') FROM unnest(prints) AS p"
        ") ELSE ("
        "SELECT string_agg(lpad(to_hex(coalesce(word, 0)), 8, '0'), '' ORDER BY n)"
        " FROM generate_series(0, {last_word}) AS n LEFT JOIN ("
        "SELECT c / 32 AS n, bit_or(1 << (31 - c % 32)) AS word"
        " FROM (SELECT p >> {finer} FROM unnest(prints) AS p) AS drawn (c) GROUP BY 1) AS words USING (n)"
        ") END FROM (SELECT ARRAY(SELECT DISTINCT"
        " ((least({rest} - length(ltrim((h::bit({rest}))::text, '0')), {ranks} - 1) * {registers}"
        " + (h >> {rest} & {registers} - 1)::integer) << {finer}) | (h & {finest})::integer"
        " FROM unnest({hashes}) AS h) AS prints) AS small"
    ).format(
        exact=sql.Literal(EXACT),
        last_word=sql.Literal(COUPONS // 32 - 1),
        finer=sql.Literal(FINER),
        finest=sql.Literal(2**FINER - 1),
        rest=sql.Literal(REST),
        ranks=sql.Literal(RANKS),
        registers=sql.Literal(REGISTERS),
        hashes=hashes,
    )

"""Durations on a source: how long the rows' intervals overlap each minute, and which minutes a change concerns."""

from datetime import datetime

from fleetgauge.errors import sure
from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Duration
from fleetgauge.rollup.sources.postgres_parts import (
    col,
    comma,
    everything,
    finite,
    label_of,
    positions,
    predicate,
    rows,
    source,
)
from fleetgauge.rollup.spans import Span


def held(definition: Definition, span: Span) -> sql.Composed:
    """Seconds by minute and dimensions that the rows' intervals overlap the span, one column for each duration.

    An interval is the rest of its first minute, the part of its last, and one more whole minute each in between: so
    only where it begins and ends is written down, and a running sum gives the minutes between.
    """
    durations = {n: m for n, m in definition.stored.items() if isinstance(m, Duration)}
    dims = [sql.Identifier(n) for n in definition.dimensions]
    dim_list = sql.SQL("").join(sql.SQL("{}, ").format(d) for d in dims)
    flags = [sql.Identifier(f"_{n}") for n in durations]
    per_flag = [
        sql.SQL(
            "coalesce(sum(_part) FILTER (WHERE {f}), 0) AS {p}, coalesce(sum(_step) FILTER (WHERE {f}), 0) AS {s}"
        ).format(f=flag, p=sql.Identifier(f"__p_{n}"), s=sql.Identifier(f"__s_{n}"))
        for n, flag in zip(durations, flags, strict=True)
    ]
    over = sql.SQL("PARTITION BY {} ORDER BY _m").format(comma(dims)) if dims else sql.SQL("ORDER BY _m")
    seconds = [
        sql.SQL("coalesce(e.{p}, 0) + 60 * sum(coalesce(e.{s}, 0)) OVER w AS {n}").format(
            p=sql.Identifier(f"__p_{n}"), s=sql.Identifier(f"__s_{n}"), n=sql.Identifier(n)
        )
        for n in durations
    ]
    return sql.SQL(
        """
        WITH held AS MATERIALIZED (
            SELECT {selected},
                greatest({event}, {begin}) AS _f,
                least(s._until, {event} + {longest}, {end}) AS _u
            FROM (SELECT s.*, {until} AS _until FROM {source} WHERE {event} >= {begin} - {longest} AND {event} < {end})
                AS s
        ),
        edge AS MATERIALIZED (
            SELECT _m, {dim_list}{per_flag}
            FROM (SELECT *, date_trunc('minute', _f, 'UTC') AS _m0, date_trunc('minute', _u, 'UTC') AS _m1 FROM held
                WHERE _f < _u) AS h
            CROSS JOIN LATERAL (VALUES
                (_m0, extract(epoch FROM least(_u, _m0 + interval '1 minute') - _f), 0),
                (_m1, CASE WHEN _m1 > _m0 THEN extract(epoch FROM _u - _m1) ELSE 0 END, 0),
                (_m0 + interval '1 minute', 0, (_m1 > _m0)::integer),
                (_m1, 0, -(_m1 > _m0)::integer)
            ) AS v(_m, _part, _step)
            GROUP BY {positions}
        )
        SELECT * FROM (
            SELECT g._m AS window_start, {dim_list}{seconds}
            FROM (SELECT DISTINCT {distinct} FROM edge) AS k
            CROSS JOIN generate_series({begin}, {last}, interval '1 minute') AS g(_m)
            LEFT JOIN edge AS e USING (_m{comma_dims})
            WINDOW w AS ({over})
        ) AS dense
        WHERE {some}
        """
    ).format(
        selected=comma(
            [
                *(sql.SQL("{} AS {}").format(label_of(d), sql.Identifier(n)) for n, d in definition.dimensions.items()),
                *(
                    sql.SQL("coalesce({}, false) AS {}").format(predicate(m.where), flag)
                    for m, flag in zip(durations.values(), flags, strict=True)
                ),
            ]
        ),
        event=col(definition.event_time),
        begin=sql.SQL("{}::timestamptz").format(sql.Literal(span[0])),
        end=sql.SQL("{}::timestamptz").format(sql.Literal(span[1])),
        last=sql.SQL("{}::timestamptz - interval '1 minute'").format(sql.Literal(span[1])),
        longest=_longest(definition),
        until=_until(definition),
        source=source(definition),
        dim_list=dim_list,
        per_flag=comma(per_flag),
        positions=positions(1 + len(dims)),
        seconds=comma(seconds),
        distinct=comma(dims) if dims else sql.SQL("true"),
        comma_dims=sql.SQL("").join(sql.SQL(", {}").format(d) for d in dims),
        over=over,
        some=sql.SQL(" OR ").join(sql.SQL("{} > 0").format(sql.Identifier(n)) for n in durations),
    )


def _until(definition: Definition) -> sql.Composable:
    """When a row's interval ends. Of the rows read, the next of the same thing: one beyond them ends nothing here."""
    interval = sure(definition.interval, "interval")
    if interval.until is not None:
        return sql.SQL("coalesce({}, 'infinity')").format(col(interval.until))
    next_of = sure(interval.until_next_of, "interval.until_next_of")
    order = [col(n) for n in (definition.event_time, interval.then_by) if n is not None]
    return sql.SQL("coalesce(lead({}) OVER (PARTITION BY {} ORDER BY {}), 'infinity')").format(
        order[0], col(next_of), comma(order)
    )


def _longest(definition: Definition) -> sql.Composable:
    return sql.SQL("{}::interval").format(sql.Literal(sure(definition.interval, "interval").longest))


def held_since(
    definition: Definition, cursor: datetime, watermark: datetime, seen: datetime | None = None
) -> sql.Composed:
    """One multirange: the minutes before the watermark that rows changed since the cursor overlap, or did before.

    A row that has got its end had none before, and so counted until the last watermark, which lay before its change,
    however late that came; where the next row ends it, the row that came in between took over from its own start on.
    `seen`: up to where it counted, if that may lie behind its change, whose time a clock has written that lagged.
    """
    interval, change_time = sure(definition.interval, "interval"), sure(definition.change_time, "change_time")
    event = col(definition.event_time)
    if interval.until is not None:
        known = interval.known_within if interval.known_within is not None else interval.longest
        end = sql.SQL("greatest(coalesce({}, 'infinity') + {}::interval, {}, {}::timestamptz)").format(
            col(interval.until), sql.Literal(known), col(change_time), sql.Literal(seen)
        )
    else:
        next_of = sure(interval.until_next_of, "interval.until_next_of")
        end = sql.SQL(
            "coalesce((SELECT min(n.{at}) FROM {rows} AS n"
            " WHERE n.{thing} = s.{thing} AND n.{at} > {event}), 'infinity')"
        ).format(
            at=sql.Identifier(definition.event_time),
            rows=rows(definition),
            thing=sql.Identifier(next_of),
            event=event,
        )
    return sql.SQL(
        "SELECT range_agg(tstzrange(date_trunc('minute', f, 'UTC'),"
        " date_trunc('minute', u, 'UTC') + interval '1 minute'))"
        " FROM (SELECT {event} AS f, least({end}, {event} + {longest}, {watermark}) AS u FROM {source}"
        " WHERE {change} >= {since} AND {finite}) AS changed WHERE f <= u"
    ).format(
        event=event,
        end=end,
        longest=_longest(definition),
        watermark=sql.SQL("{}::timestamptz").format(sql.Literal(watermark)),
        source=everything(definition),
        change=col(change_time),
        since=sql.Literal(cursor),
        finite=finite(definition),
    )

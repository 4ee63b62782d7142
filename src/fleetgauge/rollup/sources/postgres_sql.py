"""What is asked of a source: aggregates by minute and dimension, so that no raw row travels.

Constants go in as literals escaped by psycopg, identifiers are quoted and come from a checked definition; source.sql
is the team's own text and stands in parentheses.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from fleetgauge.errors import sure
from fleetgauge.postgres import array_text, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Duration
from fleetgauge.rollup.sources.late_changes import STRETCH_US
from fleetgauge.rollup.sources.postgres_held import held
from fleetgauge.rollup.sources.postgres_measures import aggregates, finished
from fleetgauge.rollup.sources.postgres_parts import (
    accepted,
    col,
    comma,
    countable,
    dims_of,
    everything,
    finite,
    judged,
    label_of,
    label_of_key,
    positions,
    source,
)
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import Cell, Unfollowed


def within(definition: Definition, spans: Sequence[Span]) -> sql.Composed:
    """The facts of some spans; to be explained, not run."""
    return sql.SQL("SELECT 1 FROM {} WHERE {}").format(source(definition), _inside(definition.event_time, spans))


def _inside(column: str, spans: Sequence[Span]) -> sql.Composed:
    """That a time lies in one of the spans, as its index answers it."""
    return sql.SQL(" OR ").join(
        sql.SQL("({0} >= {1} AND {0} < {2})").format(col(column), sql.Literal(begin), sql.Literal(end))
        for begin, end in spans
    )


def first_event(definition: Definition) -> sql.Composed:
    """The earliest event time; one index look-up where the event time is indexed."""
    return sql.SQL("SELECT min({event}) FROM {source} WHERE {finite}").format(
        event=col(definition.event_time), source=source(definition), finite=finite(definition)
    )


def windows(definition: Definition, span: Span) -> sql.Composed:
    """Rows of every minute in the span: window, dimensions, columns of the measures.

    Without an interval two more columns: how many facts are counted, which may be none, and how many cannot be.
    """
    if definition.interval is None:
        return sql.SQL("SELECT c.window_start, {}, c._facts, c._left_out FROM ({}) AS c").format(
            comma([*dims_of("c", definition), *finished(definition)]), _facts(definition, span, counted=True)
        )
    keys = [sql.Identifier("window_start"), *(sql.Identifier(n) for n in definition.dimensions)]
    return sql.SQL("SELECT {keys}, {outer} FROM ({facts}) AS c FULL JOIN ({held}) AS d USING ({keys})").format(
        keys=comma(keys),
        outer=comma(finished(definition)),
        facts=_facts(definition, span),
        held=held(definition, span),
    )


_COUNTS = sql.SQL("s._counts")
_COUNTED = sql.SQL("count(*) FILTER (WHERE s._counts) AS _facts, count(*) FILTER (WHERE NOT s._counts) AS _left_out")


def _facts(
    definition: Definition, span: Span, window: sql.Composable | None = None, *, counted: bool = False
) -> sql.Composed:
    """Aggregates of the rows whose event time lies in the span, by minute, or by the expression `window`.

    `counted`: of all rows, and how many can be counted.
    """
    event = col(definition.event_time)
    minute = sql.SQL("date_trunc('minute', {}, 'UTC')").format(event)
    group = [sql.SQL("{} AS window_start").format(minute if window is None else window)]
    group += [
        sql.SQL("{} AS {}").format(label_of(d), sql.Identifier(name)) for name, d in definition.dimensions.items()
    ]
    within = sql.SQL("{0} >= {1} AND {0} < {2}").format(event, sql.Literal(span[0]), sql.Literal(span[1]))
    if counted:
        chosen, rows = [*aggregates(definition, _COUNTS), _COUNTED], judged(definition, within)
    else:
        chosen, rows = aggregates(definition), sql.SQL("{} WHERE {}").format(source(definition), within)
    return sql.SQL("SELECT {} FROM {} GROUP BY {}").format(comma([*group, *chosen]), rows, positions(len(group)))


def cells(definition: Definition, wanted: Sequence[Cell]) -> sql.Composed:
    """Rows of the given cells, in the shape of `windows` without an interval; a cell without any row gives none.

    Lateral, so that each cell is one short look-up by event time however large the table is.
    """
    arrays = [sql.SQL("{}::timestamptz[]").format(sql.Literal(array_text(window for window, _ in wanted)))]
    names: list[sql.Composable] = [sql.Identifier("window_start")]
    match: list[sql.Composable] = []
    for index, (name, dimension) in enumerate(definition.dimensions.items()):
        arrays.append(sql.SQL("{}::text[]").format(sql.Literal(array_text(values[index] for _, values in wanted))))
        names.append(sql.Identifier(name))
        match.append(sql.SQL(" AND {} = t.{}").format(label_of(dimension), sql.Identifier(name)))
    within = sql.SQL("{0} >= t.window_start AND {0} < t.window_start + interval '1 minute'{1}").format(
        col(definition.event_time), sql.Composed(match)
    )
    return sql.SQL(
        "SELECT t.window_start, {outer}, c._facts, c._left_out FROM unnest({arrays}) AS t({names}) CROSS JOIN LATERAL ("
        "SELECT {inner} FROM {source}) AS c WHERE c._facts + c._left_out > 0"
    ).format(
        outer=comma([*dims_of("t", definition), *finished(definition)]),
        arrays=comma(arrays),
        names=comma(names),
        inner=comma([*aggregates(definition, _COUNTS), _COUNTED]),
        source=judged(definition, within),
    )


def left_out(definition: Definition, spans: Sequence[Span]) -> sql.Composed | None:
    """Rows of the spans that cannot be counted, by minute and column: how many, and some of their keys."""
    rules = countable(definition)
    if not rules:
        return None
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN NOT {} THEN {}").format(rule, sql.Literal(column)) for column, rule in rules
    )
    return sql.SQL(
        "SELECT date_trunc('minute', x._at, 'UTC'), x._column, count(*),"
        " (array_agg(x._key ORDER BY x._at, x._key))[1:5]"
        " FROM (SELECT CASE {cases} END AS _column, {event} AS _at, {key} AS _key FROM {source} WHERE {inside}) AS x"
        " WHERE x._column IS NOT NULL GROUP BY 1, 2"
    ).format(
        cases=cases,
        event=col(definition.event_time),
        key=_key(definition),
        source=everything(definition),
        inside=_inside(definition.event_time, spans),
    )


def out_of_range(definition: Definition, latest_time: datetime) -> sql.Composed:
    """Rows whose event time no row of a fleet has, or lies too far ahead: which of the two, how many, some keys.

    Asked as one condition that an index answers.
    """
    earliest, before = accepted(definition)
    return sql.SQL(
        "SELECT {event} >= {earliest} AND {event} < {latest}, count(*), (array_agg({key} ORDER BY {event}))[1:5]"
        " FROM {source} WHERE {event} < {earliest} OR {event} >= {outside} GROUP BY 1"
    ).format(
        key=_key(definition),
        event=col(definition.event_time),
        source=everything(definition),
        earliest=earliest,
        latest=before,
        outside=sql.SQL("least({}::timestamptz, {}::timestamptz)").format(before, sql.Literal(latest_time)),
    )


def unfollowed(definition: Definition) -> sql.Composed | None:
    """How many rows have no time of change, or one that is before all that are possible, up to a limit, and some of
    their keys; None where none is needed."""
    if definition.change_time is None:
        return None
    return sql.SQL(
        "SELECT count(*), (array_agg(x._key))[1:5] FROM (SELECT {key} AS _key FROM {source}"
        " WHERE ({change} IS NULL OR {change} < {earliest}) AND {event} IS NOT NULL LIMIT {many}) AS x"
    ).format(
        key=_key(definition),
        source=everything(definition),
        change=col(definition.change_time),
        earliest=accepted(definition)[0],
        event=col(definition.event_time),
        many=sql.Literal(Unfollowed.MANY),
    )


def _key(definition: Definition) -> sql.Composable:
    """What tells a row that was left out: its key where there is one, else its time and dimensions."""
    values = [
        sql.SQL("{}::text").format(col(definition.event_time)),
        *(label_of(d) for d in definition.dimensions.values()),
    ]
    told = sql.SQL("concat_ws(' ', {})").format(comma(values))
    return told if definition.key is None else sql.SQL("coalesce({}::text, {})").format(col(definition.key), told)


def touched(
    definition: Definition, cursor: datetime, open_from: datetime | None, latest_time: datetime | None = None
) -> sql.Composed:
    """Distinct cells of the facts that changed at or after `cursor`, and of all from `open_from` on if it is given.

    Of a metric without minutes: the minutes alone. Facts that are in no cell (yet) are left out, unless they may have
    left one: a `key` tells them, with NULL for the minute.
    """
    change_time = sure(definition.change_time, "change_time")
    counts = finite(definition, latest_time)
    part = sql.SQL("SELECT DISTINCT {key} FROM {source} WHERE {time} >= {since} AND {within}")
    key = _place(definition, None if definition.key is None else counts)
    within = counts if definition.key is None else sql.SQL("{} IS NOT NULL").format(col(definition.key))
    unchanged = sql.SQL("{} IS NULL AND {}").format(col(change_time), within)  # until a first update, such as it is
    since = [(change_time, cursor, within), (definition.event_time, cursor, unchanged)]
    if open_from is not None:
        since.append((definition.event_time, open_from, within))
    return sql.SQL(" UNION ").join(
        part.format(
            key=key,
            source=everything(definition),
            time=col(column),
            since=sql.Literal(instant),
            within=within,
        )
        for column, instant, within in since
    )


def changes(definition: Definition, spans: Sequence[Span], upto: datetime) -> sql.Composed:
    """Of the changes in the spans, by stretch of `late_changes` and by whether they are before `upto`: how many, and
    the sum of their microseconds within it."""
    change_time = sure(definition.change_time, "change_time")
    return sql.SQL(
        "SELECT x._at / {stretch}, x._early, count(*), sum(x._at % {stretch})::bigint FROM ("
        "SELECT (extract(epoch FROM {change}) * 1000000)::bigint AS _at, {change} < {upto} AS _early"
        " FROM {source} WHERE {inside}) AS x GROUP BY 1, 2"
    ).format(
        stretch=sql.Literal(STRETCH_US),
        change=col(change_time),
        upto=sql.Literal(upto),
        source=everything(definition),
        inside=_inside(change_time, spans),
    )


def placed(definition: Definition, span: Span) -> sql.Composed:
    """The rows of every minute in the span as `touched` tells them."""
    return sql.SQL("SELECT {place} FROM {source} WHERE {event} >= {begin} AND {event} < {end}").format(
        place=_place(definition),
        source=everything(definition),
        event=col(definition.event_time),
        begin=sql.Literal(span[0]),
        end=sql.Literal(span[1]),
    )


def _place(definition: Definition, counts: sql.Composable | None = None) -> sql.Composed:
    """Minute and dimensions of a row; where rows may move, its key and change time too.

    The minute is NULL of a row that `counts` is not true of.
    """
    minute: sql.Composable = sql.SQL("date_trunc('minute', {}, 'UTC')").format(col(definition.event_time))
    if counts is not None:
        minute = sql.SQL("CASE WHEN {} THEN {} END").format(counts, minute)
    parts: list[sql.Composable] = [minute]
    if (
        definition.finest == "minute" or definition.key is not None
    ):  # else whole windows are computed, whatever the cell
        parts += [label_of(d) for d in definition.dimensions.values()]
    if definition.key is not None and definition.change_time is not None:
        # Python and the placements' index can hold neither infinity nor a text of any length.
        changed = sql.SQL("least(greatest({}, '0001-01-02Z'), '9999-01-01Z')").format(col(definition.change_time))
        parts += [label_of_key(definition.key), changed]
    return comma(parts)


def source_rows(definition: Definition, span: Span, where: Mapping[str, str]) -> sql.Composed:
    """The facts that count in the span, or whose interval may overlap it, with these values of dimensions."""
    begin = sql.SQL("{}::timestamptz").format(sql.Literal(span[0]))
    event = col(definition.event_time)
    conditions: list[sql.Composable] = [sql.SQL("{} < {}::timestamptz").format(event, sql.Literal(span[1]))]
    interval = definition.interval
    if interval is None:
        conditions.append(sql.SQL("{} >= {}").format(event, begin))
    else:
        conditions.append(sql.SQL("{} > {} - {}::interval").format(event, begin, sql.Literal(interval.longest)))
        if interval.until is not None:
            conditions.append(
                sql.SQL("({0} IS NULL OR {0} > {1} OR {2} >= {1})").format(col(interval.until), begin, event)
            )
    for name, value in where.items():
        conditions.append(sql.SQL("{} = {}").format(label_of(definition.dimensions[name]), sql.Literal(value)))
    return sql.SQL("SELECT s.* FROM {} WHERE {} ORDER BY {}").format(
        source(definition), sql.SQL(" AND ").join(conditions), event
    )


def totals(definition: Definition, edges: Sequence[datetime]) -> sql.Composed:
    """The stored measures between consecutive edges (their number from 0), by dimension; nothing outside them."""
    span = (edges[0], edges[-1])
    facts = _facts(definition, span, _stretch(col(definition.event_time), edges))
    if definition.interval is None:
        return sql.SQL("SELECT c.window_start, {} FROM ({}) AS c").format(
            comma([*dims_of("c", definition), *finished(definition)]), facts
        )
    keys = [sql.Identifier("window_start"), *(sql.Identifier(n) for n in definition.dimensions)]
    durations = [sql.Identifier(n) for n, measure in definition.stored.items() if isinstance(measure, Duration)]
    return sql.SQL(
        "SELECT {keys}, {outer} FROM ({facts}) AS c FULL JOIN (SELECT {stretch} AS window_start, {sums}"
        " FROM ({held}) AS h GROUP BY {positions}) AS d USING ({keys})"
    ).format(
        keys=comma(keys),
        outer=comma(finished(definition)),
        facts=facts,
        stretch=_stretch(sql.SQL("h.window_start"), edges),
        sums=comma([*dims_of("h", definition), *(sql.SQL("sum(h.{0}) AS {0}").format(n) for n in durations)]),
        held=held(definition, span),
        positions=positions(1 + len(definition.dimensions)),
    )


def _stretch(instant: sql.Composable, edges: Sequence[datetime]) -> sql.Composed:
    return sql.SQL("(width_bucket({}, {}::timestamptz[]) - 1)").format(instant, sql.Literal(list(edges)))

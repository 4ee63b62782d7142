"""Final hours whose facts the source has lost: weighing them, and what is noted of them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain, Level
from fleetgauge.rollup.definitions.measures import Count
from fleetgauge.rollup.plan.emptied import Before, Weighed, emptied
from fleetgauge.rollup.sources.port import Row
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.tables import STORE, table
from fleetgauge.rollup.values import Emptied
from fleetgauge.rollup.windows import window_start

_NOTE = """
INSERT INTO fleetgauge.emptied (metric, window_start, window_end, counted, left_of_it) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (metric, window_start) DO UPDATE SET counted = excluded.counted, left_of_it = excluded.left_of_it
"""
_FORGET = "DELETE FROM fleetgauge.emptied WHERE metric = %s AND window_start = ANY (%s)"
_KNOWN = """
SELECT window_start, window_end, counted, left_of_it, accepted FROM fleetgauge.emptied WHERE metric = %s
ORDER BY window_start
"""
ACCEPTED = "losses accepted"
"""The reason of a restatement that somebody has asked for, knowing what the source has lost."""
_NEAR = timedelta(days=31)
"""How far from a window that loses facts others count that have lost theirs before."""

# What somebody has accepted, and what was restated before that, is settled.
_RESTATED = """
SELECT r.window_start, -sum(r.change)::bigint FROM fleetgauge.restatement AS r
LEFT JOIN (SELECT window_start, max(restated_at) AS at FROM fleetgauge.restatement WHERE metric = %(metric)s
    AND window_start >= %(begin)s AND window_start < %(end)s AND reason = %(accepted)s GROUP BY 1) AS a
    USING (window_start)
WHERE r.metric = %(metric)s AND r.version = %(version)s AND r.level = %(level)s AND r.measure = %(measure)s
    AND r.window_start >= %(begin)s AND r.window_start < %(end)s AND (a.at IS NULL OR r.restated_at > a.at)
GROUP BY 1
"""
_ACCEPT = "UPDATE fleetgauge.emptied SET accepted = %s WHERE metric = %s AND accepted IS NULL"


def lost(connection: Connection[Any], definition: Definition, weighed: Collection[Weighed]) -> list[Weighed]:
    """Those of the weighed hours that have lost their facts, by what they and their days once had."""
    if not any(one.found < one.counted for one in weighed):
        return []
    zone = definition.time_zone
    span = (min(one.window_start for one in weighed), max(one.window_end for one in weighed))
    hours = _restated(connection, definition, definition.compared, span)
    if "day" not in definition.grains:
        return emptied(weighed, zone, {at: Before(0, n) for at, n in hours.items()})
    taken = _restated(connection, definition, "day", (span[0] - _NEAR, span[1] + _NEAR))
    days = {window_start(one.window_start, "day", zone) for one in weighed} | {at for at, n in taken.items() if n > 0}
    level = _whole(definition, "day")
    counted = dict(
        connection.execute(
            sql.SQL("SELECT window_start, sum({})::bigint FROM {} WHERE window_start = ANY (%s) GROUP BY 1").format(
                facts_of(definition), table(definition, level)
            ),
            [list(days)],
        ).fetchall()
    )
    return emptied(
        weighed,
        zone,
        {at: Before(0, n) for at, n in hours.items()},
        {day: Before(counted.get(day, 0), taken.get(day, 0)) for day in days},
    )


def _restated(connection: Connection[Any], definition: Definition, grain: Grain, span: Span) -> dict[datetime, int]:
    """How many facts fewer each window of the grain has by restatements; those that have more are negative."""
    name = _plain_count(definition)
    if name is None:
        return {}
    values = {
        "metric": definition.metric,
        "version": definition.version,
        "level": _whole(definition, grain).name,
        "measure": name,
        "begin": span[0],
        "end": span[1],
        "accepted": ACCEPTED,
    }
    return dict(connection.execute(_RESTATED, values).fetchall())


def weigh(connection: Connection[Any], definition: Definition, level: Level, span: Span) -> list[Weighed]:
    """The final hours in `span`: facts by the table of `level` (with all dimensions), and by `staged`.

    Days, where the metric, or the level, has no hours.

    Facts are what a `count` without a condition says; where there is none, the cells are counted.
    """
    coarser = max(definition.compared, level.grain, key=GRAINS.index)
    grain, zone = sql.Literal(coarser), sql.Literal(definition.time_zone)
    query = sql.SQL(
        "SELECT w, fleetgauge.window_end(w, {grain}, {zone}), sum(counted)::bigint, sum(found)::bigint FROM ("
        "SELECT fleetgauge.window_start(window_start, {grain}, {zone}) AS w, counted, found FROM ("
        "SELECT window_start, sum({facts}) AS counted, 0 AS found FROM {table}"
        " WHERE window_start >= %(begin)s AND window_start < %(end)s GROUP BY 1 UNION ALL"
        " SELECT window_start, 0, sum({facts}) FROM staged"
        " WHERE window_start >= %(begin)s AND window_start < %(end)s GROUP BY 1) AS windows) AS hours"
        " WHERE w <@ (SELECT closed FROM fleetgauge.ledger WHERE metric = %(metric)s AND version = %(version)s"
        " AND grain = {grain}) GROUP BY 1 ORDER BY 1"
    ).format(grain=grain, zone=zone, facts=facts_of(definition), table=table(definition, level))
    values = {"begin": span[0], "end": span[1], "metric": definition.metric, "version": definition.version}
    return [Weighed(*row) for row in connection.execute(query, values).fetchall()]


def counted(connection: Connection[Any], definition: Definition, span: Span) -> dict[datetime, int]:
    """The facts that a version's minutes have, by minute; cells, where it does not count them all."""
    minute = definition.levels[0]
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{STORE}.{definition.table(minute)}"])
    if there.fetchone() != (True,):
        return {}
    query = sql.SQL(
        "SELECT window_start, sum({})::bigint FROM {} WHERE window_start >= %s AND window_start < %s GROUP BY 1"
    ).format(facts_of(definition), table(definition, minute))
    return dict(connection.execute(query, list(span)).fetchall())


def facts_read(definition: Definition, rows: Sequence[Row]) -> int:
    """The same of a source's rows of one minute."""
    name, skipped = _plain_count(definition), 1 + len(definition.dimensions)
    if name is None:
        return len(rows)
    column = skipped + [c.name for c in definition.columns].index(name)
    return sum(row[column] for row in rows)


def _plain_count(definition: Definition) -> str | None:
    """The measure that counts all facts; None if there is none."""
    return next((c.name for c in definition.columns if isinstance(c.measure, Count) and not c.measure.where), None)


def counts_facts(definition: Definition) -> bool:
    """Whether lost facts can be told from time that is taken away: an interval's metric has to count them for that."""
    return definition.interval is None or _plain_count(definition) is not None


def facts_of(definition: Definition) -> sql.Composable:
    """How many facts a row counts; 1 where nothing tells."""
    name = _plain_count(definition)
    return sql.SQL("1") if name is None else sql.Identifier(name)


def _whole(definition: Definition, grain: Grain) -> Level:
    return next(level for level in definition.levels if level.whole and level.grain == grain)


def note(connection: Connection[Any], definition: Definition, found: Iterable[Weighed]) -> None:
    """These have lost facts; what was accepted stays so."""
    rows = [(definition.metric, one.window_start, one.window_end, one.counted, one.found) for one in found]
    connection.cursor().executemany(_NOTE, rows)


def forget(connection: Connection[Any], definition: Definition, hours: Iterable[datetime]) -> None:
    """These have their facts again, or somebody said that they are rightly gone."""
    connection.execute(_FORGET, [definition.metric, list(hours)])


def known(connection: Connection[Any], metric: str) -> list[Emptied]:
    """All that are noted, oldest first."""
    return [Emptied(*row) for row in connection.execute(_KNOWN, [metric]).fetchall()]


def accept(connection: Connection[Any], metric: str, reason: str) -> None:
    """Let them keep their numbers for good."""
    connection.execute(_ACCEPT, [reason, metric])

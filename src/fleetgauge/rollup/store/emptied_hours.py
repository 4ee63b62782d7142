"""Final hours whose facts the source has lost: weighing them, and what is noted of them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Level
from fleetgauge.rollup.definitions.measures import Count
from fleetgauge.rollup.plan.emptied import Weighed
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.tables import table
from fleetgauge.rollup.values import Emptied

_NOTE = """
INSERT INTO fleetgauge.emptied (metric, window_start, window_end, counted, left_of_it) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (metric, window_start) DO UPDATE SET counted = excluded.counted, left_of_it = excluded.left_of_it
"""
_FORGET = "DELETE FROM fleetgauge.emptied WHERE metric = %s AND window_start = ANY (%s)"
_KNOWN = """
SELECT window_start, window_end, counted, left_of_it, accepted FROM fleetgauge.emptied WHERE metric = %s
ORDER BY window_start
"""
_ACCEPT = "UPDATE fleetgauge.emptied SET accepted = %s WHERE metric = %s AND accepted IS NULL"


def weigh(connection: Connection[Any], definition: Definition, level: Level, span: Span) -> list[Weighed]:
    """The final hours in `span`: facts by the table of `level` (with all dimensions), and by `staged`.

    Days, where the metric, or the level, has no hours.

    Facts are what a `count` without a condition says; where there is none, the cells are counted.
    """
    plain = (c.name for c in definition.columns if isinstance(c.measure, Count) and not c.measure.where)
    name = next(plain, None)
    facts: sql.Composable = sql.SQL("1") if name is None else sql.Identifier(name)
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
    ).format(grain=grain, zone=zone, facts=facts, table=table(definition, level))
    values = {"begin": span[0], "end": span[1], "metric": definition.metric, "version": definition.version}
    return [Weighed(*row) for row in connection.execute(query, values).fetchall()]


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

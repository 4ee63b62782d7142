"""In which cells each row was when it was read, for definitions whose rows may move.

A cell is noted before it is computed and forgotten once a run is through that saw the row elsewhere. So whatever a
lost run has written is found by the next.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.values import Cell, Placed

_AT_ONCE = 20_000


def note(connection: Connection[Any], definition: Definition, rows: Sequence[Placed]) -> None:
    """Remember where these rows are now. Inside a transaction under the metric's lock.

    Many at once, as a first fill has hundreds of thousands; of one that was read twice the later change counts.
    """
    placed = [(row.key, row.cell[0], row.changed_at, *row.cell[1]) for row in rows if row.cell is not None]
    if not placed:
        return
    dimensions = [sql.Identifier(f"d{number}") for number in range(len(placed[0]) - 3)]
    statement = sql.SQL(
        "INSERT INTO fleetgauge.placement AS p (metric, version, key, window_start, dimensions, changed_at)"
        " SELECT %s, %s, key, window_start, ARRAY[{dimensions}]::text[], max(changed_at)"
        " FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]{arrays})"
        " AS r({columns}) GROUP BY key, window_start, 5"
        " ON CONFLICT (metric, version, key, window_start, dimensions)"
        " DO UPDATE SET changed_at = greatest(p.changed_at, excluded.changed_at)"
    ).format(
        dimensions=sql.SQL(", ").join(dimensions),
        arrays=sql.SQL(", %s::text[]" * len(dimensions)),
        columns=sql.SQL(", ").join([*map(sql.Identifier, ("key", "window_start", "changed_at")), *dimensions]),
    )
    for begin in range(0, len(placed), _AT_ONCE):
        columns = [list(column) for column in zip(*placed[begin : begin + _AT_ONCE], strict=True)]
        connection.execute(statement, [definition.metric, definition.version, *columns])


def known(connection: Connection[Any], definition: Definition, rows: Sequence[Placed]) -> set[Cell]:
    """All cells that these rows were noted in. Inside a transaction under the metric's lock."""
    if not rows:
        return set()
    found = connection.execute(
        "SELECT DISTINCT window_start, dimensions FROM fleetgauge.placement"
        " WHERE metric = %s AND version = %s AND key = ANY (%s)",
        [definition.metric, definition.version, [row.key for row in rows]],
    ).fetchall()
    return {(window, tuple(values)) for window, values in found}


def departed(connection: Connection[Any], definition: Definition, rows: Sequence[Placed]) -> dict[datetime, int]:
    """How many of these rows were noted in each hour (of a metric without hours: day) in which they are no more."""
    if not rows:
        return {}
    grain, zone = definition.compared, definition.time_zone
    found = connection.execute(
        "SELECT h, count(*) FROM (SELECT DISTINCT p.key, fleetgauge.window_start(p.window_start, %(grain)s, %(zone)s)"
        " AS h, fleetgauge.window_start(r.at, %(grain)s, %(zone)s) AS now FROM fleetgauge.placement AS p"
        " JOIN unnest(%(keys)s::text[], %(changed)s::timestamptz[], %(at)s::timestamptz[]) AS r(key, changed_at, at)"
        " ON p.key = r.key AND p.changed_at < r.changed_at"
        " WHERE p.metric = %(metric)s AND p.version = %(version)s) AS noted WHERE h IS DISTINCT FROM now GROUP BY h",
        {
            "grain": grain,
            "zone": zone,
            "keys": [row.key for row in rows],
            "changed": [row.changed_at for row in rows],
            "at": [row.cell and row.cell[0] for row in rows],
            "metric": definition.metric,
            "version": definition.version,
        },
    )
    return dict(found.fetchall())


def settle(connection: Connection[Any], definition: Definition, rows: Sequence[Placed]) -> None:
    """Forget the cells that these rows have left: they are computed anew. Inside the last transaction of a run."""
    if rows:
        connection.execute(
            "DELETE FROM fleetgauge.placement AS p USING unnest(%s::text[], %s::timestamptz[]) AS r(key, changed_at)"
            " WHERE p.metric = %s AND p.version = %s AND p.key = r.key AND p.changed_at < r.changed_at",
            [[r.key for r in rows], [r.changed_at for r in rows], definition.metric, definition.version],
        )

"""Keeps runs from storing erased persons again, whom a source may still hold."""

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Distinct
from fleetgauge.rollup.store.store_sql import STAGED

_PRINTS = """
SELECT coalesce(array_agg(DISTINCT print), '{}') FROM fleetgauge.erasure, unnest(prints) AS print WHERE key_id = %s
"""


def leave_out_erased(connection: Connection, definition: Definition) -> None:
    """Take the fingerprints of erased persons out of `staged`, before anything is made of it; blocks.

    Called by whoever fills it. Costs a small question where nobody was erased.
    """
    names = [
        sql.Identifier(column.name)
        for column in definition.columns
        if isinstance(column.measure, Distinct) and column.measure.personal
    ]
    if not names:
        return
    prints = next(iter(connection.execute(_PRINTS, [definition.distinct_key])))[0]
    for name in names if prints else ():
        connection.execute(
            sql.SQL(
                "UPDATE {t} SET {c} = fleetgauge.distinct_without({c}, %(p)s::integer[])"
                " WHERE {c} IS DISTINCT FROM fleetgauge.distinct_without({c}, %(p)s::integer[])"
            ).format(t=STAGED, c=name),
            {"p": prints},
        )

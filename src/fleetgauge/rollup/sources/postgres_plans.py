"""What a question would cost a Postgres, as its planner guesses: no row is read."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fleetgauge.postgres import Connection, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources import postgres_held, postgres_sql
from fleetgauge.rollup.sources.indexes import LARGE, told
from fleetgauge.rollup.spans import MINUTE


def explained(connection: Connection[Any], query: sql.Composable) -> Mapping[str, Any]:
    """The root of the query's plan. The query is not run."""
    ((found,),) = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query)).fetchall()
    plan: Mapping[str, Any] = found[0]["Plan"]
    return plan


def dear_on_postgres(connection: Connection[Any], definition: Definition, now: datetime) -> dict[str, dict[str, int]]:
    """Question of a run → large tables that it would read from end to end, with about how many rows each has."""
    asked = {told(definition.event_time): postgres_sql.windows(definition, (now - MINUTE, now))}
    if definition.change_time is not None:
        asked[told(definition.change_time, changes=True)] = (
            postgres_held.held_since(definition, now - MINUTE, now)
            if definition.interval is not None
            else postgres_sql.touched(definition, now - MINUTE, None)
        )
    return {what: _scanned(connection, explained(connection, query)) for what, query in asked.items()}


def _scanned(connection: Connection[Any], plan: Mapping[str, Any]) -> dict[str, int]:
    names = sorted({node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"})
    found = connection.execute(
        "SELECT relname, reltuples::bigint FROM pg_class WHERE relname = ANY (%s) AND relkind IN ('r', 'm')"
        " AND pg_table_is_visible(oid) AND reltuples > %s",
        [names, LARGE],
    ).fetchall()
    return dict(found)


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)

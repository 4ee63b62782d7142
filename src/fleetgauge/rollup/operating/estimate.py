"""What work would cost the source, as its planner guesses or its index counts: no row is read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.sources.postgres import PostgresFacts
from fleetgauge.rollup.spans import Span

LARGE = 100_000
"""Rows from which on reading a whole table is worth a warning."""


def facts_in(origin: Source, definition: Definition, spans: Sequence[Span]) -> int | None:
    """About how many facts have their event time in the spans; None where the source can't tell."""
    if not spans:
        return 0
    with origin.look(definition) as facts:
        return facts.about(_few(spans))


def scanned(facts: PostgresFacts, plan: Mapping[str, Any]) -> dict[str, int]:
    """Large tables that the plan would read from end to end, with about how many rows each has."""
    names = sorted({node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"})
    found = facts.connection.execute(
        "SELECT relname, reltuples::bigint FROM pg_class WHERE relname = ANY (%s) AND relkind IN ('r', 'm')"
        " AND pg_table_is_visible(oid) AND reltuples > %s",
        [names, LARGE],
    ).fetchall()
    return dict(found)


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _few(spans: Sequence[Span], limit: int = 20) -> Sequence[Span]:
    """Many small holes are told as the stretch around them."""
    return spans if len(spans) <= limit else [(min(b for b, _ in spans), max(e for _, e in spans))]

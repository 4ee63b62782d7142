"""What work would cost the source, as its planner guesses or its index counts: no row is read."""

from collections.abc import Sequence

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources.port import Source
from fleetgauge.rollup.spans import Span


def facts_in(origin: Source, definition: Definition, spans: Sequence[Span]) -> int | None:
    """About how many facts have their event time in the spans; None where the source can't tell."""
    if not spans:
        return 0
    with origin.look(definition) as facts:
        return facts.about(_few(spans))


def _few(spans: Sequence[Span], limit: int = 20) -> Sequence[Span]:
    """Many small holes are told as the stretch around them."""
    return spans if len(spans) <= limit else [(min(b for b, _ in spans), max(e for _, e in spans))]

"""A `key` that several rows of one look have identifies none of them."""

from collections import Counter
from collections.abc import Sequence

from fleetgauge.errors import Terminal
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.values import Placed


def refuse_shared(definition: Definition, rows: Sequence[Placed]) -> None:
    """Raises `Terminal` where rows that one look found, each once, have the same key.

    When one of them changes, it would be forgotten in which cells the others are: one that moves later would stay
    counted where it was.
    """
    often = Counter(row.key for row in rows)
    if len(often) == len(rows):
        return
    shared = sorted(key for key, n in often.items() if n > 1)
    raise Terminal(
        f"sql/metrics/{definition.metric}/metric.yaml:{definition.line('key')}: key: {definition.key} identifies no "
        f"row: {len(shared)} of its values have several rows, such as {', '.join(key[:80] for key in shared[:3])}; "
        "name a column that does, or make one of several in source.sql"
    )

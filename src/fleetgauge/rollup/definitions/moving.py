"""Whether a definition can follow rows that move: whose event time or dimensions change after they were counted.

A row that changes is found by its change time, in the cell where it is now. Only with a `key` is it known where it was
before; without one the old cell would keep counting it. So a definition over rows that change names a key, or says why
they cannot move. What it says wrongly is found by reconcile.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from fleetgauge.rollup.definitions.definition import COMMANDS, Definition
from fleetgauge.rollup.definitions.loader import METRICS_FOLDER, located
from fleetgauge.rollup.definitions.measures import Count


def problems(content: Path, definitions: Iterable[Definition]) -> list[str]:
    """One line, with file and line, for each thing that leaves a definition's proof open. Reads files only."""
    return [
        problem
        for definition in definitions
        for problem in located(
            content / METRICS_FOLDER / definition.metric, list(unproven(definition)), shown_from=content
        )
    ]


def unproven(definition: Definition) -> Iterator[str]:
    """What is open; each begins with the path of a key."""
    if definition.change_time is None:
        if definition.immutable is not None:
            yield "immutable: is about rows that change, so it goes with change_time; remove it"
        return
    if definition.key is not None:
        if definition.immutable is not None:
            yield "immutable: a key follows rows wherever they go; remove one of the two"
        return
    if definition.source == COMMANDS:
        yield "change_time: rows about commands move when an earlier event of theirs comes late; name their key"
        return
    if definition.immutable is None:
        needed = (
            "say `immutable:` and why"
            if definition.interval is not None
            else "name the `key` that identifies a row, or say `immutable:` and why"
        )
        yield f"change_time: a row that changes may have moved in time or dimensions, and would count twice; {needed}"
        return
    changing = _changing(definition)
    for name, dimension in definition.dimensions.items():
        if dimension.column in changing:
            yield (
                f"dimensions.{name}: {dimension.column} decides whether a row is {definition.provisional_while}, so it "
                "changes, whatever `immutable` says; name a key, or leave it out"
            )


def _changing(definition: Definition) -> set[str]:
    """Columns that change by what the definition itself says."""
    opened = definition.measures.get(definition.provisional_while or "")
    return set(opened.where) if isinstance(opened, Count) else set()

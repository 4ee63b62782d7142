"""`lint`'s rule against tables that grow without bounds: no dimension of individual things at a fine grain.

A dimension's limit times the windows of a day is how many rows a day it may make by itself. Above a million and a half,
which is a thousand values by the minute, the metric needs coarser `grains`: a device by the day is a row for each
device, by the minute 1,440. Reads files only, and only to name the line.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, WINDOWS_A_DAY, Grain
from fleetgauge.rollup.definitions.loader import METRICS_FOLDER, located

ROWS_A_DAY = 1_440_000
"""What one dimension may make: 1,000 values by the minute, 60,000 by the hour, more than a limit allows by the day."""


def problems(content: Path, definitions: Iterable[Definition]) -> list[str]:
    """One line, with file and line, for each dimension that has too many values for the finest grain."""
    return [
        problem
        for definition in definitions
        for problem in located(content / METRICS_FOLDER / definition.metric, list(_of(definition)), shown_from=content)
    ]


def _of(definition: Definition) -> Iterator[str]:
    for name, dimension in definition.dimensions.items():
        rows = dimension.limit * WINDOWS_A_DAY[definition.finest]
        if rows > ROWS_A_DAY:
            coarser = next(grains for grains in _coarser() if dimension.limit * WINDOWS_A_DAY[grains[0]] <= ROWS_A_DAY)
            fits = ROWS_A_DAY // WINDOWS_A_DAY[definition.finest]
            yield (
                f"dimensions.{name}: {dimension.limit:,} values by the {definition.finest} are up to {rows:,} rows a "
                f"day; say `grains: [{', '.join(coarser)}]`, or a limit of {fits:,}"
            )


def _coarser() -> Iterator[tuple[Grain, ...]]:
    return (GRAINS[first:] for first in range(1, len(GRAINS)))

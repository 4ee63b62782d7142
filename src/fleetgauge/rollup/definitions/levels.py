"""The tables of a metric: minute → hour → day, or the coarser of them; and subsets of the dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Grain = Literal["minute", "hour", "day"]
GRAINS: tuple[Grain, ...] = ("minute", "hour", "day")

WINDOWS_A_DAY: dict[Grain, int] = {"minute": 1440, "hour": 24, "day": 1}

PARTITIONS: dict[Grain, Literal["month", "year"]] = {"minute": "month", "hour": "year", "day": "year"}
"""How long a partition of each grain is, in the metric's time zone."""


@dataclass(frozen=True)
class Level:
    """One table: windows of a grain, split by some of the dimensions."""

    name: str
    """Also the end of the view's name: `hour`, or `by_zone_hour` for a subset."""
    grain: Grain
    dimensions: tuple[str, ...]
    below: str | None
    """The level that its rows are merged from; None: from the source."""

    @property
    def whole(self) -> bool:
        """Whether it has all dimensions; the ledger speaks of these, subsets follow in the same transaction."""
        return self.name == self.grain


def levels(
    dimensions: tuple[str, ...], subsets: dict[str, tuple[str, ...]], grains: Sequence[Grain] = GRAINS
) -> tuple[Level, ...]:
    """All levels of these grains, each after the one that it is merged from."""
    found = [Level(grain, grain, dimensions, None if n == 0 else grains[n - 1]) for n, grain in enumerate(grains)]
    for name, kept in subsets.items():
        if "hour" in grains:
            found.append(Level(f"{name}_hour", "hour", kept, "hour"))
        found.append(Level(f"{name}_day", "day", kept, f"{name}_hour" if "hour" in grains else "day"))
    return tuple(found)

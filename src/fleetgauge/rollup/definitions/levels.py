"""The tables of a metric: minute → hour → day, and subsets of the dimensions beside hour and day."""

from dataclasses import dataclass
from typing import Literal

Grain = Literal["minute", "hour", "day"]
GRAINS: tuple[Grain, ...] = ("minute", "hour", "day")

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


def levels(dimensions: tuple[str, ...], subsets: dict[str, tuple[str, ...]]) -> tuple[Level, ...]:
    """All levels, each after the one that it is merged from."""
    found = [
        Level("minute", "minute", dimensions, None),
        Level("hour", "hour", dimensions, "minute"),
        Level("day", "day", dimensions, "hour"),
    ]
    for name, kept in subsets.items():
        found.append(Level(f"{name}_hour", "hour", kept, "hour"))
        found.append(Level(f"{name}_day", "day", kept, f"{name}_hour"))
    return tuple(found)

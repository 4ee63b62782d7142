"""What makes numbers of a metric less than whole though every window is computed: facts left out, dimensions full."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetgauge.postgres import Connection
from fleetgauge.rollup.definitions.definition import Definition

NEARLY_FULL = 0.8
"""The share of a dimension's limit from which on it is told."""
FEW = 10
"""A smaller limit says that the values are known, so that all of them being there is no news."""


@dataclass(frozen=True)
class Omission:
    """Facts that are in no number, for one reason."""

    reason: str
    count: int
    keys: Sequence[str]
    """What tells some of them."""

    def __str__(self) -> str:
        return f"{self.count} row(s) are in no number, {self.reason}: {', '.join(self.keys)}"


@dataclass(frozen=True)
class Filling:
    """How many values of a dimension are kept apart."""

    dimension: str
    values: int
    limit: int

    @property
    def full(self) -> bool:
        """Whether every further value is counted together with others."""
        return self.values >= self.limit

    @property
    def matters(self) -> bool:
        """Whether it is nearly full. A dimension of a few known values, such as a direction, may be."""
        return self.limit >= FEW and self.values >= NEARLY_FULL * self.limit

    def __str__(self) -> str:
        what = "further values are counted together" if self.full else "beyond it, values are counted together"
        return f"dimension {self.dimension} has {self.values} of {self.limit} values; {what}"


def omissions(connection: Connection[Any], definition: Definition) -> list[Omission]:
    """By reason, the largest first."""
    rows = connection.execute(
        "SELECT reason, sum(count)::bigint, (array_agg(key ORDER BY seen_at DESC, key))[1:5] FROM ("
        " SELECT reason, CASE WHEN n = 1 THEN count ELSE 0 END AS count, key, seen_at FROM fleetgauge.left_out,"
        " unnest(keys) WITH ORDINALITY AS k(key, n) WHERE metric = %s AND version = %s) AS found"
        " GROUP BY reason ORDER BY 2 DESC, 1",
        [definition.metric, definition.version],
    ).fetchall()
    return [Omission(*row) for row in rows]


def fillings(connection: Connection[Any], definition: Definition) -> list[Filling]:
    """Of each dimension, in the definition's order."""
    known = dict(
        connection.execute(
            "SELECT dimension, count(*) FROM fleetgauge.dimension_value WHERE metric = %s AND version = %s GROUP BY 1",
            [definition.metric, definition.version],
        ).fetchall()
    )
    return [Filling(name, known.get(name, 0), one.limit) for name, one in definition.dimensions.items()]

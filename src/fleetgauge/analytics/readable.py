"""What there is to read, as the metrics database itself says it (views `metrics.metric`, `.dimension`, `.measure`)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetgauge.errors import Terminal
from fleetgauge.files.plain import nearest
from fleetgauge.postgres import Connection, class_row, errors

_METRIC = """
SELECT name, metric, derived, coalesce(description, '') AS description, time_zone, dimensions,
    coalesce(subsets, '{}') AS subsets, least_persons, final_until, frozen_before
FROM metrics.metric ORDER BY name
"""
_MEASURES = """
SELECT measure AS name, aggregate, type, coalesce(description, '') AS description, label, unit, numerator,
    denominator, over_rows
FROM metrics.measure WHERE name = %s ORDER BY position
"""


@dataclass(frozen=True)
class ReadableMeasure:
    """A column of the views; `over_rows` is the SQL that reads it over several rows."""

    name: str
    aggregate: str
    type: str
    description: str
    label: str
    unit: str
    numerator: str | None
    denominator: str | None
    over_rows: str


@dataclass(frozen=True)
class Readable:
    """A metric, or a family of views derived from one."""

    name: str
    metric: str
    """Whose rows it is made of; its retention and its ledger count."""
    derived: bool
    description: str
    time_zone: str
    dimensions: list[str]
    subsets: Mapping[str, list[str]]
    """Stem of its views → the dimensions that they have; without the views that have all."""
    least_persons: int | None
    """Numbers about fewer persons are kept back."""
    final_until: datetime | None
    frozen_before: datetime | None

    def stem(self, needed: Collection[str]) -> str:
        """The smallest views that have these dimensions, as their name before the grain."""
        fit = [(len(kept), stem) for stem, kept in self.subsets.items() if set(needed) <= {*kept}]
        return min([*fit, (len(self.dimensions), self.name)])[1]

    def refuse_unknown(self, dimensions: Collection[str]) -> None:
        """Raises `Terminal` for what is no dimension of it."""
        for name in dimensions:
            if name not in self.dimensions:
                known = ", ".join(self.dimensions) or "none"
                hint = nearest(name, self.dimensions)
                raise Terminal(f"{self.name} has no dimension {name!r}{hint} (it has: {known})")


def all_readable(connection: Connection) -> list[Readable]:
    """Everything, by name. Raises `Terminal` before `fleetgauge migrate`."""
    try:
        return connection.cursor(row_factory=class_row(Readable)).execute(_METRIC).fetchall()
    except errors.UndefinedTable:
        raise Terminal(
            "the metrics database has no view metrics.metric, which says what can be read; run fleetgauge migrate"
        ) from None


def find(connection: Connection, name: str) -> Readable:
    """What is called so. Raises `Terminal` with the nearest name."""
    known = {one.name: one for one in all_readable(connection)}
    if name not in known:
        hint = nearest(name, known)
        raise Terminal(f"there is no metric {name!r} to read{hint} (there are: {', '.join(known) or 'none'})")
    return known[name]


def measures_of(connection: Connection, readable: Readable, chosen: Sequence[str] | None) -> list[ReadableMeasure]:
    """Its measures, those `chosen` in that order; by default all. Raises `Terminal` for what is none."""
    cursor = connection.cursor(row_factory=class_row(ReadableMeasure))
    found = {one.name: one for one in cursor.execute(_MEASURES, [readable.name])}
    for name in chosen or ():
        if name not in found:
            hint = nearest(name, found)
            raise Terminal(f"{readable.name} has no measure {name!r}{hint} (it has: {', '.join(found)})")
    return list(found.values()) if chosen is None else [found[name] for name in dict.fromkeys(chosen)]

"""Numbers of a metric that `fleetgauge exporter` tells Prometheus as gauges: what `export:` of metric.yaml says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from fleetgauge.rollup.definitions.levels import Grain, Level
from fleetgauge.rollup.definitions.measures import STRICT, Identifier, Measure, Number, Percentile, Ratio
from fleetgauge.rollup.definitions.periods import Period

LONGEST = timedelta(days=35)
RESERVED_LABELS = frozenset({"over", "quantile", "le", "job", "instance"})
"""Labels that say something else."""
QUANTILES = (0.5, 0.95)
"""Of a percentile measure."""

_STEPS: Sequence[tuple[Grain, timedelta, timedelta]] = (
    ("minute", timedelta(minutes=1), timedelta(hours=6)),
    ("hour", timedelta(hours=1), timedelta(days=3)),
    ("day", timedelta(days=1), LONGEST),
)
"""Grain, its windows' length, and up to which span it is read: so a scrape reads some hundred windows at most."""

Problems = Iterator[tuple[tuple[str | int, ...], str]]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GaugeExport:
    """Measures over the newest final windows, for alerts: `{measures: [requested], by: [firmware], over: 1h}`."""

    measures: Annotated[list[Identifier], Field(min_length=1)]
    """Counts, sums, extremes, durations, ratios, percentiles; the first one decides which values are shown."""
    over: Period
    """The span of windows, up to the newest that is final: `15m`, `1h`, `7d`; at most 35 days."""
    by: list[Identifier] = field(default_factory=list)
    """The dimensions that are labels; none: one series."""
    limit: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100
    """How many series each measure may have; further ones are counted together as `other`, which is told."""

    @property
    def said_over(self) -> str:
        """The label `over`: `15m`, `1h`, `7d`."""
        seconds = int(self.over.total_seconds())
        for unit, length in (("d", 86_400), ("h", 3600)):
            if seconds % length == 0:
                return f"{seconds // length}{unit}"
        return f"{seconds // 60}m"


def level_of(export: GaugeExport, levels: Sequence[Level]) -> Level | None:
    """The smallest table that has the dimensions, of the finest grain that is read over such a span; None: there is
    none whose windows make up the span."""
    for grain, length, longest in _STEPS:
        fitting = [one for one in levels if one.grain == grain and set(export.by) <= set(one.dimensions)]
        if fitting and export.over <= longest and export.over >= length and export.over % length == timedelta():
            return min(fitting, key=lambda one: len(one.dimensions))
    return None


def export_problems(
    exports: Sequence[GaugeExport],
    measures: Mapping[str, Measure],
    dimensions: Mapping[str, object],
    levels: Sequence[Level],
    kept: Mapping[Grain, timedelta | None],
) -> Problems:
    """What does not fit the rest of the definition. `kept`: how long rows of each grain are kept; None: for ever."""
    seen: dict[tuple[str, str], int] = {}
    by_of: dict[str, tuple[str, ...]] = {}
    for number, one in enumerate(exports):
        path = ("export", number)
        for name in one.measures:
            measure = measures.get(name)
            if not isinstance(measure, Number | Ratio | Percentile):
                said = "no measure" if measure is None else f"of kind {measure.agg}"
                yield (
                    (*path, "measures"),
                    f"{name} is {said}; choose a number, ratio or percentile",
                )
            if seen.setdefault((name, one.said_over), number) != number:
                yield (*path, "measures"), f"{name} over {one.said_over} is exported twice; remove one"
            if by_of.setdefault(name, tuple(sorted(one.by))) != tuple(sorted(one.by)):
                yield (
                    (*path, "by"),
                    f"{name} is exported by other dimensions too; nobody could sum it",
                )
        unknown = [name for name in one.by if name not in dimensions]
        if unknown or len(set(one.by)) < len(one.by):
            yield (*path, "by"), f"{', '.join(unknown) or 'a name'} is no dimension, or stands there twice"
        for name in sorted(RESERVED_LABELS & set(one.by)):
            yield (*path, "by"), f"{name} is a label that says something else; rename the dimension, column can stay"
        level = None if unknown else level_of(one, levels)
        if not unknown and level is None:
            said = "is no whole number of windows that it has; write minutes up to 6h, hours up to 3d, days up to 35d"
            yield (*path, "over"), said
        elif level is not None and (limit := kept[level.grain]) is not None and limit < one.over:
            yield (*path, "over"), f"is longer than rows of grain {level.grain} are kept (retention)"

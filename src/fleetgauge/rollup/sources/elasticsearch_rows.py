"""Groups of an answer as rows of the rollup: cells, numbers, sketches."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache, partial
from operator import itemgetter
from typing import Any

from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.rollup.definitions.measures import Count, Distinct, Extreme, Percentile, StoredMeasure, Sum, Tally
from fleetgauge.rollup.sketches import distinct
from fleetgauge.rollup.sketches.sketch import bucket, flat
from fleetgauge.rollup.sources import elasticsearch_query as query
from fleetgauge.rollup.sources.elasticsearch_search import Group
from fleetgauge.rollup.values import Cell

_NO_VALUE: Mapping[type, Any] = {Percentile: [], Distinct: ""}
"""Sketches of nothing."""


def celled(groups: Iterator[Group], dimensions: int) -> Iterator[tuple[Cell, Group]]:
    """Neighbours mostly share their cell."""
    pick = itemgetter("w", "w", *map(str, range(dimensions)))  # twice: one alone is no tuple
    before: tuple[Any, ...] = ()
    for group in groups:
        values = pick(group["key"])
        if values != before:
            before = values
            cell = query.instant(values[0]), tuple(query.shown(value) for value in values[2:])
        yield cell, group


def sketches(
    measure: Percentile | Distinct | Tally, groups: Iterator[tuple[Cell, Group]], key: DistinctKey | None
) -> Iterator[tuple[Cell, list[int] | str]]:
    """One sketch a cell, of groups that have a value besides."""
    whole: Callable[[Mapping[int, int]], list[int] | str]
    if isinstance(measure, Percentile):
        number, whole = cache(bucket), flat
    elif isinstance(measure, Tally):
        number, whole = cache(int), flat
    else:
        number, whole = cache(partial(_fingerprint, key=key if measure.personal else None)), _set
    parts: dict[Cell, dict[int, int]] = {}
    before: Cell | None = None
    counts: dict[int, int] = {}
    for cell, group in groups:
        if cell is not before:
            before, counts = cell, parts.setdefault(cell, {})
        at = number(group["key"]["v"])
        counts[at] = counts.get(at, 0) + group["doc_count"]
    for cell, counts in parts.items():
        yield cell, whole(counts)


def numbers(measures: Mapping[str, StoredMeasure], group: Group) -> list[Any]:
    """The group's values in the order of the measures; sketches are empty as yet. Of a tally also what has no value."""
    return [_number(name, measure, group) for name, measure in measures.items()]


def _number(name: str, measure: StoredMeasure, group: Group) -> Any:
    match measure:
        case Count() | Sum() | Extreme():
            return query.number(name, measure, group)
        case Tally():
            return [], int(group[name]["doc_count"])
        case _:
            return _NO_VALUE[type(measure)]


def with_sketch(measure: Percentile | Distinct | Tally, value: Any, sketch: list[int] | str) -> Any:
    """A row's value of a measure, now that its sketch is known."""
    return (sketch, value[1]) if isinstance(measure, Tally) else sketch


def columns(measures: Mapping[str, StoredMeasure], values: list[Any]) -> Iterator[Any]:
    """A row's values by column: a tally has two."""
    for measure, value in zip(measures.values(), values, strict=True):
        if isinstance(measure, Tally):
            yield from value
        else:
            yield value


def rounded(measures: Mapping[str, StoredMeasure], group: Group) -> list[int]:
    """The indices of the sums that Elasticsearch may have rounded."""
    return [i for i, (n, m) in enumerate(measures.items()) if isinstance(m, Sum) and query.rounded(group[n]["v"])]


def group_key(group: Group) -> tuple[Any, ...]:
    """What tells a group from others, whatever value it is split by besides."""
    return tuple(value for name, value in group["key"].items() if name != "v")


def exact(wanted: Collection[tuple[Any, ...]], groups: Iterator[tuple[Cell, Group]]) -> Iterator[tuple[Cell, int]]:
    """What groups by value add to the cells of the wanted groups: whole numbers, of which each is held exactly."""
    for cell, group in groups:
        if group_key(group) in wanted:
            yield cell, int(group["key"]["v"]) * group["doc_count"]


def add(found: dict[Any, list[Any]], cell: Any, measures: Mapping[str, StoredMeasure], values: list[Any]) -> None:
    """Note a row; one that is there already is the same cell by another spelling."""
    known = found.setdefault(cell, values)
    if known is not values:
        for i, measure in enumerate(measures.values()):
            if isinstance(measure, Count | Sum | Extreme):
                known[i] = query.together(measure, known[i], values[i])
            elif isinstance(measure, Tally):
                known[i] = [], known[i][1] + values[i][1]


def _fingerprint(value: Any, key: DistinctKey | None) -> int:
    return distinct.fingerprint(query.text_of(value), key)


def _set(prints: Mapping[int, int]) -> str:
    return distinct.short(distinct.of_fingerprints(prints))

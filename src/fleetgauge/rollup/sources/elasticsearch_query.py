"""What is asked of Elasticsearch: aggregations by minute and dimension, so that no document travels.

Every path comes from a checked definition and every value goes as JSON, so nothing can be injected. Scripts are not
used: many clusters switch them off. A sketch therefore groups by the values themselves, and what they mean to it is
worked out here, by the same code that analysts use.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetgauge.errors import sure
from fleetgauge.postgres.nul_text import with_nul, without_nul
from fleetgauge.progress.cursor import Offsets
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import (
    Comparison,
    Count,
    Distinct,
    Extreme,
    Percentile,
    Scalar,
    StoredMeasure,
    Sum,
    Tally,
    Where,
)
from fleetgauge.rollup.definitions.parts import Dimension
from fleetgauge.rollup.labels import NOT_SET, head_of, is_cut, label_of, value_of
from fleetgauge.rollup.sources.elasticsearch_fields import EVENT_TIME
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.values import LARGEST, LARGEST_WHOLE

Json = dict[str, Any]

PAGE = 10_000
"""Groups in one answer; every cluster's `search.max_buckets` allows so many."""
MINUTE_MS = 60_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = 2**53
"""Below it a double holds every whole number; this one may have been the next, rounded."""


def matching(definition: Definition, *more: Json) -> Json:
    """The metric's documents that fulfil all of `more`."""
    return _all([*conditions(sure(definition.documents, "documents").where), *more])


def counted(definition: Definition, *more: Json) -> Json:
    """Those of them that can be counted."""
    return matching(definition, *more, *({"bool": {"must_not": bad}} for bad in uncountable(definition).values()))


def uncountable(definition: Definition) -> dict[str, Json]:
    """Field → documents whose value of it is no number that can be counted, or a text too long to be indexed.

    One that lacks it can be counted.
    """
    limits: dict[str, float] = {}
    for measure in definition.stored.values():
        match measure:
            case Sum():
                limit: float = LARGEST_WHOLE
            case Extreme() if measure.type != "float":
                limit = EXACT - 1
            case Extreme() | Percentile():
                limit = math.nextafter(LARGEST, 0)
            case _:
                continue
        limits[measure.of] = min(limit, limits.get(measure.of, limit))
    found = {path: _beyond(path, limit) for path, limit in limits.items()}
    unseen = {path: {"term": {"_ignored": path}} for path in _looked_up(definition)}
    return {path: any_of([found[path], one]) if path in found else one for path, one in unseen.items()} | {
        path: one for path, one in found.items() if path not in unseen
    }


def _looked_up(definition: Definition) -> list[str]:
    """The fields that a number depends on besides those that it is made of."""
    found = {dimension.column for dimension in definition.dimensions.values()}
    for measure in definition.stored.values():
        found.update(measure.where, [measure.of] if isinstance(measure, Distinct) else ())
    return sorted(found)


def _beyond(path: str, limit: float) -> Json:
    """Documents with a number above the limit, or below its opposite. `lenient`: where a day's index holds a type that
    cannot even express the limit, none is, and it is no error as in a range query."""
    said = f'{path}:[* TO "-{limit}"}} OR {path}:{{"{limit}" TO *]'
    return {"query_string": {"query": said, "lenient": True}}


def possible(definition: Definition, latest_time: datetime | None = None) -> Json:
    """Documents of an event time that is possible, and lies before the latest time accepted."""
    earliest, before = definition.accepts.instants
    return within([(earliest, before if latest_time is None else max(earliest, min(before, latest_time)))])


def ahead(definition: Definition, latest_time: datetime) -> Json:
    """Those of one that is possible, but not yet."""
    _, before = definition.accepts.instants
    return within([(min(before, latest_time), before)])


def impossible(definition: Definition) -> Json:
    """Those of one that is not, or of none."""
    earliest, before = definition.accepts.instants
    outside: list[Json] = [{"lt": milliseconds(earliest)}, {"gte": milliseconds(before)}]
    without = {"bool": {"must_not": _present(EVENT_TIME)}}
    return any_of([*({"range": {EVENT_TIME: bound}} for bound in outside), without])


def conditions(where: Where) -> list[Json]:
    """`where` as filters. As in SQL, nothing compares with what is missing."""
    return [part for path, test in where.items() for part in _tests(path, test)]


def _tests(path: str, test: Scalar | list[Scalar] | Comparison) -> Iterable[Json]:
    if isinstance(test, list):
        yield {"terms": {path: test}}
    elif not isinstance(test, Comparison):
        yield {"term": {path: test}}
    else:
        if test.eq is not None:
            yield {"term": {path: test.eq}}
        without = [*([] if test.ne is None else [test.ne]), *(test.not_in or ())]
        if without:
            yield _present(path)
            yield {"bool": {"must_not": {"terms": {path: without}}}}
        limits = {name: getattr(test, name) for name in ("lt", "lte", "gt", "gte") if getattr(test, name) is not None}
        if limits:
            yield {"range": {path: limits}}
        if test.is_null is not None:
            yield {"bool": {"must_not": _present(path)}} if test.is_null else _present(path)


def within(spans: Iterable[Span]) -> Json:
    """Documents with an event time in one of the spans."""
    return any_of(
        {"range": {EVENT_TIME: {"gte": milliseconds(begin), "lt": milliseconds(end)}}} for begin, end in spans
    )


def since(watermark: datetime) -> Json:
    """Documents with an event time at or after an instant."""
    return {"range": {EVENT_TIME: {"gte": milliseconds(watermark)}}}


def stored_at(partition: int, offsets: Offsets) -> Json:
    """Documents that came from these positions of the topic."""
    return _all(
        [
            {"term": {"kafka.partition": partition}},
            {"range": {"kafka.offset": {"gte": offsets.start, "lt": offsets.stop}}},
        ]
    )


def any_of(filters: Iterable[Json]) -> Json:
    """Documents that fulfil one of the filters."""
    return {"bool": {"should": list(filters), "minimum_should_match": 1}}


def at_random(where: Json, *, seed: int) -> Json:
    """The same documents, the highest scores at random."""
    score = {"random_score": {"seed": seed, "field": "_seq_no"}}
    return {"function_score": {"query": where, **score, "boost_mode": "replace"}}


def one_of(dimension: Dimension, labels: Collection[str]) -> Json | None:
    """Documents that have one of these labels; None where one stands for what cannot be looked up by terms."""
    if dimension.tile is not None or any(is_cut(label) for label in labels):
        return None
    path = dimension.column
    texts = {value_of(label) for label in labels}
    known = {text for text in texts if text is not None}
    return {"terms": {path: sorted(map(with_nul, known))}} if known == texts else None


def labelled(dimension: Dimension, label: str) -> Json:
    """Documents that have this label; of one that is cut, those that begin like it."""
    path = dimension.column
    if label == NOT_SET:
        return {"bool": {"must_not": _present(path)}}
    if dimension.tile is not None:
        known = re.fullmatch(rf"{dimension.tile}/\d+/\d+", label)
        return {"geo_grid": {path: {"geotile": label}}} if known else {"match_none": {}}
    if is_cut(label):
        return {"prefix": {path: with_nul(head_of(label))}}
    try:
        text = sure(value_of(label), "the value of a label")
    except ValueError:
        return {"match_none": {}}
    return {"term": {path: with_nul(text)}}


def keys(definition: Definition, *, step_ms: int = MINUTE_MS, from_ms: int = 0, value: str | None = None) -> list[Json]:
    """What to group by: windows of `step_ms` counted from `from_ms`, the dimensions by number, and a field's values."""
    by_time: Json = {"field": EVENT_TIME, "fixed_interval": f"{step_ms}ms", "offset": f"{from_ms % step_ms}ms"}
    found: list[Json] = [{"w": {"date_histogram": by_time}}]
    for index, dimension in enumerate(definition.dimensions.values()):
        by: Json = {"field": dimension.column, "missing_bucket": True}
        if dimension.tile is None:
            found.append({str(index): {"terms": by}})
        else:
            found.append({str(index): {"geotile_grid": {**by, "precision": dimension.tile}}})
    if value is not None:
        found.append({"v": {"terms": {"field": value}}})
    return found


def groups(keys: list[Json], numbers: Json, size: int, after: Mapping[str, Any] | None = None) -> Json:
    """An aggregation `all`: a page of groups, with numbers for each."""
    following = {} if after is None else {"after": after}
    return {"all": {"composite": {"size": size, "sources": keys, **following}, "aggs": numbers}}


def search(where: Json, aggregations: Json) -> Json:
    """The body of a search that wants aggregations and no documents."""
    return {"query": where, "aggs": aggregations, "size": 0, "track_total_hits": False}


def numbers(measures: Mapping[str, StoredMeasure]) -> Json:
    """Aggregations beside the count of a group, by measure."""
    found = {}
    for name, measure in measures.items():
        match measure:
            case Count() if measure.where:
                found[name] = {"filter": _all(conditions(measure.where))}
            case Sum():
                found[name] = _filtered(measure.where, {"stats": {"field": measure.of}})
            case Extreme():
                found[name] = _filtered(measure.where, {measure.agg: {"field": measure.of}})
            case Tally():  # those without a value; its values are groups of their own
                without = {"bool": {"must_not": _present(measure.of)}}
                found[name] = {"filter": _all([*conditions(measure.where), without])}
    return found


def number(name: str, measure: Count | Sum | Extreme, group: Mapping[str, Any]) -> int | float | None:
    """The measure's value in the answer for a group; 0 for a sum that is rounded (see `rounded`)."""
    match measure:
        case Count():
            return int(group[name]["doc_count"] if measure.where else group["doc_count"])
        case Sum():
            return 0 if rounded(group[name]["v"]) else int(group[name]["v"]["sum"])
        case Extreme():
            value = group[name]["v"]["value"]
            if value is None or measure.type == "float" or (measure.type is None and not float(value).is_integer()):
                return None if value is None else float(value)
            return int(value)


def rounded(stats: Mapping[str, Any]) -> bool:
    """Whether a sum may have been rounded, since Elasticsearch adds in double precision."""
    if not stats["count"]:
        return False
    # Of one sign, no partial sum is greater than the whole; of both, none is greater than this.
    one_sign = stats["min"] >= 0 or stats["max"] <= 0
    largest = max(abs(stats["min"]), abs(stats["max"]))
    return bool((max(largest, abs(stats["sum"])) if one_sign else largest * stats["count"]) >= EXACT)


def together(measure: Count | Sum | Extreme, one: Any, other: Any) -> Any:
    """The value of two groups that are one to a reader."""
    if not isinstance(measure, Extreme):
        return one + other
    known = [value for value in (one, other) if value is not None]
    return (min if measure.agg == "min" else max)(known, default=None)


def text_of(value: str | bool | int) -> str:
    """A field's value as text that Postgres can hold."""
    if isinstance(value, str):
        return without_nul(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def shown(value: str | bool | int | None) -> str:
    """A field's value as a dimension shows it: the label of its text."""
    return label_of(None if value is None else text_of(value))


SOME_IDS: Json = {"ids": {"top_hits": {"size": 5, "_source": False, "sort": [{EVENT_TIME: "asc"}]}}}
"""An aggregation beside the count of a group: what tells some of its documents."""


def ids(group: Mapping[str, Any]) -> list[str]:
    """The answer to `SOME_IDS`."""
    return sorted(hit["_id"] for hit in group["ids"]["hits"]["hits"])


def instant(ms: float) -> datetime:
    """Milliseconds since the epoch as UTC."""
    return _EPOCH + timedelta(milliseconds=ms)


def milliseconds(at: datetime) -> int:
    """Milliseconds since the epoch, rounded up: documents know no finer time."""
    return (
        -(-(at - _EPOCH) // timedelta(milliseconds=1)) if at >= _EPOCH else (at - _EPOCH) // timedelta(milliseconds=1)
    )


def _filtered(where: Where, aggregation: Json) -> Json:
    return {"filter": _all(conditions(where)), "aggs": {"v": aggregation}}


def _present(path: str) -> Json:
    return {"exists": {"field": path}}


def _all(filters: Sequence[Json]) -> Json:
    return {"bool": {"filter": list(filters)}}

"""Documents that cannot be counted: how many, why, and the ids of some."""

from collections.abc import Iterator
from datetime import datetime

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.sources import elasticsearch_query as query
from fleetgauge.rollup.sources.elasticsearch_fields import EVENT_TIME
from fleetgauge.rollup.sources.elasticsearch_search import Search
from fleetgauge.rollup.values import LeftOut


def left_out(search: Search, definition: Definition, where: query.Json) -> Iterator[LeftOut]:
    """Of those that fulfil `where`, by minute. One that several fields speak against is told for the first. Blocks."""
    bad = query.uncountable(definition)
    counts = search.ask(where, {path: {"filter": one} for path, one in bad.items()}) if bad else {}
    for n, (path, one) in enumerate(bad.items()):
        if counts and counts[path]["doc_count"]:
            alone = {"bool": {"filter": [where, one], "must_not": list(bad.values())[:n]}}
            for group in search.grouped(alone, query.keys(definition)[:1], query.SOME_IDS):
                yield LeftOut(query.instant(group["key"]["w"]), path, group["doc_count"], query.ids(group))


def out_of_range(search: Search, definition: Definition, latest_time: datetime) -> list[LeftOut]:
    """Those whose event time is not possible, or not there; and those of one too far ahead. Blocks."""
    impossible, ahead = query.impossible(definition), query.ahead(definition, latest_time)
    where = query.matching(definition, query.any_of([impossible, ahead]))
    kinds = {"impossible": impossible, "ahead": ahead}
    found = search.ask(where, {name: {"filter": one, "aggs": query.SOME_IDS} for name, one in kinds.items()})
    counted = {name: part for name, part in found.items() if part["doc_count"]} if found else {}
    return [
        LeftOut(None, EVENT_TIME, part["doc_count"], query.ids(part), name == "ahead") for name, part in counted.items()
    ]

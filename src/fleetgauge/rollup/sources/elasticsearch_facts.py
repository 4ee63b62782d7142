"""Facts in Elasticsearch: the documents that ingest has stored, as far as the consumer group has committed.

Committed offsets say what is finished, and the position in each document says what is new; time says neither.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from fleetgauge.elasticsearch.lost_days import Days, lost_spans, opened, whole_again
from fleetgauge.errors import Transient
from fleetgauge.privacy.distinct_key import DistinctKey
from fleetgauge.progress.cursor import GroupCursor
from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.progress.offsets import GroupProgress
from fleetgauge.progress.round_progress import RoundProgress
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.measures import Distinct, Percentile, Tally
from fleetgauge.rollup.sources import elasticsearch_query as query
from fleetgauge.rollup.sources import elasticsearch_rows as answer
from fleetgauge.rollup.sources.elasticsearch_fields import EVENT_TIME
from fleetgauge.rollup.sources.elasticsearch_left_out import left_out, out_of_range
from fleetgauge.rollup.sources.elasticsearch_search import (
    Group,
    Search,
)
from fleetgauge.rollup.sources.port import Row, latest_time
from fleetgauge.rollup.spans import MINUTE, Span, floor, join, union
from fleetgauge.rollup.values import Cell, Cursor, LeftOut, Lost, Placed, Repeated, SourceRows, Touched, Unfollowed

SPANS = 256
"""Separate stretches of time in one search; every cluster's limit on clauses allows so many."""
_DAY = timedelta(days=1)
SAMPLED = 1_000
"""Events of a day whose ids are looked for under other days."""
DAYS = ""
"""In a cursor's token, what is about no consumer group: the daily indices, as `Days.noted` says."""

_log = structlog.get_logger(__name__)
_Groups = Iterator[tuple[Cell, Group]]


@dataclass(frozen=True)
class _Asked:
    """Answers that are under way, and what was asked."""

    filters: tuple[query.Json, ...]
    step_ms: int
    from_ms: int
    numbers: _Groups
    sketches: list[tuple[int, Percentile | Distinct | Tally, _Groups]]
    """For each sketch, by its index, groups with values."""


@dataclass
class ElasticsearchFacts:
    """See `Facts`: one point in time, opened after the offsets were read, so that it shows all that they cover."""

    definition: Definition
    source_watermark: SourceWatermark | None
    search: Search
    progress: Mapping[str, GroupProgress]
    token: Mapping[str, Any] | None
    """A `GroupCursor` for each consumer group; `lost` adds what to remember of the daily indices."""
    key: DistinctKey | None = None
    """Of the fingerprints of persons."""
    kept_from: datetime | None = None
    """Days that end by it have expired."""
    days: Callable[[], Days] = field(default_factory=lambda: lambda: Days("", {}))
    """The daily indices as they are."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Records that Kafka's retention deleted before the consumer read them, by partition."""
    shared: RoundProgress | None = None
    """Where `progress` was asked by an earlier look."""

    def first_event(self) -> datetime | None:
        """See `Facts`."""
        where = query.counted(self.definition, query.possible(self.definition))
        said = self.search.ask(where, {"first": {"min": {"field": EVENT_TIME}}})
        ms = said["first"]["value"] if said else None
        found = [] if ms is None else [query.instant(ms)]
        return min([*found, *self.search.closed.values()], default=None)

    def about(self, spans: Sequence[Span]) -> int | None:
        """See `Facts`. What the index counts."""
        if self._closed_in(spans):
            return None
        where = query.matching(self.definition, query.within(spans))
        found = self.search.ask(where, {"n": {"value_count": {"field": EVENT_TIME}}})
        return int(found["n"]["value"]) if found else 0

    def touched(self, since: Cursor, watermark: datetime, *, first: bool) -> Touched:
        """See `Facts`. What lies at new positions; everything, where old positions may have got new documents."""
        known = msgspec.convert(since.token or {}, dict[str, GroupCursor], strict=False)
        opened = [span for span in self._back(since) if span[0] < watermark]
        new: list[query.Json] = []
        anew = False
        for group, progress in self.progress.items():
            if group not in known or self._anew(known[group], progress):
                anew |= bool(progress.committed)
            else:
                new += [query.stored_at(p, offsets) for p, offsets in known[group].new(progress).items()]
        spans: list[Span] = []
        if anew:
            begin = self.first_event()
            spans = [(floor(begin), watermark)] if begin is not None and begin < watermark else []
            new, opened = [], []
        if anew or first:
            new.append(query.since(watermark))
        spans += [(begin, min(end, watermark)) for begin, end in opened]
        if not new:
            return Touched([], spans)
        where = query.matching(self.definition, query.any_of(new), query.possible(self.definition, latest_time(self)))
        # A metric without minutes computes whole windows, whatever their dimensions.
        dimensions = len(self.definition.dimensions) if self.definition.finest == "minute" else 0
        keys = query.keys(self.definition)[: 1 + dimensions]
        cells = dict.fromkeys(cell for cell, _ in answer.celled(self.search.grouped(where, keys, {}), dimensions))
        return Touched(list(cells), spans)

    def lost(self, since: Cursor | None) -> Lost:
        """See `Facts`. Days that hold fewer documents than before."""
        before = {} if since is None else since.token or {}
        known = msgspec.convert(before, dict[str, GroupCursor], strict=False)
        anew = any(group in known and self._anew(known[group], now) for group, now in self.progress.items())
        at = None if since is None else since.at
        noted = self.days().noted(before.get(DAYS, {}), at, kept_from=self.kept_from, anew=anew)
        missed = {"missed": dict(self.missed)} if self.missed else {}
        unreadable = union((begin, begin + _DAY) for begin in self.search.closed.values())
        return Lost(lost_spans(noted), {**(self.token or {}), DAYS: {**noted, **missed}}, unreadable)

    def windows(self, span: Span) -> list[Row]:
        """See `Facts`. Reads slice by slice, since each further page of an answer costs as much as the first."""
        self._refuse_closed([span])
        rows: list[Row] = []
        at, minutes, coming = span[0], 60, list[_Asked]()
        while at < span[1] or coming:
            before = self.search.groups
            while at < span[1] and len(coming) < 2:
                upto = min(span[1], at + minutes * MINUTE)
                coming.append(self._ask(query.within([(at, upto)])))
                at = upto
            rows += self._rows(coming.pop(0))
            if self.search.groups - before > query.PAGE:
                minutes = max(1, minutes // 2)
            elif self.search.groups - before < query.PAGE // 4:
                minutes *= 2
        return rows

    def cells(self, wanted: Sequence[Cell]) -> list[Row]:
        """See `Facts`. Reads what lies in the cells' minutes and has one of their values, and leaves out the rest."""
        kept, n = set(wanted), 1 + len(self.definition.dimensions)
        spans = join(sorted({window for window, _ in wanted}))
        self._refuse_closed(spans)
        rows: list[Row] = []
        for at in range(0, len(spans), SPANS):
            some = spans[at : at + SPANS]
            texts = zip(*(v for window, v in wanted if some[0][0] <= window < some[-1][1]), strict=True)
            dimensions = self.definition.dimensions.values()
            filters = [query.one_of(one, of) for one, of in zip(dimensions, texts, strict=True)]
            found = self._rows(self._ask(query.within(some), *(f for f in filters if f is not None)))
            rows += [row for row in found if (row[0], row[1:n]) in kept]
        return rows

    def placed(self, span: Span) -> list[Placed]:  # noqa: ARG002 (the port's signature)
        """See `Facts`. Documents never move, so no definition asks."""
        raise AssertionError("a definition over documents has no key")

    @property
    def all_counted(self) -> bool:
        """See `Facts`. Not known."""
        return False

    def left_out(self, spans: Sequence[Span]) -> list[LeftOut]:
        """See `Facts`."""
        chunks = (query.within(spans[at : at + SPANS]) for at in range(0, len(spans), SPANS))
        wheres = (query.matching(self.definition, chunk) for chunk in chunks)
        return [one for where in wheres for one in left_out(self.search, self.definition, where)]

    def out_of_range(self) -> list[LeftOut]:
        """See `Facts`. Consumers dead-letter what is out of the accepted time range; others may have stored more."""
        return out_of_range(self.search, self.definition, latest_time(self))

    def unfollowed(self) -> Unfollowed | None:
        """See `Facts`. Documents never change, and are followed by their position."""
        return None

    def source_rows(self, span: Span, where: Mapping[str, str]) -> SourceRows:
        """See `Facts`."""
        found = [query.within([span])]
        found += [query.labelled(self.definition.dimensions[name], label) for name, label in where.items()]
        matching = query.counted(self.definition, *found)
        counted = self.search.ask(matching, {"n": {"value_count": {"field": EVENT_TIME}}})
        return SourceRows(int(counted["n"]["value"]) if counted else 0, json.dumps({"query": matching}, default=str))

    def dear(self, now: datetime) -> list[str]:  # noqa: ARG002 (the port's signature)
        """See `Facts`. Every field is indexed."""
        return []

    def repeated(self, before: datetime) -> Repeated | None:
        """See `Facts`. The ids of some documents of a day are looked for in all others; no id is asked for in vain."""
        end = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        day = query.within([(end - _DAY, end)])
        ids = self.search.ids(query.at_random(query.matching(self.definition, day), seed=end.toordinal()), SAMPLED)
        if not ids:
            return None
        elsewhere = query.matching(self.definition, {"ids": {"values": ids}}, {"bool": {"must_not": day}})
        twice = sorted(set(self.search.ids(elsewhere, query.PAGE)))
        return Repeated(end - _DAY, len(ids), len(twice), twice[0] if twice else None)

    def totals(self, edges: Sequence[datetime]) -> list[Row]:
        """See `Facts`. Reads in the widest windows that no edge cuts."""
        self._refuse_closed([(edges[0], edges[-1])])
        starts = [query.milliseconds(edge) for edge in edges]
        step = math.gcd(*(start - starts[0] for start in starts[1:]))
        asked = self._ask(query.within([(edges[0], edges[-1])]), step_ms=step, from_ms=starts[0])
        return self._rows(asked, lambda window: bisect_right(starts, query.milliseconds(window)) - 1)

    def _anew(self, cursor: GroupCursor, now: GroupProgress) -> bool:
        """Whether a group went back. Raises `Conflict` where an older answer says so: others may have come further."""
        back = cursor.began_anew(now)
        if back and self.shared is not None:
            self.shared.doubt(self.definition.source)
        return back

    def _back(self, since: Cursor) -> list[Span]:
        """The days that were closed or had lost documents at the cursor, and can be read again."""
        before, noted = (since.token or {}).get(DAYS, {}), (self.lost(since).token or {})[DAYS]
        spans = [*opened(before, noted), *whole_again(before, noted)]
        return [span for span in spans if self.about([span])]  # what was deleted meanwhile changes nothing

    def _closed_in(self, spans: Iterable[Span]) -> list[str]:
        days = self.search.closed.items()
        return [index for index, begin in days if any(b < begin + _DAY and begin < e for b, e in spans)]

    def _refuse_closed(self, spans: Sequence[Span]) -> None:
        """Windows of a closed day would be computed from nothing. Raises `Transient`."""
        closed = self._closed_in(spans)
        if wrong := [index for index in closed if index in self.search.mistyped]:
            fields = ", ".join(self.search.mistyped[wrong[0]])
            raise Transient(
                f"source {self.definition.source}: {wrong[0]} maps {fields} to another type than the contract says, so "
                "that windows of its day cannot be computed; make the index anew (_reindex), or delete it and load its "
                "day again"
            )
        if closed:
            raise Transient(
                f"source {self.definition.source}: {', '.join(closed)} is closed, so that windows of its day cannot be "
                f"computed; open it (POST /{closed[0]}/_open), or delete it if its documents are not wanted"
            )

    def _ask(self, *filters: query.Json, step_ms: int = query.MINUTE_MS, from_ms: int = 0) -> _Asked:
        """Ask for the rows of what fulfils the filters, in windows of `step_ms` counted from `from_ms`."""
        measures = self.definition.stored
        keys = query.keys(self.definition, step_ms=step_ms, from_ms=from_ms)
        numbers = self._grouped(query.counted(self.definition, *filters), keys, query.numbers(measures))
        sketches = [
            (index, measure, self._by_value(measure, filters, step_ms, from_ms))
            for index, measure in enumerate(measures.values())
            if isinstance(measure, Percentile | Distinct | Tally)
        ]
        return _Asked(filters, step_ms, from_ms, numbers, sketches)

    def _rows(self, asked: _Asked, stretch: Callable[[datetime], Any] = lambda window: window) -> list[Row]:
        """The answers as rows; windows of the same `stretch` become one, which stands for all of them."""
        measures = self.definition.stored
        found: dict[Any, list[Any]] = {}
        rounded: dict[int, set[tuple[Any, ...]]] = {}
        for (window, values), group in asked.numbers:
            answer.add(found, (stretch(window), values), measures, answer.numbers(measures, group))
            for index in answer.rounded(measures, group):
                rounded.setdefault(index, set()).add(answer.group_key(group))
        for index, measure, groups in asked.sketches:
            keyed = (((stretch(window), values), group) for (window, values), group in groups)
            for cell, sketch in answer.sketches(measure, keyed, self.key):
                found[cell][index] = answer.with_sketch(measure, found[cell][index], sketch)
        for index, wanted in rounded.items():
            for (window, values), part in self._exact(asked, list(measures.values())[index], wanted):
                found[stretch(window), values][index] += part
        return [(window, *values, *answer.columns(measures, row)) for (window, values), row in found.items()]

    def _exact(self, asked: _Asked, measure: Any, wanted: set[tuple[Any, ...]]) -> Iterator[tuple[Cell, int]]:
        """The parts of these groups' sums, value by value, to be added up here, where whole numbers have no end."""
        step = timedelta(milliseconds=asked.step_ms)
        spans = union((start, start + step) for start in {query.instant(key[0]) for key in wanted})
        for at in range(0, len(spans), SPANS):
            filters = (*asked.filters, query.within(spans[at : at + SPANS]))
            yield from answer.exact(wanted, self._by_value(measure, filters, asked.step_ms, asked.from_ms))

    def _by_value(self, measure: Any, filters: Sequence[query.Json], step_ms: int, from_ms: int) -> _Groups:
        """Groups by the values of the measure's field."""
        where = query.counted(self.definition, *filters, *query.conditions(measure.where))
        keys = query.keys(self.definition, step_ms=step_ms, from_ms=from_ms, value=measure.of)
        return self._grouped(where, keys, {})

    def _grouped(self, where: query.Json, keys: list[query.Json], numbers: query.Json) -> _Groups:
        """The groups, each with the cell that it belongs to. Asks at once."""
        return answer.celled(self.search.grouped(where, keys, numbers), len(self.definition.dimensions))

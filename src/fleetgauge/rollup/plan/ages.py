"""How old facts still enter the numbers: at which grain their rows are kept, and how far back the source is whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.spans import Span, inside, union
from fleetgauge.rollup.windows import BEGINNING, FOREVER, partition_start, widen, window_end


@dataclass(frozen=True)
class Ages:
    """Instants are local midnights of the metric's zone, so that no hour or day has two ages."""

    kept: Mapping[Grain, datetime | None]
    """By grain, from where on rows are kept; None: all."""
    whole_from: datetime | None
    """From where on the source still has every fact; None: from the beginning."""
    lost: Sequence[Span] = ()
    """Time after it of which the source has lost facts."""

    def grain(self, at: datetime) -> Grain | None:
        """The finest grain whose rows are kept for an instant; None: not even the day's."""
        for grain in GRAINS:
            kept_from = self.kept[grain]
            if kept_from is None or at >= kept_from:
                return grain
        return None

    def frozen(self, at: datetime) -> bool:
        """Whether what was computed for an instant stays: its source is not whole any more, or its rows are gone."""
        expired = self.whole_from is not None and at < self.whole_from
        return expired or self.grain(at) is None or inside(at, self.lost)

    def without(self, lost: Iterable[Span], zone: str) -> "Ages":
        """The same, of a source that has lost facts of these spans: whole windows of the grain that is kept there."""
        grains = ((span, self.grain(span[0])) for span in self.split(lost))
        return replace(self, lost=union(widen(span, grain, zone) for span, grain in grains if grain is not None))

    def split(self, spans: Iterable[Span]) -> list[Span]:
        """The same time, cut where an age ends."""
        ends = (*self.kept.values(), self.whole_from, *(end for span in self.lost for end in span))
        cuts = sorted(cut for cut in ends if cut is not None)
        found: list[Span] = []
        for begin, end in spans:
            edges = [begin, *(cut for cut in cuts if begin < cut < end), end]
            found += pairwise(edges)
        return found


def ages(
    definition: Definition,
    kept: Mapping[Grain, datetime | None],
    heartbeat_at: datetime | None,
    unavailable: Iterable[Span] = (),
) -> Ages:
    """What is kept while `heartbeat_at` is the newest heartbeat that rows were computed under.

    `unavailable`: minutes that this version cannot compute; the source is not whole before the end of the first of
    them, which begins with time.
    """
    found = [end for begin, end in unavailable if begin == BEGINNING]
    if definition.source_kept is not None and heartbeat_at is not None:
        lost_until = heartbeat_at - definition.source_kept
        if definition.interval is not None:  # a row that is lost may have held for so long
            lost_until += definition.interval.longest
        found.append(window_end(lost_until, "day", definition.time_zone))
    none: dict[Grain, datetime | None] = {grain: FOREVER for grain in GRAINS if grain not in definition.grains}
    return Ages({**kept, **none}, max(found, default=None))


def kept_from(definition: Definition, now: datetime) -> dict[Grain, datetime | None]:
    """By grain, from where on its rows are kept at `now`: they expire by whole partitions.

    A grain that the metric has not is kept from the end of time on, as if all its rows had expired.
    """
    found: dict[Grain, datetime | None] = {}
    for grain in GRAINS:
        if grain not in definition.grains:
            found[grain] = FOREVER
            continue
        kept: timedelta | None = getattr(definition.retention, grain)
        found[grain] = None if kept is None else partition_start(now - kept, grain, definition.time_zone)
    return found

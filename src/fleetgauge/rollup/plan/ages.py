"""How old facts still enter the numbers: at which grain their rows are kept, and how far back the source is whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import GRAINS, Grain
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.windows import BEGINNING, partition_start, window_end


@dataclass(frozen=True)
class Ages:
    """Instants are local midnights of the metric's zone, so that no hour or day has two ages."""

    kept: Mapping[Grain, datetime | None]
    """By grain, from where on rows are kept; None: all."""
    whole_from: datetime | None
    """From where on the source still has every fact; None: from the beginning."""

    def grain(self, at: datetime) -> Grain | None:
        """The finest grain whose rows are kept for an instant; None: not even the day's."""
        for grain in GRAINS:
            kept_from = self.kept[grain]
            if kept_from is None or at >= kept_from:
                return grain
        return None

    def frozen(self, at: datetime) -> bool:
        """Whether what was computed for an instant stays: its source is not whole any more, or its rows are gone."""
        return self.grain(at) is None or (self.whole_from is not None and at < self.whole_from)

    def split(self, spans: Iterable[Span]) -> list[Span]:
        """The same time, cut where an age ends."""
        cuts = sorted(cut for cut in (*self.kept.values(), self.whole_from) if cut is not None)
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
    return Ages(kept, max(found, default=None))


def kept_from(definition: Definition, now: datetime) -> dict[Grain, datetime | None]:
    """By grain, from where on its rows are kept at `now`: they expire by whole partitions."""
    found: dict[Grain, datetime | None] = {}
    for grain in GRAINS:
        kept: timedelta | None = getattr(definition.retention, grain)
        found[grain] = None if kept is None else partition_start(now - kept, grain, definition.time_zone)
    return found

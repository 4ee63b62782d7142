"""How many broken records a partition has had, and whether the next may still be dead-lettered: pure, no server.

A counter counts record by record in the order of offsets, and travels in the note of each commit. So it is the same
whatever the batches, the workers and the restarts between: a limit that is reached once is reached again at the very
same record.
"""

from collections.abc import Mapping
from typing import Self

import msgspec

from fleetgauge.ingest.consumer import DeadLetterLimit

OTHER, UNREADABLE = "(other)", "(unreadable)"
"""Values that cannot be quarantined: those beyond `VALUES`, and of records that do not say any."""
VALUES = 24
"""Values that are counted by name: a counter has to fit into Kafka's commit metadata (4,096 bytes)."""
WHOLE = ""
"""The one value of a limit that goes by nothing."""


class Quarantine(msgspec.Struct, array_like=True, frozen=True):
    """A value that is over the limit by itself."""

    id: str
    """Of this quarantine: what an operator's acceptance lifts."""
    count: int = 0
    """Its broken records since."""


class Halt(msgspec.Struct, array_like=True, frozen=True):
    """The limit was reached: nothing more is dead-lettered until an operator accepts it."""

    id: str
    error_type: str
    """Of the record that reached it."""
    value: str
    what: str
    """In words: how many of how many."""


class LimitCounter(msgspec.Struct, omit_defaults=True, rename={"quarantined": "apart"}):
    """The count of one partition, up to an offset. On the wire, in the notes of commits, `quarantined` is `apart`."""

    seen: int = 0
    """Recent records."""
    broken: dict[str, int] = msgspec.field(default_factory=dict)
    """Recent broken records by value, quarantined ones included."""
    row: dict[str, int] = msgspec.field(default_factory=dict)
    """Broken records since the last good one by value, without quarantined values."""
    last: str = ""
    """Error type of the last broken record."""
    quarantined: dict[str, Quarantine] = msgspec.field(default_factory=dict)
    used: dict[str, int] = msgspec.field(default_factory=dict)
    """How much of each acceptance (by id) has been used up."""
    halt: Halt | None = None

    @classmethod
    def of(cls, note: Mapping[str, object]) -> Self:
        """What a commit's note holds; an empty one if that is nothing, or of another version."""
        try:
            return msgspec.convert(note, cls)
        except msgspec.ValidationError:
            return cls()

    def copy(self) -> Self:
        """Another one, equal and independent."""
        return type(self)(
            self.seen, dict(self.broken), dict(self.row), self.last, dict(self.quarantined), dict(self.used), self.halt
        )

    def good(self, records: int, limit: DeadLetterLimit, mark: str) -> None:
        """Count `records` good ones, at least one; may end in `halt`. `mark`: id for whatever that begins."""
        self.row = {}
        while records > 0 and self.halt is None:
            step = min(records, max(1, limit.minimum - self.seen))
            self.seen += step
            records -= step
            self._look_at_share(limit, mark)

    def bad(self, error_type: str, value: str, limit: DeadLetterLimit, mark: str, *, in_row: bool = True) -> None:
        """Count a broken one; if that ends in `halt` it must not be dead-lettered.

        Not `in_row`: it counts towards the share alone, as a device that numbers its events anew has many in a row.
        """
        value = self._named(value)
        self.seen += 1
        self.last = error_type
        self.broken[value] = self.broken.get(value, 0) + 1
        if value in self.quarantined:
            self.quarantined[value] = Quarantine(self.quarantined[value].id, self.quarantined[value].count + 1)
            if self.quarantined[value].count > limit.quarantine_at_most:
                self._stop(f"{limit.quarantine_at_most} broken records of {value} have been quarantined", mark, value)
        elif in_row:
            self.row[value] = self.row.get(value, 0) + 1
            length = sum(self.row.values())
            if length >= limit.consecutive:
                self._relieve(self.row, limit.consecutive - 1, limit, f"{length} records in a row are broken", mark)
        if self.halt is None:
            self._look_at_share(limit, mark)

    def lift(self, ids: frozenset[str]) -> None:
        """An operator has decided: what the limit began under these ids is over, and counts begin anew."""
        for value in [value for value, quarantined in self.quarantined.items() if quarantined.id in ids]:
            del self.quarantined[value]
            self.broken.pop(value, None)
        if self.halt is not None and self.halt.id in ids:
            self.halt = None
            self.seen, self.broken, self.row = 0, {}, {}

    def _named(self, value: str) -> str:
        known = self.broken.keys() | self.row.keys() | self.quarantined.keys()
        return value if value in known or len(known) < VALUES else OTHER

    def _look_at_share(self, limit: DeadLetterLimit, mark: str) -> None:
        if self.seen < limit.minimum:
            return
        rest = {value: count for value, count in self.broken.items() if value not in self.quarantined}
        what = f"{sum(rest.values())} of the last {self.seen} records are broken"
        self._relieve(rest, int(limit.ratio * self.seen), limit, what, mark)
        if self.halt is None:
            self._look_at_quarantined(limit, mark)
        self.seen //= 2
        self.broken = {value: count // 2 for value, count in self.broken.items() if count > 1}
        self.quarantined = {
            value: quarantined for value, quarantined in self.quarantined.items() if value in self.broken
        }  # it has healed

    def _relieve(self, counts: dict[str, int], allowed: int, limit: DeadLetterLimit, what: str, mark: str) -> None:
        """Quarantine values until no more than `allowed` are left; stop if that cannot be had."""
        while sum(counts.values()) > allowed:
            worst = max(
                (value for value in counts if value not in (WHOLE, OTHER, UNREADABLE)),
                key=lambda value: (counts[value], value),
                default=None,
            )
            if worst is None:
                self._stop(what, mark, max(counts, key=lambda value: (counts[value], value)))
                return
            self.quarantined[worst] = Quarantine(f"{mark}{len(self.quarantined)}", counts.pop(worst))
            self.row.pop(worst, None)
            if len(self.quarantined) > 1:  # one value that is broken says nothing of the others; two do
                self._look_at_quarantined(limit, mark)
                if self.halt is not None:
                    return

    def _look_at_quarantined(self, limit: DeadLetterLimit, mark: str) -> None:
        quarantined = sum(self.broken.get(value, 0) for value in self.quarantined)
        if quarantined > limit.quarantine_ratio * self.seen:
            values = f"{len(self.quarantined)} values of {limit.by}"
            self._stop(f"{quarantined} of the last {self.seen} records are broken, of {values}", mark, WHOLE)

    def _stop(self, what: str, mark: str, value: str) -> None:
        self.halt = self.halt or Halt(f"{mark}-", self.last, value, what)

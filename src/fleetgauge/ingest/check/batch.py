"""One bulk request in the making, and what is remembered of it until all of its events are final."""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fleetgauge.elasticsearch.answers import Class
from fleetgauge.ingest.read.partition_offsets import Span
from fleetgauge.kafka.records import Record, Records

OVERHEAD = 240
"""Bytes that action line and suffix add to a payload, roughly."""


@dataclass(frozen=True)
class DeadLetter:
    """A Kafka record that can never be stored, and why."""

    record: Record
    error_type: str
    reason: str
    kind: Class = Class.POISON
    """Poison, quarantine or collision."""


@dataclass(frozen=True)
class Part:
    """The documents that came of one chunk of records."""

    first: int
    """The number of its first document in the batch."""
    records: Records
    kept: Sequence[int]
    """Positions of the records that became documents, ascending."""


@dataclass(eq=False)
class Batch:
    """Filled by the poll thread, then owned by one worker thread until it is reported back."""

    opened_at: float
    """Monotonic seconds of the first poll."""
    documents: int = 0
    """How many events are to be written."""
    parts: list[Part] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    """Three pieces a document: action line, payload without its last brace, suffix."""
    poison: list[DeadLetter] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    indices: set[str] = field(default_factory=set)
    near_midnight: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """Documents with an id of their own whose event time is near UTC midnight, in their order: the index, the one on
    the other side of midnight, the id."""
    size: int = 0
    """Bytes of the body, roughly."""
    cancelled: bool = False
    """The partitions have been lost, or the process gives up: what is unfinished comes again."""
    woken: threading.Event = field(default_factory=threading.Event)
    """Ends a wait between two tries."""

    def cancel(self) -> None:
        """Give up what is unfinished, soon; any thread."""
        self.cancelled = True
        self.woken.set()

    def body(self, which: Sequence[int]) -> bytes:
        """The NDJSON body of the documents `which`."""
        lines = self.lines
        if len(which) == self.documents:
            return b"".join(lines)
        return b"".join(piece for i in which for piece in lines[3 * i : 3 * i + 3])

    def id_of(self, i: int) -> tuple[str, str]:
        """Index and id of document `i`."""
        parts = self.lines[3 * i].decode().split('"')  # {"create":{"_index":"…","_id":"…"}}
        return parts[5], parts[9]

    def record(self, i: int) -> Record:
        """The Kafka record of document `i`."""
        part = self.parts[bisect_right(self.parts, i, key=lambda part: part.first) - 1]
        return part.records.record(part.kept[i - part.first])

    def offsets(self, topic: str, partition: int) -> Iterator[int]:
        """The offsets of this partition's documents."""
        for part in self.parts:
            if (part.records.topic, part.records.partition) == (topic, partition):
                yield from (part.records.offsets[position] for position in part.kept)

    def __len__(self) -> int:
        """Records, poisonous ones included."""
        return sum(span.count for span in self.spans)

"""One bulk request in the making, and what is remembered of it until all of its events are final."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetgauge.ingest.offsets import Span

OVERHEAD = 240
"""Bytes that action line and suffix add to a payload, roughly."""


@dataclass(frozen=True)
class DeadLetter:
    """A Kafka record that can never be stored, and why."""

    record: Any
    error_type: str
    reason: str


@dataclass(eq=False)
class Batch:
    """Filled by the poll thread, then owned by one worker thread until it is reported back."""

    opened_at: float
    """Monotonic seconds of the first poll."""
    records: list[Any] = field(default_factory=list)
    """Kafka records of the documents, in the order of `lines`."""
    lines: list[bytes] = field(default_factory=list)
    """Three pieces a document: action line, payload without its last brace, suffix."""
    poison: list[DeadLetter] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    indices: set[str] = field(default_factory=set)
    size: int = 0
    """Bytes of the body, roughly."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set when the partitions have been lost or the process gives up: what is unfinished comes again."""

    def body(self, which: Sequence[int]) -> bytes:
        """The NDJSON body of the documents `which`."""
        lines = self.lines
        if len(which) == len(self.records):
            return b"".join(lines)
        return b"".join(piece for i in which for piece in lines[3 * i : 3 * i + 3])

    def id_of(self, i: int) -> tuple[str, str]:
        """Index and id of document `i`."""
        parts = self.lines[3 * i].decode().split('"')  # {"create":{"_index":"…","_id":"…"}}
        return parts[5], parts[9]

    def __len__(self) -> int:
        """Records, poisonous ones included."""
        return sum(span.count for span in self.spans)

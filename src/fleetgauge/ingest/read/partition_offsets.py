"""Which offset may be committed: everything below it is stored or dead-lettered, whatever the order of completion."""

from collections import deque
from dataclasses import dataclass


@dataclass(eq=False)
class Span:
    """Consecutive records of one partition that finish together."""

    topic: str
    partition: int
    end: int
    """Offset of the record after the last one."""
    count: int
    appended_ms: int
    """Kafka timestamp of the last record, milliseconds since the epoch."""
    event_ms: int
    """Event time of the last valid record, milliseconds since the epoch; 0 if there is none."""
    first_ms: int = -1
    """Kafka timestamp of the first record; -1 if it is not known."""
    finished: bool = False
    counter: object = None
    """The dead-letter tally of the partition after it, once it has been counted."""


class PartitionOffsets:
    """The spans of one partition in the order they were read. One thread at a time.

    Order, not arithmetic, decides what is contiguous: compaction and transaction markers leave holes between offsets.
    """

    def __init__(self) -> None:
        self._open: deque[Span] = deque()
        self._committable: int | None = None
        self.last: Span | None = None
        """The newest span below `committable`."""

    def read(self, span: Span) -> None:
        """Take over the next span, just polled."""
        self._open.append(span)

    def skip(self, topic: str, partition: int, end: int) -> None:
        """Up to `end` there is nothing to read but markers of transactions, and what was aborted or deleted."""
        self._open.append(Span(topic, partition, end, count=0, appended_ms=-1, event_ms=0, finished=True))

    @property
    def committable(self) -> int | None:
        """The end of the longest finished beginning; None until the first span is finished. Never goes back."""
        while self._open and self._open[0].finished:
            span = self._open.popleft()
            self._committable = span.end
            if span.count:
                self.last = span
        return self._committable

    @property
    def outstanding(self) -> int:
        """Records that are read and not below `committable`."""
        return sum(span.count for span in self._open)

"""Counts the broken records of each partition in the order of offsets, whatever the order in which batches finish.

A worker asks `admit` before a batch's dead letters are written. The counter (see `limit_counter`) decides; what it was
after each span goes into the note of the commit that covers the span, so that whoever reads on, reads on with it.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import structlog

from fleetgauge.elasticsearch.answers import Class
from fleetgauge.errors import Stop
from fleetgauge.ingest.check.batch import Batch, DeadLetter, Part
from fleetgauge.ingest.consumer import DeadLetterLimit
from fleetgauge.ingest.deadletters.acceptance import Acceptances, Decided, Decisions, lift, take
from fleetgauge.ingest.deadletters.limit_counter import Halt, LimitCounter
from fleetgauge.ingest.deadletters.payload_value import reader
from fleetgauge.ingest.read.partition_offsets import Span

PartitionId = tuple[str, int]
"""Topic and partition."""
_TICK_S = 0.1


@dataclass(eq=False)
class _Turn:
    """A batch that waits for its records to be counted."""

    batch: Batch
    left: set[PartitionId]
    """Partitions in which they are not counted yet."""
    known: bool = False
    """All of its broken records are known."""


class DeadLetterGuard:
    """Shared by the worker threads and the poll thread."""

    def __init__(
        self,
        consumer: str,
        limit: DeadLetterLimit,
        accepted: Acceptances | None = None,
        tell: Callable[[str, int], None] = lambda _value, _partitions: None,
    ) -> None:
        """`consumer` is its name, for messages. `accepted`: what operators allow besides. `tell`: in how many
        partitions a value is quarantined now."""
        self._consumer = consumer
        self._limit = limit
        self._value = reader(limit.by)
        self._decisions = Decisions(accepted)
        self._tell = tell
        self._shown: dict[str, int] = {}
        self._restored: dict[PartitionId, LimitCounter] = {}
        self._counters: dict[PartitionId, LimitCounter] = {}
        self._halted: dict[PartitionId, Halt] = {}
        self._lines: dict[PartitionId, deque[_Turn]] = {}
        self._turns: dict[Batch, _Turn] = {}
        self._counted = threading.Condition()
        self._log = structlog.get_logger("fleetgauge.ingest").bind(consumer=consumer)

    def expect(self, batch: Batch) -> None:
        """Poll thread: this batch is the next; its partitions' records follow those of the batches before."""
        with self._counted:
            self._expect(batch)

    def admit(self, batch: Batch) -> bool:
        """Count a batch all of whose broken records are known; False if it was cancelled, and nothing may be written.

        With broken records it blocks until the batches before have been counted; those of values that are quarantined
        have then become class `quarantine`. Raises `Stop` beyond the limit: none of the batch may be dead-lettered.
        """
        with self._counted:
            if batch.cancelled:
                return False
            turn = self._turns.get(batch) or self._expect(batch)
            turn.known = True
            for tp in set(turn.left):
                self._advance(tp)
            self._counted.notify_all()
            while batch.poison and turn.left and not self._halted and not batch.cancelled:
                self._counted.wait(_TICK_S)
            if batch.poison and self._halted:  # of any partition: nothing more is dead-lettered at all
                raise Stop(self._refusal(min(self._halted)))
            return not batch.cancelled

    def restore(self, topic: str, partition: int, counter: Mapping[str, object]) -> None:
        """Poll thread, before the first record of a partition: go on with the counter of its last commit."""
        found = LimitCounter.of(counter)
        with self._counted:
            if found.halt is not None or found.quarantined:
                lift(found, self._decisions.known().accepted.get(partition, ()))
            self._counters[topic, partition] = self._restored[topic, partition] = found
            self._show()

    def forget(self) -> None:
        """The partitions are gone: whoever reads them next restores them."""
        with self._counted:
            for of in (self._restored, self._counters, self._halted, self._lines, self._turns):
                of.clear()
            self._counted.notify_all()
            self._show()

    def halted(self) -> Collection[PartitionId]:
        """Partitions in which the limit was reached here: their notes have to be committed."""
        return self._halted.copy().keys()

    def note(self, topic: str, partition: int, covered: Span | None) -> dict[str, object]:
        """For the commit of an offset: the counter after the last span that it covers; None: none of this session."""
        tp = topic, partition
        counter = covered.counter if covered is not None else None
        found = counter if isinstance(counter, LimitCounter) else self._restored.get(tp) or LimitCounter()
        if tp in self._halted:
            found = found.copy()
            found.halt = self._halted[tp]
        note: dict[str, object] = msgspec.to_builtins(found)
        return note

    # Counting, with the lock held

    def _expect(self, batch: Batch) -> _Turn:
        partitions = {(span.topic, span.partition) for span in batch.spans}
        turn = self._turns[batch] = _Turn(batch, partitions)
        for tp in partitions:
            self._lines.setdefault(tp, deque()).append(turn)
        return turn

    def _advance(self, tp: PartitionId) -> None:
        line = self._lines.get(tp, deque())
        while line and line[0].known and tp not in self._halted:
            turn = line[0]
            if not self._count(tp, turn.batch):
                return
            line.popleft()
            turn.left.discard(tp)
            if not turn.left:
                del self._turns[turn.batch]

    def _count(self, tp: PartitionId, batch: Batch) -> bool:
        """False if that reached the limit: the counter then stays what it was before the batch."""
        broken = {
            dead_letter.record.offset: i
            for i, dead_letter in enumerate(batch.poison)
            if (dead_letter.record.topic, dead_letter.record.partition) == tp
        }
        counter = self._counters.get(tp) or LimitCounter()
        quarantined = set(counter.quarantined)
        for span, part in zip(batch.spans, batch.parts, strict=True):
            if (span.topic, span.partition) != tp:
                continue
            counter = counter.copy()
            if not self._count_part(tp, counter, part, batch.poison, broken):
                return False
            span.counter = counter
        self._counters[tp] = counter
        for value in counter.quarantined.keys() - quarantined:
            self._log.error(
                "a value is quarantined: its broken records become dead letters of class quarantine, all others go on",
                value=value,
                by=self._limit.by,
                topic=tp[0],
                partition=tp[1],
                error_type=counter.last,
            )
        if counter.quarantined.keys() != quarantined:
            self._show()
        return True

    def _count_part(
        self, tp: PartitionId, counter: LimitCounter, part: Part, poison: list[DeadLetter], broken: Mapping[int, int]
    ) -> bool:
        halted, offsets, done = counter.halt is not None, part.records.offsets, 0
        for at, offset in _within(offsets, broken):
            if at > done and not self._goes_on(tp, counter, halted, at - done, offset):
                return False
            done = at + 1
            dead_letter = poison[broken[offset]]
            value = self._value(dead_letter.record.value)
            if not self._allowed(tp, counter, dead_letter, value):
                return False
            halted = counter.halt is not None
            if value in counter.quarantined and dead_letter.kind is Class.POISON:
                poison[broken[offset]] = replace(dead_letter, kind=Class.QUARANTINE)
        return done == len(offsets) or self._goes_on(tp, counter, halted, len(offsets) - done, offsets[-1])

    def _goes_on(self, tp: PartitionId, counter: LimitCounter, halted: bool, good: int, offset: int) -> bool:
        """Count good records. One that was halted before goes on with them: nothing of it is dead-lettered."""
        if not halted:
            counter.good(good, self._limit, f"{offset}g")
            if counter.halt is not None:
                self._halted[tp] = counter.halt
                return False
        return True

    def _allowed(self, tp: PartitionId, counter: LimitCounter, dead_letter: DeadLetter, value: str) -> bool:
        """Count a broken record; False if it must not be dead-lettered."""
        kind, offset = dead_letter.error_type, str(dead_letter.record.offset)
        decided = self._decisions.known()
        if take(counter, decided.accepted.get(tp[1], ()), kind, value):
            return True
        if counter.halt is None and not self._elsewhere(tp, decided):
            trial, in_row = counter.copy(), dead_letter.kind is not Class.COLLISION
            trial.bad(kind, value, self._limit, offset, in_row=in_row)
            if trial.halt is None and trial.quarantined.keys() == counter.quarantined.keys():
                counter.bad(kind, value, self._limit, offset, in_row=in_row)
                return True
        # Before it has consequences: perhaps an operator has accepted it meanwhile.
        decided = self._decisions.known(fresh=True)
        if take(counter, decided.accepted.get(tp[1], ()), kind, value):
            return True
        if elsewhere := self._elsewhere(tp, decided):
            self._halted |= elsewhere
            return False
        if counter.halt is None:
            counter.bad(kind, value, self._limit, offset, in_row=dead_letter.kind is not Class.COLLISION)
        if counter.halt is not None:
            self._halted[tp] = counter.halt
        return counter.halt is None

    def _elsewhere(self, tp: PartitionId, decided: Decided) -> dict[PartitionId, Halt]:
        """Other partitions in which the limit was reached, here or at another member, and that nobody has lifted."""
        here = {other: counter.halt for other, counter in self._counters.items()}
        group = {(tp[0], partition): halt for partition, halt in decided.halts.items()} | here
        return {other: halt for other, halt in group.items() if halt is not None and other != tp}

    # Telling, with the lock held

    def _refusal(self, tp: PartitionId) -> str:
        halt = self._halted[tp]
        of = f" of {self._limit.by} {halt.value}" if halt.value else ""
        return (
            f"{halt.what} in {tp[0]} partition {tp[1]}, more than dead_letters allows (the last was "
            f"{halt.error_type}{of}); nothing more of it is dead-lettered, however often this is started, until an "
            "operator says so: correct the producer or the contract, look with `fleetgauge dlq limit "
            f"{self._consumer}`, and decide with `fleetgauge dlq accept {self._consumer} --type {halt.error_type} "
            "--for 1000`"
        )

    def _show(self) -> None:
        counts: dict[str, int] = {}
        for counter in self._counters.values():
            for value in counter.quarantined:
                counts[value] = counts.get(value, 0) + 1
        for value in self._shown.keys() | counts.keys():
            self._tell(value, counts.get(value, 0))
        self._shown = counts


def _within(offsets: Sequence[int], broken: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Position and offset of the broken ones among `offsets`, ascending."""
    for offset in sorted(offset for offset in broken if offsets[0] <= offset <= offsets[-1]):
        yield bisect_left(offsets, offset), offset

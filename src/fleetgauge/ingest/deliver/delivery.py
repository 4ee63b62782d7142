"""Write one batch until every event in it is final: stored, known, or dead-lettered.

Runs in a worker thread and may take as long as Elasticsearch is away; the poll thread goes on polling meanwhile.
"""

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from fleetgauge.elasticsearch.answers import TOO_LARGE, Class, classify
from fleetgauge.elasticsearch.elasticsearch_errors import refusal
from fleetgauge.elasticsearch.transport import Bulk, Cause, error_of
from fleetgauge.errors import FleetgaugeError, Stop, Transient
from fleetgauge.ingest import consumer_metrics as m
from fleetgauge.ingest.check.batch import Batch, DeadLetter
from fleetgauge.ingest.consumer_metrics import Metrics
from fleetgauge.ingest.deadletters.dead_letter_sink import DeadLetterSink
from fleetgauge.ingest.deadletters.limit import DeadLetterGuard
from fleetgauge.ingest.deliver.collisions import Collisions
from fleetgauge.ingest.deliver.resent import Resent
from fleetgauge.ingest.indices.event_indices import Indices
from fleetgauge.kafka.records import Record
from fleetgauge.observability.logs import about
from fleetgauge.observability.tracing import in_span

PATH = "/_bulk?timeout=30s&filter_path=errors,items.*.status,items.*._id,items.*.error.type,items.*.error.reason"
"""Items keep their order; the ids say that they are about what was sent."""
_BASE_S = 0.25
_CAP_S = 30.0
_STALLED_S = 5.0
"""What is tried again for longer holds up the partition: readiness says so."""
_CREATED = b'"status":201'
_RIGHTS = "check elasticsearch.api_key or username and password, and that the role may create_doc on the index"


class _Item(msgspec.Struct, rename={"id": "_id"}):
    status: int
    id: str = ""
    error: Cause | None = None


class _BulkAnswer(msgspec.Struct):
    items: list[dict[str, _Item]]


@dataclass
class Report:
    """What became of a batch."""

    batch: Batch
    created: int = 0
    duplicates: int = 0
    finished: bool = False
    """False: cancelled on the way, or failed; whatever is unfinished must not be committed."""
    error: FleetgaugeError | None = None


@dataclass
class _Try:
    """What is left after an attempt, and why."""

    remaining: list[int] = field(default_factory=list)
    error_type: str = ""
    because: str = ""

    def add(self, which: Sequence[int], error_type: str, because: str) -> None:
        self.remaining += which
        self.error_type = self.error_type or error_type
        self.because = self.because or because


def full_jitter(tries: int, random_: random.Random) -> float:
    """Seconds to wait after `tries` failures (≥ 1): uniform up to a doubling, capped bound ("full jitter")."""
    return random_.uniform(0, min(_CAP_S, _BASE_S * 2.0 ** min(tries - 1, 16)))


class Delivery:
    """Delivers batches; shared by the worker threads."""

    def __init__(
        self,
        consumer: str,
        bulk: Bulk,
        indices: Indices,
        dead_letters: DeadLetterSink,
        guard: DeadLetterGuard,
        metrics: Metrics,
        back_off: Callable[[int], float] | None = None,
        short_lived: Collection[str] = (),
    ) -> None:
        """`consumer` is its name, for the log. `back_off`: seconds to wait after that many failures; full jitter.

        `short_lived`: fields that go before their document does.
        """
        jitter = random.Random()  # noqa: S311 (spreads retries, guards nothing)
        self._bulk = bulk
        self._indices = indices
        self._dead_letters = dead_letters
        self._guard = guard
        self._metrics = metrics
        self._back_off = back_off or (lambda tries: full_jitter(tries, jitter))
        self._collisions = Collisions(bulk, short_lived=short_lived)
        self._resent = Resent(bulk, self._unasked, short_lived)
        self._under_way: set[Batch] = set()
        self._waiting: dict[Batch, tuple[float, str]] = {}
        self._log = structlog.get_logger("fleetgauge.ingest").bind(consumer=consumer)

    def deliver(self, batch: Batch) -> Report:
        """Blocks until the batch is final or cancelled; never raises: the report carries the error."""
        name = _name(batch)
        with about(batch=name), in_span("batch", batch=name, events=batch.documents, bytes=batch.size) as traced:
            report = self._deliver(batch)
            if traced is not None:
                traced.set_attributes({"fleetgauge.created": report.created, "fleetgauge.finished": report.finished})
        return report

    def _deliver(self, batch: Batch) -> Report:
        report = Report(batch)
        self._under_way.add(batch)
        try:
            report.finished = self._write(report) and self._dead_letter(batch)
            if report.finished:
                self._measure(batch)
        except FleetgaugeError as error:
            report.error = error
        except Exception as error:
            ends = {span.partition: span.end for span in batch.spans}
            self._log.exception("unexpected error while a batch was written", offsets=ends)
            report.error = Stop(f"unexpected {type(error).__name__} while a batch was written: {error}; see the log")
        finally:
            self._under_way.discard(batch)
            self._waiting.pop(batch, None)
        return report

    def stalled(self) -> str | None:
        """What holds up a batch for some time already, for readiness; None if nothing does. Any thread."""
        since, because = min(self._waiting.copy().values(), default=(time.monotonic(), ""))
        seconds = time.monotonic() - since
        return f"events wait for {seconds:.0f} s: {because}" if seconds > _STALLED_S else None

    def try_now(self) -> None:
        """Elasticsearch is back: whoever waits between two tries need not wait longer. Any thread; does not block."""
        for batch in self._under_way.copy():
            batch.woken.set()

    def _write(self, report: Report) -> bool:
        batch = report.batch
        resent = self._sent_again(batch)
        if resent is None:
            return False
        pending = [i for i in range(batch.documents) if i not in resent] if resent else list(range(batch.documents))
        duplicates: list[int] = []
        tries = 0
        try:
            while pending:
                if batch.cancelled:
                    return False
                outcome = self._attempt(report, pending, duplicates)
                pending = outcome.remaining
                if pending:
                    tries += 1
                    first = batch.record(pending[0])
                    self._retry(batch, outcome, tries, first)
        finally:
            if tries:
                self._metrics.of(m.RETRY_DEPTH).set(0)
        if tries:
            self._log.info(
                "events that were being retried are stored",
                attempts=tries + 1,
                events=batch.documents,
                partition=first.partition,
                offset=first.offset,
            )
        collided = self._collided(batch, duplicates)
        self._waiting.pop(batch, None)
        if collided is None:
            return False
        report.duplicates = len(duplicates) - len(collided) + len(resent)
        for i in collided:
            self._keep(batch, i)
        return True

    def _measure(self, batch: Batch) -> None:
        now = time.time()
        for span in batch.spans:
            if span.first_ms >= 0:
                self._metrics.of(m.APPEND_TO_ACK).observe(max(0.0, now - span.first_ms / 1000))

    def _retry(self, batch: Batch, outcome: _Try, tries: int, first: Record) -> None:
        self._waits(batch, outcome.because)
        self._metrics.of(m.RETRIES, outcome.error_type).inc()
        self._metrics.of(m.RETRY_DEPTH).set(tries)
        if tries & (tries - 1) == 0:  # attempts 1, 2, 4, 8 …: an outage of hours is a handful of lines
            self._log.warning(
                "events are being retried",
                attempts=tries,
                events=len(outcome.remaining),
                error_type=outcome.error_type,
                because=outcome.because,
                partition=first.partition,
                offset=first.offset,
            )
        batch.woken.wait(self._back_off(tries))
        batch.woken.clear()

    def _waits(self, batch: Batch, because: str) -> None:
        since, _ = self._waiting.get(batch, (time.monotonic(), ""))
        self._waiting[batch] = since, because

    def _attempt(self, report: Report, which: list[int], duplicates: list[int]) -> _Try:
        batch = report.batch
        outcome = _Try()
        body = batch.body(which)
        started = time.monotonic()
        try:
            self._indices.ensure(batch.indices)
            with in_span("bulk", events=len(which), bytes=len(body)):
                answer = self._bulk.request("POST", PATH, body)
        except Transient as error:
            outcome.add(which, "no_answer", str(error))
            return outcome
        self._metrics.of(m.BULK_SECONDS).observe(time.monotonic() - started)
        self._metrics.of(m.BATCH_BYTES).observe(len(body))
        if answer.status == 200:
            self._items(report, which, answer.body, duplicates, outcome)
        elif answer.status == 413 and len(which) > 1:
            half = len(which) // 2
            for part in (which[:half], which[half:]):
                rest = self._attempt(report, part, duplicates)
                outcome.add(rest.remaining, rest.error_type, rest.because)
        elif answer.status == 413:
            reason = f"the server refuses a request of {len(body)} bytes"
            batch.poison.append(DeadLetter(batch.record(which[0]), TOO_LARGE, reason))
        else:
            error_type, reason = error_of(answer.body)
            rule = classify(answer.status, error_type, reason)
            if rule.outcome is not Class.RETRY:
                raise _stop(answer.status, error_type, reason, "a bulk request got HTTP")
            outcome.add(which, error_type, f"{rule.because} ({reason})")
        return outcome

    def _items(self, report: Report, which: list[int], body: bytes, duplicates: list[int], outcome: _Try) -> None:
        if body.startswith(b'{"errors":false') and body.count(_CREATED) == len(which):
            report.created += len(which)
            return
        try:
            items = msgspec.json.decode(body, type=_BulkAnswer).items
            if not all(len(entry) == 1 for entry in items):
                raise msgspec.ValidationError("an item is not about one event")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Stop(f"a bulk answer cannot be read: {error}; is a proxy between us and Elasticsearch?") from None
        if len(items) != len(which):
            raise Stop(f"a bulk answer tells of {len(items)} events, not of the {len(which)} that were sent")
        batch = report.batch
        for i, entry in zip(which, items, strict=True):
            (item,) = entry.values()
            if item.id != batch.id_of(i)[1]:
                raise Stop(
                    f"a bulk answer tells of {item.id!r} where {batch.id_of(i)[1]!r} was sent, so it is not about this "
                    "request; is a proxy mixing up connections?"
                )
            if item.status == 201:
                report.created += 1
                continue
            cause = item.error or Cause("")
            reason = cause.reason or ""
            rule = classify(item.status, cause.type, reason)
            match rule.outcome:
                case Class.OK:
                    report.created += 1
                case Class.DUPLICATE:
                    duplicates.append(i)
                case Class.POISON:
                    batch.poison.append(DeadLetter(batch.record(i), cause.type, reason))
                case Class.RETRY:
                    if cause.type == "index_not_found_exception":
                        self._indices.forget(batch.id_of(i)[0])
                    outcome.add((i,), cause.type, f"{rule.because} ({reason})")
                case Class.STOP:
                    record = batch.record(i)
                    where = f"{record.topic} partition {record.partition} offset {record.offset}"
                    raise _stop(item.status, cause.type, reason, f"the event at {where} got")

    def _collided(self, batch: Batch, duplicates: list[int]) -> list[int] | None:
        """Duplicates under whose id another document is stored; None if the batch was cancelled meanwhile."""
        tries = 0
        while not batch.cancelled:
            try:
                return self._collisions.find(batch, duplicates)
            except Transient as error:
                tries += 1
                self._retry(
                    batch, _Try(duplicates, "collisions_not_compared", str(error)), tries, batch.record(duplicates[0])
                )
        return None

    def _sent_again(self, batch: Batch) -> frozenset[int] | None:
        """Documents that are stored under the neighbouring day already; None if the batch was cancelled meanwhile."""
        tries = 0
        while not batch.cancelled:
            try:
                found = frozenset(self._resent.find(batch))
                self._metrics.of(m.RESENT).inc(len(found))
                return found
            except Transient as error:
                tries += 1
                near = list(batch.near_midnight)
                outcome = _Try(near, "neighbours_not_asked", str(error))
                self._retry(batch, outcome, tries, batch.record(near[0]))
        return None

    def _unasked(self, because: str) -> None:
        self._metrics.of(m.NEIGHBOURS_UNREAD).inc()
        self._log.warning("events near midnight are not looked for in the neighbouring day", because=because)

    def _keep(self, batch: Batch, i: int) -> None:
        """Nobody else has this event: it goes to the dead letters."""
        record, (index, id_) = batch.record(i), batch.id_of(i)
        reason = f"another document is stored in {index} under the id {id_}"
        batch.poison.append(DeadLetter(record, Class.COLLISION.value, reason, Class.COLLISION))
        self._metrics.of(m.COLLISIONS).inc()
        self._log.error(
            "another document is stored under the id of this event, which is kept as a dead letter of class collision",
            id=id_,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )

    def _dead_letter(self, batch: Batch) -> bool:
        if not self._guard.admit(batch):
            return False
        tries = 0
        while batch.poison and not batch.cancelled:
            self._waits(batch, self._waiting.get(batch, (0.0, "Kafka has not acknowledged dead letters"))[1])
            try:
                self._dead_letters.send(batch.poison)
            except Transient as error:
                tries += 1
                self._retry(
                    batch, _Try([0] * len(batch.poison), "dead_letters", str(error)), tries, batch.poison[0].record
                )
                continue
            if tries:
                self._metrics.of(m.RETRY_DEPTH).set(0)
            return True
        return not batch.poison


def _stop(status: int, kind: str, reason: str, what: str) -> FleetgaugeError:
    if status in (401, 403):
        return refusal(status, kind, reason, what, _RIGHTS)
    return Stop(
        f"{what} {status} {kind}: {reason}; this answer is not in the table of docs/ingest.md, so nothing was "
        "committed; see Elasticsearch's log"
    )


def _name(batch: Batch) -> str:
    """For logs and traces: topic and partition of its first stretch, and the offset after that."""
    first = next(iter(batch.spans), None)
    return "empty" if first is None else f"{first.topic}-{first.partition}@{first.end}"

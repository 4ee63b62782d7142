"""From Kafka records to the lines of a bulk body: check against the contract, find id and index, splice the suffix.

No dict is built for an event: the payload is decoded into a typed Struct to check it, and its own bytes are sent. That
is sound because a payload that decodes is exactly one JSON object in UTF-8, so only its last brace has to be moved.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET

from fleetgauge.clock import Clock
from fleetgauge.contracts import ContractSet
from fleetgauge.contracts.load import IDENTITY
from fleetgauge.contracts.names import check_names
from fleetgauge.elasticsearch.answers import TOO_LARGE
from fleetgauge.ingest.check.batch import OVERHEAD, Batch, DeadLetter, Part
from fleetgauge.ingest.check.subjects import Subjects
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.indices.event_indices import DAY_MS, END_MS, NEAR_MS, index_of
from fleetgauge.ingest.read.partition_offsets import Span
from fleetgauge.ingest.read.record_headers import first_try, original_timestamp, wants_new_id
from fleetgauge.ingest.read.replay_signature import authentic
from fleetgauge.kafka.records import Record, Records

_BRACE, _NEWLINE = b"}\n"
_DOT_ENDS_NAME = re.compile(rb'\."\s*:')
AHEAD_MS = 3_600_000
"""Clocks of machines differ by minutes, and a producer's may be so much ahead of ours."""
_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError)
_ANY = msgspec.json.Decoder(float_hook=float)
"""Reads numbers beyond a double, which a payload may hold in a member that no contract names."""
LARGEST_DOCUMENT = 32 * 1024 * 1024
"""Bytes of a payload that is sent: several copies of it are held meanwhile. A larger one is a dead letter."""


class Decoder:
    """Decodes for one consumer. Belongs to the poll thread; never blocks."""

    def __init__(
        self,
        consumer: Consumer,
        contracts: ContractSet,
        clock: Clock,
        replay_key: str | None = None,
        subjects: Subjects | None = None,
    ) -> None:
        """`replay_key`: what must have signed the headers of a replayed record, or they count for nothing.

        `subjects`: takes those who have been erased out of records; None where no contract names persons.
        """
        self._subjects = subjects
        self._contracts = contracts
        self._prefix = consumer.index
        self._past = consumer.accept_past // timedelta(milliseconds=1)
        self._future = consumer.accept_future // timedelta(milliseconds=1)
        self._age = consumer.accept_age // timedelta(milliseconds=1)
        self._replay_key = replay_key
        self._clock = clock
        self._heads: dict[int, tuple[str, str]] = {}
        self._located = {kind: contracts.kinds[kind].surely_located for kind in contracts.located}
        self._id_characters = b":"
        self._checks: dict[type, _Check] = {}
        for kind, words in contracts.words.items():
            left = dict(zip(words.paths, words.allowed, strict=True))
            if contracts.identified:  # the parts of the document id are checked with it
                self._id_characters = left[IDENTITY[0]] + b":"
                left = {path: allowed for path, allowed in left.items() if path not in IDENTITY}
            if left:
                self._checks[kind] = _Check(_getter(tuple(left)), tuple(left.values()))

    def add(self, batch: Batch, records: Records) -> Span:
        """Append records to the batch, at least one; never raises for what a payload holds."""
        for i, found in records.headers.items():
            records.headers[i] = authentic(found, records.values[i], self._replay_key)
        mark = len(batch.poison), batch.size
        subjects = self._subjects if self._subjects is not None and self._subjects.any else None
        as_came = list(records.values) if subjects is not None else None
        span = Span(
            records.topic,
            records.partition,
            records.offsets[-1] + 1,
            len(records),
            records.timestamps[-1],
            event_ms=0,
            first_ms=records.timestamps[0],
        )
        if subjects is not None:
            subjects.beside(records)
        if not self._append(batch, span, records, self._contracts.closed.decode, self._open, subjects):
            # Somewhere is a character that does not belong there. It is rare, so look at each event with every rule.
            del batch.lines[3 * batch.documents :], batch.poison[mark[0] :]
            batch.near_midnight = {i: near for i, near in batch.near_midnight.items() if i < batch.documents}
            batch.size = mark[1]
            if as_came is not None:
                records.values = as_came
            self._append(batch, span, records, self._strict, self._strict, subjects)
        first = batch.documents
        batch.documents = len(batch.lines) // 3
        if len(batch.poison) == mark[0]:
            kept: Sequence[int] = range(len(records))
        else:
            broken = {dead_letter.record.offset for dead_letter in batch.poison[mark[0] :]}
            kept = [i for i, offset in enumerate(records.offsets) if offset not in broken]
        batch.parts.append(Part(first, records, kept))
        batch.spans.append(span)
        return span

    def _open(self, value: Any) -> Any:
        return self._named(self._contracts.fast.decode(value), value)

    def _strict(self, value: Any) -> Any:
        return self._named(self._contracts.strict.decode(value), value)

    def _named(self, event: Any, value: bytes) -> Any:
        """The event; for one with a name that Elasticsearch would take for another it raises `ValidationError`."""
        if (b'."' in value and _DOT_ENDS_NAME.search(value)) or b'"_' in value or b"\\" in value:
            check_names(self._contracts.kinds[type(event)].node, _ANY.decode(value))
        return event

    def _append(
        self,
        batch: Batch,
        span: Span,
        records: Records,
        decode: Callable[[Any], Any],
        other: Callable[[Any], Any],
        subjects: Subjects | None,
    ) -> bool:
        """False if the fast decoder left something that is wrong; the batch is then to be rolled back.

        What `decode` refuses is given to `other`, whose verdict counts.
        """
        ingested = int(self._clock.now().timestamp() * 1000)
        tail = f',"event.ingested":{ingested},"kafka.partition":{span.partition},"kafka.offset":'.encode()
        identified, located, heads = self._contracts.identified, self._located, self._heads
        # Only a broker's word is believed alone; a producer's, or a replay's of it, is bounded by the clock here.
        believed = ingested - self._age, ingested + AHEAD_MS
        bounds = (0, END_MS) if records.by_broker else believed
        # What holds for all records together is looked at once; where it does not, each of them is looked at.
        plain = subjects is None and _plain(records)
        timely, late = self._surely_timely(records, bounds)
        lines, headers, near_midnight = batch.lines, records.headers, batch.near_midnight
        unchecked = {kind: (check.pick, list[tuple[str, ...]]()) for kind, check in self._checks.items()}
        ids: list[str] = []
        prefix = f"{span.topic}-{span.partition}-"
        kind: type | None = None
        size = last = 0
        day, head, calm_begin, calm_end = -1, "", 0, 0
        values: Sequence[Any] = records.values
        rows = zip(range(len(records)), values, records.offsets, records.timestamps, strict=True)
        for i, value, offset, appended in rows:
            try:
                event = decode(value)  # None, a tombstone, raises TypeError
                if not plain and not value.isascii():
                    value.decode()  # members that no contract names were skipped, not decoded
            except _REFUSALS:
                try:
                    event = other(value)
                    value.decode()
                except _REFUSALS as error:
                    if subjects is not None:
                        subjects.broken(records, i)
                    batch.poison.append(_broken(records, i, error))
                    size += len(value or b"")
                    continue
                decode = other  # a member that no contract names: its neighbours will have it too
            if type(event) is not kind:
                kind = type(event)
                pick, picked = unchecked.get(kind, (None, []))  # None: the strict decoder made it, or all was checked
                always_on_globe = located.get(kind)  # None: it has no position
            if pick is not None:
                picked.append(pick(event))
            if subjects is not None:
                value = subjects.valid(records, i, kind) or value
            at = event.timestamp
            size += len(value)
            if not timely <= at < late or (headers and i in headers):
                said = original_timestamp(headers.get(i, ()), appended)
                if not said - self._past <= at <= said + self._future or not 0 <= at < END_MS:
                    batch.poison.append(_out_of_range(records.record(i), at, said))
                    continue
                earliest, latest = bounds if said == appended else believed
                if not earliest <= said <= latest:
                    batch.poison.append(_incredible(records.record(i), said, ingested))
                    continue
            if not plain and len(value) > LARGEST_DOCUMENT:
                reason = f"a document of {len(value)} bytes; at most {LARGEST_DOCUMENT} are sent to Elasticsearch"
                batch.poison.append(DeadLetter(records.record(i), TOO_LARGE, reason))
                continue
            if value[-1] != _BRACE or (not plain and _NEWLINE in value):
                value = msgspec.json.format(value, indent=-1)  # NDJSON: one document, one line
            last = at
            near = not calm_begin <= at < calm_end
            if near and at // DAY_MS != day:
                day = at // DAY_MS
                index, head = heads.get(day) or self._head(day)
                batch.indices.add(index)
                midnight = (day + 1) * DAY_MS  # the last day that has a name has none after it
                calm_begin, calm_end = day * DAY_MS + NEAR_MS, midnight - NEAR_MS if midnight < END_MS else END_MS
                near = not calm_begin <= at < calm_end
            if identified:
                document_id = f"{event.device.id}:{event.event.id}"
                ids.append(document_id)
                if (
                    headers
                    and i in headers
                    and wants_new_id(headers[i])
                    and (first := first_try(span.topic, headers[i]))
                ):
                    document_id += f":{first[0]}-{first[1]}"  # another event has the id: an operator's decision
                if near:
                    other_day = day - 1 if at < calm_begin else day + 1
                    other_index = (heads.get(other_day) or self._head(other_day))[0]
                    near_midnight[len(lines) // 3] = index, other_index, document_id
            else:
                # A replayed dead letter keeps the id of its first try: a second replay is then a duplicate.
                first = first_try(span.topic, headers[i]) if i in headers else None
                document_id = f"{span.topic}-{first[0]}-{first[1]}" if first else f"{prefix}{offset}"
            if (
                always_on_globe is not None
                and (location := event.location)
                and (always_on_globe or _on_the_globe(location))
            ):
                # Six decimals are 11 cm, and formatted at half the cost of the shortest exact form. Bytes are
                # formatted more quickly than text.
                suffix = b',"geo.location":[%.6f,%.6f],"@timestamp":%d%b%d}\n' % (
                    location.lng,
                    location.lat,
                    at,
                    tail,
                    offset,
                )
            else:
                suffix = b',"@timestamp":%d%b%d}\n' % (at, tail, offset)
            lines += (f'{head}{document_id}"}}}}\n'.encode(), value[:-1], suffix)
        batch.size += size + OVERHEAD * len(records)
        span.event_ms = last
        words = "".join(ids).encode()
        return (
            words.count(b":") == len(ids)
            and not words.translate(None, self._id_characters)
            and all(self._checks[kind].passes(picked) for kind, (_, picked) in unchecked.items())
        )

    def _surely_timely(self, records: Records, bounds: tuple[int, int]) -> tuple[int, int]:
        """From and before which event times are accepted whichever of the records has them; (0, 0): of none it is sure.

        `bounds`: the first and the last time of a record that is believed.
        """
        oldest, newest = min(records.timestamps), max(records.timestamps)
        if oldest < bounds[0] or newest > bounds[1]:
            return 0, 0
        return max(0, newest - self._past), min(END_MS, oldest + self._future + 1)

    def _head(self, day: int) -> tuple[str, str]:
        index = index_of(self._prefix, day)
        if len(self._heads) > 1000:
            self._heads.clear()
        self._heads[day] = index, f'{{"create":{{"_index":"{index}","_id":"'
        return self._heads[day]


@dataclass(frozen=True)
class _Check:
    """What the fast decoder left to be checked for one type of event."""

    pick: Callable[[Any], tuple[str, ...]]
    allowed: tuple[bytes, ...]

    def passes(self, picked: list[tuple[str, ...]]) -> bool:
        columns = zip(*picked, strict=True)
        return all(
            not "".join(column).encode().translate(None, characters)
            for column, characters in zip(columns, self.allowed, strict=bool(picked))
        )


def _getter(paths: tuple[str, ...]) -> Callable[[Any], tuple[str, ...]]:
    if len(paths) > 1:
        return attrgetter(*paths)
    return lambda event: tuple(attrgetter(path)(event) for path in paths)


def _plain(records: Records) -> bool:
    """Whether all payloads are ASCII without a line break, and none is larger than may be sent."""
    if records.size > LARGEST_DOCUMENT:
        return False
    try:
        together = b"".join(records.values)  # type: ignore[arg-type] # a tombstone raises TypeError
    except TypeError:
        return False
    return len(together) <= LARGEST_DOCUMENT and together.isascii() and _NEWLINE not in together


def _on_the_globe(location: Any) -> bool:
    lat, lng = location.lat, location.lng
    return lat is not UNSET and lng is not UNSET and -90 <= lat <= 90 and -180 <= lng <= 180


def _broken(records: Records, i: int, error: Exception) -> DeadLetter:
    record = records.record(i)
    if i in records.unreadable:
        return DeadLetter(record, *records.unreadable[i])
    if record.value is None:
        return DeadLetter(record, "tombstone", "the record has no value")
    match error:
        case msgspec.ValidationError():
            error_type = "contract"
        case UnicodeDecodeError():
            error_type = "not_utf8"
        case RecursionError():
            error_type = "too_deep"
        case msgspec.DecodeError():
            error_type = "not_json"
        case _:
            raise error
    return DeadLetter(record, error_type, str(error))


def _incredible(record: Record, said: int, now: int) -> DeadLetter:
    side, by = ("before", now - said) if said < now else ("after", said - now)
    reason = (
        f"the record's time {said} is a producer's word alone (CreateTime), and {by} ms {side} this machine's clock"
    )
    return DeadLetter(record, "record_time", reason)


def _out_of_range(record: Record, at: int, appended: int) -> DeadLetter:
    side, by = ("before", appended - at) if at < appended else ("after", at - appended)
    return DeadLetter(record, "out_of_time_range", f"event time is {by} ms {side} its Kafka timestamp {appended}")

"""From Kafka records to the lines of a bulk body: check against the contract, find id and index, splice the suffix.

No dict is built for an event: the payload is decoded into a typed Struct to check it, and its own bytes are sent. That
is sound because a payload that decodes is exactly one JSON object in UTF-8, so only its last brace has to be moved.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

import msgspec

from fleetgauge.clock import Clock
from fleetgauge.contracts import ContractSet
from fleetgauge.ingest.batch import OVERHEAD, Batch, DeadLetter
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.index import DAY_MS, index_of
from fleetgauge.ingest.offsets import Span

ORIGINAL_TIMESTAMP = "fleetgauge.timestamp"
"""Header of a dead letter: the Kafka timestamp of the first try, which the accepted time range is measured against."""
_BRACE, _NEWLINE = b"}\n"


class Decoder:
    """Decodes for one consumer. Belongs to the poll thread; never blocks."""

    def __init__(self, consumer: Consumer, contracts: ContractSet, clock: Clock) -> None:
        self._contracts = contracts
        self._prefix = consumer.index
        self._past = consumer.accept_past // timedelta(milliseconds=1)
        self._future = consumer.accept_future // timedelta(milliseconds=1)
        self._clock = clock
        self._heads: dict[int, tuple[str, str]] = {}
        self._pick = {kind: _getter(words.paths) for kind, words in contracts.words.items()}

    def add(self, batch: Batch, topic: str, partition: int, records: Sequence[Any]) -> Span:
        """Append consecutive records of one partition to the batch; never raises for what a payload holds."""
        mark = len(batch.records), len(batch.poison), batch.size
        span = Span(topic, partition, records[-1].offset + 1, len(records), records[-1].timestamp, 0)
        if not self._append(batch, span, records, self._contracts.fast.decode):
            # Somewhere is a character that does not belong there. It is rare, so look at each event with every rule.
            del batch.records[mark[0] :], batch.lines[3 * mark[0] :], batch.poison[mark[1] :]
            batch.size = mark[2]
            self._append(batch, span, records, self._contracts.strict.decode)
        batch.spans.append(span)
        return span

    def _append(self, batch: Batch, span: Span, records: Sequence[Any], decode: Callable[[bytes], Any]) -> bool:
        """False if the fast decoder left something that is wrong; the batch is then to be rolled back."""
        ingested = int(self._clock.now().timestamp() * 1000)
        tail = f',"event.ingested":{ingested},"kafka.partition":{span.partition},"kafka.offset":'
        identified, located = self._contracts.identified, self._contracts.located
        past, future, heads = self._past, self._future, self._heads
        kept, lines, poison = batch.records.append, batch.lines, batch.poison
        unchecked = {kind: (pick, list[tuple[str, ...]]()) for kind, pick in self._pick.items()}
        size = 0
        at = 0
        day, head = -1, ""
        for record in records:
            value = record.value
            try:
                event = decode(value)
                if not value.isascii():
                    value.decode()  # members that no contract names were skipped, not decoded
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
                poison.append(_broken(record, error))
                continue
            kind = type(event)
            if kind in unchecked:  # else the strict decoder made it
                pick, picked = unchecked[kind]
                picked.append(pick(event))
            at = event.timestamp
            appended = record.timestamp
            if record.headers:
                appended = _original(record.headers, appended)
            if not appended - past <= at <= appended + future:
                poison.append(_out_of_range(record, at, appended))
                continue
            if value[-1] != _BRACE or _NEWLINE in value:
                value = msgspec.json.format(value, indent=-1)  # NDJSON: one document, one line
            if at // DAY_MS != day:
                day = at // DAY_MS
                index, head = heads.get(day) or self._head(day)
                batch.indices.add(index)
            offset = record.offset
            if identified:
                document_id = f"{event.device.id}:{event.event.id}"
            else:
                document_id = f"{record.topic}-{record.partition}-{offset}"
            if kind in located and (place := event.location):
                # Six decimals are 11 cm, and formatted at half the cost of the shortest exact form.
                point = "%.6f,%.6f" % (place.lng, place.lat)  # noqa: UP031 (quicker still)
                suffix = f',"geo.location":[{point}],"@timestamp":{at}{tail}{offset}}}\n'
            else:
                suffix = f',"@timestamp":{at}{tail}{offset}}}\n'
            kept(record)
            lines += (f'{head}{document_id}"}}}}\n'.encode(), value[:-1], suffix.encode())
            size += len(value)
        batch.size += size + OVERHEAD * len(records)
        span.event_ms = at
        return all(self._clean(kind, picked) for kind, (_, picked) in unchecked.items())

    def _clean(self, kind: type, picked: list[tuple[str, ...]]) -> bool:
        allowed = self._contracts.words[kind].allowed
        columns = zip(*picked, strict=True)
        return all(
            not "".join(column).encode().translate(None, characters)
            for column, characters in zip(columns, allowed, strict=bool(picked))
        )

    def _head(self, day: int) -> tuple[str, str]:
        index = index_of(self._prefix, day)
        if len(self._heads) > 1000:
            self._heads.clear()
        self._heads[day] = index, f'{{"create":{{"_index":"{index}","_id":"'
        return self._heads[day]


def _getter(paths: tuple[str, ...]) -> Callable[[Any], tuple[str, ...]]:
    if len(paths) > 1:
        return attrgetter(*paths)
    return lambda event: tuple(attrgetter(path)(event) for path in paths)


def _original(headers: Sequence[tuple[str, bytes | None]], appended: int) -> int:
    for key, value in headers:
        if key == ORIGINAL_TIMESTAMP and value is not None and value.isdigit() and len(value) < 16:
            return int(value)
    return appended


def _broken(record: Any, error: Exception) -> DeadLetter:
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


def _out_of_range(record: Any, at: int, appended: int) -> DeadLetter:
    side, by = ("before", appended - at) if at < appended else ("after", at - appended)
    return DeadLetter(record, "out_of_time_range", f"event time is {by} ms {side} its Kafka timestamp {appended}")

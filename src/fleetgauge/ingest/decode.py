"""From Kafka records to the lines of a bulk body: check against the contract, find id and index, splice the suffix.

No dict is built for an event: the payload is decoded into a typed Struct to check it, and its own bytes are sent. That
is sound because a payload that decodes is exactly one JSON object in UTF-8, so only its last brace has to be moved.
"""

from collections.abc import Callable, Hashable, Sequence
from datetime import timedelta
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
_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:"
_REMEMBERED = 50_000
"""Distinct combinations of repeated words that are kept for a kind, about 10 MB at most."""
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
        self._words: dict[type, set[Hashable]] = {kind: set() for kind in contracts.repeated}

    def add(self, batch: Batch, topic: str, partition: int, records: Sequence[Any]) -> Span:
        """Append consecutive records of one partition to the batch; never raises for what a payload holds."""
        mark = len(batch.records), len(batch.poison), batch.size
        span = Span(topic, partition, records[-1].offset + 1, len(records), records[-1].timestamp, 0)
        if not self._append(batch, span, records, self._contracts.fast.decode):
            # An id with a character that has no place in an id: rare, so look at each event, with every pattern.
            del batch.records[mark[0] :], batch.lines[3 * mark[0] :], batch.poison[mark[1] :]
            batch.size = mark[2]
            self._append(batch, span, records, self._contracts.strict.decode)
        batch.spans.append(span)
        return span

    def _append(self, batch: Batch, span: Span, records: Sequence[Any], decode: Callable[[bytes], Any]) -> bool:
        """False if the fast decoder's share of the checks was not enough; the batch is then to be rolled back."""
        ingested = int(self._clock.now().timestamp() * 1000)
        tail = f',"event.ingested":{ingested},"kafka.partition":{span.partition},"kafka.offset":'
        identified, located = self._contracts.identified, self._contracts.located
        repeated, words, strict = self._contracts.repeated, self._words, self._contracts.strict.decode
        past, future, heads = self._past, self._future, self._heads
        kept, lines, poison = batch.records.append, batch.lines, batch.poison
        ids: list[str] = []
        size = 0
        at = 0
        day, head = -1, ""
        for record in records:
            value = record.value
            try:
                event = decode(value)
                if not value.isascii():
                    value.decode()  # members that no contract names were skipped, not decoded
                kind = type(event)
                pick = repeated.get(kind)
                if pick is not None and (picked := pick(event)) not in words[kind]:
                    strict(value)
                    self._remember(kind, picked)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
                poison.append(_broken(record, error))
                continue
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
            if identified:
                document_id = f"{event.device.id}:{event.event.id}"
                ids.append(document_id)
            else:
                document_id = f"{record.topic}-{record.partition}-{record.offset}"
            if kind in located and (place := event.location):
                # Six decimals are 11 cm, and formatted at half the cost of the shortest exact form.
                point = "%.6f,%.6f" % (place.lng, place.lat)  # noqa: UP031 (quicker still)
                suffix = f',"geo.location":[{point}],"@timestamp":{at}{tail}{record.offset}}}\n'
            else:
                suffix = f',"@timestamp":{at}{tail}{record.offset}}}\n'
            kept(record)
            lines += (f'{head}{document_id}"}}}}\n'.encode(), value[:-1], suffix.encode())
            size += len(value)
        batch.size += size + OVERHEAD * len(records)
        span.event_ms = at
        joined = "".join(ids).encode()
        return not joined.translate(None, _SAFE) and joined.count(b":") == len(ids)

    def _remember(self, kind: type, values: Hashable) -> None:
        words = self._words[kind]
        if len(words) >= _REMEMBERED:
            words.clear()
        words.add(values)

    def _head(self, day: int) -> tuple[str, str]:
        index = index_of(self._prefix, day)
        if len(self._heads) > 1000:
            self._heads.clear()
        self._heads[day] = index, f'{{"create":{{"_index":"{index}","_id":"'
        return self._heads[day]


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

"""Produce dead letters again, to the topic and partition that they came from.

Effectively once: a dead letter carries the position of its first try, so that a second replay finds the first one's
document, and its first timestamp, so that it is checked as it was then. What would be dead-lettered again stays.
Each dead letter that Kafka has taken is marked in the dead-letter topic.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog

from fleetgauge.clock import Clock
from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.answers import Class
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.check.decode import Decoder
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters.dead_letter_sink import connect_producer
from fleetgauge.ingest.deadletters.dead_letter_topic import REPLAYED, Content, Filter, StoredDeadLetter, opened
from fleetgauge.ingest.read import record_headers as h
from fleetgauge.ingest.read.replay_signature import signed
from fleetgauge.ingest.stopping import StopRequest
from fleetgauge.kafka import KafkaError
from fleetgauge.kafka.batches import Headers
from fleetgauge.kafka.kafka_clients import TIMEOUT_S, Producer
from fleetgauge.kafka.kafka_errors import translate
from fleetgauge.kafka.records import Record, Records
from fleetgauge.settings import KafkaSettings

_CHUNK = 500
_CHUNK_BYTES = 16 * 1024 * 1024


@dataclass
class Result:
    """What a replay did, or would do."""

    chosen: int = 0
    """Dead letters that the filter means."""
    replayed: int = 0
    still_broken: dict[str, int] = field(default_factory=dict)
    """Left where they are because they would be dead-lettered again, by error type as of now."""
    failed: dict[str, int] = field(default_factory=dict)
    """Not taken by Kafka, by the reason."""
    stopped: bool = False
    """Ended early because it was asked to."""


class Validator:
    """Checks a dead letter against the contracts of now. Elasticsearch's own objections only it can tell."""

    def __init__(self, consumer: Consumer, contracts: ContractSet, clock: Clock) -> None:
        self._decoder = Decoder(consumer, contracts, clock)

    def wrong(self, content: Content) -> str | None:
        """The error type that it would be dead-lettered with; None if it would be sent to Elasticsearch."""
        dead_letter, batch = content.dead_letter, Batch(0.0)
        position = dead_letter.topic, dead_letter.partition, dead_letter.offset
        record = Record(*position, content.appended_ms, content.key, content.payload, [])
        records = Records.of([record])
        records.by_broker = dead_letter.error_type != "record_time"  # else it was believed at the first try
        self._decoder.add(batch, records)
        return batch.poison[0].error_type if batch.poison else None


def replay(
    settings: KafkaSettings,
    consumer: Consumer,
    which: Filter,
    validator: Validator,
    stop: StopRequest,
    *,
    again: bool = False,
    new_id: bool = False,
    dry_run: bool = False,
    tell: Callable[[int, int], None] = lambda _done, _all: None,
) -> Result:
    """Replay the dead letters of `consumer` that `which` means; blocks, and calls `tell(done, all)` on its way.

    `again`: also those that were replayed before. `new_id`: those of class collision too, which are then stored under
    ids of their own; without it they stay, as they would collide again. Raises `Transient` or `Terminal` if Kafka
    cannot be used at all; single refusals are in the result.
    """
    key = settings.replay_key.get_secret_value() if settings.replay_key is not None else None
    if key is None:
        structlog.get_logger("fleetgauge.ingest").warning(
            "kafka.replay_key is not set, so consumers check replayed records by the time of the replay, as new ones"
        )
    with opened(settings, consumer.dead_letter_topic) as topic:
        dead_letters = [
            dead_letter for dead_letter in topic.index().dead_letters.values() if dead_letter.topic == consumer.topic
        ]
        chosen = which.of(dead_letter for dead_letter in dead_letters if again or dead_letter.replayed_at is None)
        result = Result(chosen=len(chosen))
        producer = None if dry_run or not chosen else connect_producer(settings, "fleetgauge-replay")
        try:
            done = 0
            for chunk in _chunks(topic.contents(chosen)):
                if stop.asked.is_set():
                    result.stopped = True
                    break
                good = _sorted_out(chunk, validator, result, new_id=new_id)
                if producer is None:
                    result.replayed += len(good)
                else:
                    send(producer, consumer, good, result, key)
                done += len(chunk)
                tell(done, len(chosen))
        finally:
            if producer is not None:
                producer.close(timeout=TIMEOUT_S)
    return result


def _chunks(contents: Iterator[Content]) -> Iterator[list[Content]]:
    """By number and bytes: what is held at a time is bounded."""
    while chunk := list(islice(contents, 1)):
        size = len(chunk[0].payload or b"")
        for content in islice(contents, _CHUNK - 1):
            chunk.append(content)
            size += len(content.payload or b"")
            if size > _CHUNK_BYTES:
                break
        yield chunk


def _sorted_out(chunk: Sequence[Content], validator: Validator, result: Result, *, new_id: bool) -> list[Content]:
    good = []
    for content in chunk:
        collides = content.dead_letter.kind == Class.COLLISION and not new_id
        wrong = Class.COLLISION.value if collides else validator.wrong(content)
        if wrong is None:
            good.append(content)
        else:
            result.still_broken[wrong] = result.still_broken.get(wrong, 0) + 1
    return good


def send(
    producer: Producer, consumer: Consumer, contents: Sequence[Content], result: Result, key: str | None = None
) -> None:
    """Produce, wait until all is acknowledged, and mark what was: a crash in between replays it again, harmlessly."""
    partitions = producer.partitions_for(consumer.topic)
    sent = [
        producer.send(
            consumer.topic,
            key=content.key,
            value=content.payload,
            headers=[*content.headers, *signed(replay_headers(content), content.payload, key)],
            partition=content.dead_letter.partition if content.dead_letter.partition in partitions else None,
        )
        for content in contents
    ]
    marks = []
    for content, future in zip(contents, sent, strict=True):
        try:
            future.get(timeout=TIMEOUT_S)
        except KafkaError as error:
            reason = type(error).__name__
            result.failed[reason] = result.failed.get(reason, 0) + 1
            continue
        result.replayed += 1
        marks.append(_mark(producer, consumer, content.dead_letter))
    try:
        for mark in marks:
            mark.get(timeout=TIMEOUT_S)
    except KafkaError as error:
        what = (
            f"{len(marks)} dead letters were replayed but cannot be marked in {consumer.dead_letter_topic} (replaying "
            "them again does no harm)"
        )
        raise translate(error, what, "WRITE to it") from None


def replay_headers(content: Content) -> Headers:
    """What a replayed record says besides the headers of its own: where it came from, and the time of its first try."""
    dead_letter = content.dead_letter
    new_id = [(h.NEW_ID, b"1")] if dead_letter.kind == Class.COLLISION else []
    return [
        *new_id,
        (h.ORIGIN, dead_letter.key.encode()),
        (h.ORIGINAL_TIMESTAMP, b"%d" % content.appended_ms),
        (h.TRIES, b"%d" % dead_letter.tries),
    ]


def _mark(producer: Producer, consumer: Consumer, dead_letter: StoredDeadLetter) -> Any:
    return producer.send(
        consumer.dead_letter_topic,
        key=dead_letter.key.encode(),
        headers=[
            (h.TOPIC, dead_letter.topic.encode()),
            (h.PARTITION, b"%d" % dead_letter.partition),
            (h.OFFSET, b"%d" % dead_letter.offset),
            (h.CLASS, REPLAYED),
            (h.DIGEST, dead_letter.digest.encode()),
            (h.TRIES, b"%d" % dead_letter.tries),
        ],
    )

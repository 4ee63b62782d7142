"""Records written in Kafka transactions, between others that are aborted."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from types import TracebackType
from uuid import uuid4

from kafka import KafkaProducer
from kafka.errors import KafkaError

from fleetgauge.errors import Stop, Transient
from fleetlab.simulator.records import VALID, Record

_GHOSTS = 100
_TIMEOUT_S = 30.0


class _Producer(KafkaProducer):  # type: ignore[misc] # kafka-python is untyped
    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """As the client has it, which calls it without a logger when the process ends: then nothing is said."""
        with suppress(KafkaError) if null_logger else nullcontext():
            super().close(timeout, null_logger)


class Transactions:
    """A transactional producer. Slower than `Publisher` by a factor of four, so for some batches only."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        """Raises `Transient` when Kafka is away."""
        self._prefix = prefix
        try:
            self._producer = _Producer(
                bootstrap_servers=bootstrap,
                transactional_id=f"fleetlab-{uuid4().hex}",
                compression_type="lz4",
                linger_ms=5,
            )
            self._producer.init_transactions()
        except KafkaError as error:
            raise Transient(f"Kafka at {bootstrap} begins no transaction ({error!r}); is the stack up?") from error

    def __enter__(self) -> "Transactions":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close(timeout=_TIMEOUT_S)

    def publish(self, records: Sequence[Record]) -> list[int]:
        """Append records of one partition, committed; before and after them ghosts, aborted. Returns their offsets.

        A ghost differs from a record by its id alone: who counts it shows an event that never was. Raises `Stop`.
        """
        try:
            self._abort(records[:_GHOSTS])
            self._producer.begin_transaction()
            futures = [self._send(record, record.value) for record in records]
            self._producer.commit_transaction()
            offsets = [int(future.get(_TIMEOUT_S).offset) for future in futures]
            self._abort(records[-_GHOSTS:])
        except KafkaError as error:
            raise Stop(
                f"Kafka ended no transaction ({error!r}), so the truth is unknown; begin again on an empty stack"
            ) from error
        return offsets

    def _abort(self, records: Sequence[Record]) -> None:
        ghosts = [(record, _ghost(record)) for record in records if record.fault == VALID]
        if not ghosts:
            return
        self._producer.begin_transaction()
        for record, value in ghosts:
            self._send(record, value)
        self._producer.flush(_TIMEOUT_S)  # else they would never be written at all
        self._producer.abort_transaction()

    def _send(self, record: Record, value: bytes | None):  # type: ignore[no-untyped-def]
        return self._producer.send(
            self._prefix + record.topic,
            key=record.key,
            value=value,
            partition=record.partition,
            timestamp_ms=record.append_ms,
        )


def _ghost(record: Record) -> bytes:
    assert record.value is not None
    return record.value.replace(f'"{record.event_id}"'.encode(), f'"{record.event_id}.g"'.encode(), 1)

"""All that we touch of kafka-python and aiokafka and that no documentation promises, each with its reason.

No other module imports an undocumented part of them or reads an attribute of theirs that begins with an underscore. A
new version may move any of this without a word: read its changes, run the tests, then name it in `LOOKED_AT`.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Protocol

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import NoError, SaslAuthenticationFailedError, for_code
from kafka.future import Future
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.consumer import IsolationLevel
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

__all__ = [
    "Batches",
    "CorruptRecordException",
    "Future",
    "IsolationLevel",
    "PartitionFetch",
    "RecordBatch",
    "forget_positions",
    "hand_out",
    "log_in",
    "next_begin",
    "on_io_thread",
    "parsed",
    "raw",
    "rejoin",
]

LOOKED_AT = {"kafka-python": "3.0.12", "aiokafka": "0.14.0"}
"""The version of each that the whole of this file was read and tested against."""

# Undocumented, but arguments or answers of public calls:
# - `IsolationLevel` (kafka-python 3.0.12): `list_partition_offsets` takes it, and no public module has it.
# - `Future` (kafka-python 3.0.12): `commit_async` gives one, and a rebalance listener may await one.

# Reading records


class RecordBatch(Protocol):
    """What we read of one record batch of kafka-python (`kafka.record.default_records`, 3.0.12).

    Its fields are those of Kafka's format; one of format 0 or 1 has `magic` and `base_offset` alone.
    """

    HEADER_STRUCT: struct.Struct
    magic: int
    base_offset: int
    last_offset: int
    last_offset_delta: int
    next_offset: int
    first_timestamp: int
    max_timestamp: int
    timestamp_type: int
    attributes: int
    leader_epoch: int
    producer_id: int
    records_count: int
    size_in_bytes: int
    is_control_batch: bool

    def has_producer_id(self) -> bool:
        """Whether an idempotent or transactional producer wrote it."""
        ...

    def validate_crc(self) -> bool:
        """Whether its checksum is right."""
        ...


class Batches(Protocol):
    """The record batches of one partition of one fetch (`kafka.record.memory_records.MemoryRecords`, 3.0.12)."""

    def next_batch(self) -> RecordBatch | None:
        """The next one; None after the last."""
        ...


def raw(batch: RecordBatch) -> bytes:
    """The batch as it came; a public way to it there is none (kafka-python 3.0.12)."""
    return bytes(batch._buffer)  # type: ignore[attr-defined]


def next_begin(batches: Batches) -> int | None:
    """Offset at which the batch after the current one begins; None if there is none.

    A damaged batch cannot be believed about its own end (kafka-python 3.0.12).
    """
    following = batches._next_slice  # type: ignore[attr-defined]
    return None if following is None else int(struct.unpack_from(">q", following)[0])


_COLUMNS = attrgetter("offset", "timestamp", "key", "value", "headers")


def parsed(batch: bytes) -> list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
    """Offset, timestamp, key, value and headers of each record of an uncompressed batch of format 2.

    By aiokafka's compiled parser (0.14.0), ten times faster than any in Python; aiokafka has no public one. Raises
    `CorruptRecordException`, `ValueError`, `IndexError` or `OverflowError` for what it cannot read.
    """
    return list(map(_COLUMNS, DefaultRecordBatch(batch)))


class PartitionFetch(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python is untyped
    """The records of one partition of one fetch; `unpacked` says what a poll hands out of them.

    kafka-python has no public way to what it fetched before it is records, one object each (3.0.12). A subclass keeps
    `next_fetch_offset`, `bytes_read` and `records_read`, and calls `drain` at the end.
    """

    fetch_offset: int
    next_fetch_offset: int
    bytes_read: int
    records_read: int
    leader_epoch: int
    check_crcs: bool
    topic_partition: TopicPartition

    def unpacked(self, tp: TopicPartition, batches: Batches) -> Iterator[Any]:
        """What `poll` returns of them, one by one."""
        raise NotImplementedError

    def holds_records(self, batch: RecordBatch) -> bool:
        """Whether it is neither a marker nor of an aborted transaction; call once for each batch, in their order."""
        self.leader_epoch = batch.leader_epoch
        if batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
        return not batch.is_control_batch and not self._is_batch_aborted(batch)

    def _maybe_skip_record(self, _record: Any) -> bool:
        return False  # what `unpacked` gives never lies below the fetch offset

    def _unpack_records(self, tp: TopicPartition, records: Batches, _key: Any, _value: Any) -> Iterator[Any]:
        return self.unpacked(tp, records)


def hand_out(kafka: KafkaConsumer, make: Callable[..., PartitionFetch]) -> None:
    """From now on `kafka.poll` hands out what these make of each partition of a fetch (kafka-python 3.0.12)."""
    kafka._fetcher.PartitionRecords = make


# Being a member of a group


def rejoin(kafka: KafkaConsumer) -> None:
    """See that the rebalance under way is not forgotten.

    kafka-python 3.0.12 forgets a rejoin that changed metadata set off if poll() times out meanwhile, and then never
    reads again (in Java this was KAFKA-9815). A requested rejoin is not forgotten.
    """
    kafka._coordinator.request_rejoin()


def on_io_thread(kafka: KafkaConsumer, call: Callable[..., object], *args: object) -> None:
    """Call it on the client's IO thread, and wake that.

    A rebalance that waits for a `Future` completed elsewhere would sleep until a heartbeat (kafka-python 3.0.12).
    """
    kafka._manager.call_soon(call, *args)


def forget_positions(kafka: KafkaConsumer) -> None:
    """Hold no partition until the next assignment.

    kafka-python 3.0.12 keeps the position of a partition that comes back to the same member, which lies beyond what
    was dropped. Without an assignment it asks for the committed offset, as after a loss of membership.
    """
    kafka._subscription.assign_from_subscribed([])


# Logging in


def log_in(connection: socket.socket, host: str, name: str, options: dict[str, Any], within_s: float) -> None:
    """One SASL login over an open connection; blocks for at most `within_s`.

    `name`: the mechanism; `options`: as a client takes them.

    Raises `SaslAuthenticationFailedError` with the broker's own words, `OSError`, `ValueError` or `KafkaError`. The
    client tries a refused login again until its time is up, and then no longer knows why (kafka-python 3.0.12).
    """
    protocol = KafkaProtocol(client_id="fleetgauge-login")
    until = time.monotonic() + within_s

    def heard() -> bytes:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        return connection.recv(4096)

    def ask(request: Any) -> Any:
        protocol.send_request(request)
        connection.sendall(protocol.send_bytes())
        while data := heard():
            for _, response in protocol.receive_bytes(data):
                return response
        raise ConnectionError

    offered = ask(SaslHandshakeRequest[1](mechanism=name))
    if name not in offered.mechanisms:
        raise SaslAuthenticationFailedError(f"it knows {', '.join(offered.mechanisms)}, not {name}")
    mechanism = get_sasl_mechanism(name)(host=host, **options)
    while not mechanism.is_done():
        answer = ask(SaslAuthenticateRequest[1](auth_bytes=mechanism.auth_bytes()))
        if for_code(answer.error_code) is not NoError:
            raise SaslAuthenticationFailedError(answer.error_message)
        mechanism.receive(answer.auth_bytes)

"""What no documentation of Kafka's clients promises is where `internals` takes it from, and as it was looked at."""

import inspect
import socket
import struct
import threading
from collections.abc import Iterator
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.consumer.subscription_state import SubscriptionState
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.errors import SaslAuthenticationFailedError
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from fleetgauge.kafka import internals

TP = TopicPartition("t", 0)


def batch(base: int = 0, values: tuple[bytes, ...] = (b"a", b"b")) -> bytes:
    """One record batch of format 2, not compressed."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1 << 20)
    for number, value in enumerate(values):
        builder.append(timestamp=1_000 + number, key=b"k", value=value, headers=[("h", b"1")])
    builder.close()
    data = bytearray(builder.buffer())
    struct.pack_into(">q", data, 0, base)
    return bytes(data)


@pytest.mark.parametrize("library", sorted(internals.LOOKED_AT))
def test_the_installed_version_is_the_one_that_was_looked_at(library: str) -> None:
    """It fails on purpose when a library moves: look through `internals` first, then name the new version there."""
    assert version(library) == internals.LOOKED_AT[library]


def test_the_arguments_and_answers_of_public_calls() -> None:
    assert (internals.IsolationLevel.READ_UNCOMMITTED, internals.IsolationLevel.READ_COMMITTED) == (0, 1)
    seen: list[object] = []
    future = internals.Future()
    assert future.add_callback(seen.append) and future.add_errback(seen.append) and future.add_both(seen.append)
    future.success(7)
    assert seen == [7, 7] and hasattr(future, "__await__")


def test_a_record_batch_has_all_that_we_read_of_it() -> None:
    found: Any = MemoryRecords(batch(5)).next_batch()
    for name, kind in inspect.get_annotations(internals.RecordBatch).items():
        assert isinstance(getattr(found, name), kind), name
    assert found.validate_crc() is True and found.has_producer_id() is False
    assert (found.magic, found.records_count, found.attributes, found.HEADER_STRUCT.size) == (2, 2, 0, 61)
    assert (found.base_offset, found.last_offset, found.next_offset, found.last_offset_delta) == (5, 6, 7, 1)
    assert (found.first_timestamp, found.max_timestamp, found.timestamp_type) == (1_000, 1_001, 0)


def test_a_batch_is_had_as_it_came_and_the_next_ones_begin_is_known() -> None:
    first, second = batch(0), batch(9)
    records: Any = MemoryRecords(first + second)
    assert internals.raw(records.next_batch()) == first and internals.next_begin(records) == 9
    assert internals.raw(records.next_batch()) == second and internals.next_begin(records) is None
    assert records.next_batch() is None


def test_the_parser_is_the_compiled_one_and_gives_five_columns() -> None:
    assert "_crecords" in internals.DefaultRecordBatch.__module__
    assert internals.parsed(batch(3)) == [(3, 1_000, b"k", b"a", [("h", b"1")]), (4, 1_001, b"k", b"b", [("h", b"1")])]
    with pytest.raises((internals.CorruptRecordException, ValueError, IndexError, OverflowError)):
        internals.parsed(batch()[:-3])


class _Whole(internals.PartitionFetch):
    """Hands out batches."""

    def unpacked(self, tp: TopicPartition, batches: internals.Batches) -> Iterator[Any]:
        while (found := batches.next_batch()) is not None:
            if self.holds_records(found):
                self.next_fetch_offset = found.next_offset
                yield tp, found.base_offset
        self.drain()


def test_a_poll_hands_out_what_is_made_of_a_partition() -> None:
    drained: list[object] = []
    part: Any = _Whole(1, TP, MemoryRecords(batch(0) + batch(2)), on_drain=drained.append)
    assert (part.fetch_offset, part.next_fetch_offset, part.bytes_read, part.records_read) == (1, 1, 0, 0)
    assert part.check_crcs is True and part.topic_partition == TP and part.aborted_producer_ids == set()
    assert part.take(5) == [(TP, 0), (TP, 2)]
    assert part.next_fetch_offset == 4 and part.leader_epoch == 0 and not part and drained == [part]
    calls = [
        text
        for _, one in inspect.getmembers(Fetcher, inspect.isfunction)
        if "self.PartitionRecords(" in (text := inspect.getsource(one))
    ]
    assert len(calls) == 1  # so a fetcher's own attribute goes before the class's
    fetcher = SimpleNamespace(PartitionRecords=None)
    internals.hand_out(SimpleNamespace(_fetcher=fetcher), _Whole)
    assert fetcher.PartitionRecords is _Whole


def test_what_was_aborted_and_markers_hold_no_records() -> None:
    made = {"has_producer_id": lambda: True, "leader_epoch": 1, "producer_id": 7, "is_transactional": True}
    aborted = [SimpleNamespace(first_offset=0, producer_id=7)]
    part = _Whole(0, TP, MemoryRecords(b""), aborted_transactions=aborted)

    class Marker(SimpleNamespace):
        def __next__(self) -> object:
            return SimpleNamespace(abort=True)

    data: Any = SimpleNamespace(**made, last_offset=1, is_control_batch=False)
    marker: Any = Marker(**made, last_offset=2, is_control_batch=True)
    assert [part.holds_records(one) for one in (data, marker, data)] == [False, False, True]


def test_a_consumer_keeps_its_parts_where_we_take_them() -> None:
    stored = set(KafkaConsumer.__init__.__code__.co_names)
    assert {"_fetcher", "_coordinator", "_manager", "_subscription"} <= stored
    assert list(inspect.signature(ConsumerCoordinator.request_rejoin).parameters) == ["self"]
    assert list(inspect.signature(KafkaConnectionManager.call_soon).parameters) == ["self", "coro", "args"]

    group: Any = ConsumerCoordinator.__new__(ConsumerCoordinator)
    group.rejoin_needed = False
    internals.rejoin(SimpleNamespace(_coordinator=group))
    assert group.rejoin_needed is True

    subscription = SubscriptionState()
    subscription.subscribe(topics=["t"])
    subscription.assign_from_subscribed([TP])
    assert subscription.assigned_partitions() == {TP}
    internals.forget_positions(SimpleNamespace(_subscription=subscription))
    assert subscription.assigned_partitions() == set()


def test_a_call_is_made_on_the_io_thread() -> None:
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, bootstrap_servers="127.0.0.1:1")
    seen: list[object] = []
    done = threading.Event()

    def call(value: object) -> None:
        seen.extend((value, threading.current_thread()))
        done.set()

    net.start()
    try:
        internals.on_io_thread(SimpleNamespace(_manager=manager), call, 3)
        assert done.wait(10)
    finally:
        net.stop()
        net.close()
    assert seen[0] == 3 and seen[1] is not threading.current_thread()


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            raise ConnectionError
        data += more
    return data


def _broker(connection: socket.socket, mechanism: bytes, error: int, asked: list[tuple[int, int]]) -> None:
    """A broker's side of one login, in the bytes of Kafka's protocol."""
    handshake = struct.pack(">hih", 0, 1, len(mechanism)) + mechanism
    said = b"no such user"
    login = struct.pack(">hh", error, len(said)) + said + struct.pack(">iq", 0, 0)
    with connection:
        for body in (handshake, login):
            try:
                (size,) = struct.unpack(">i", _exactly(connection, 4))
            except ConnectionError:
                return
            key, api, correlation = struct.unpack_from(">hhi", _exactly(connection, size))
            asked.append((key, api))
            connection.sendall(struct.pack(">ii", 4 + len(body), correlation) + body)


@pytest.mark.parametrize(
    ("mechanism", "error", "said", "asked"),
    [
        (b"PLAIN", 0, None, [(17, 1), (36, 1)]),
        (b"PLAIN", 58, "no such user", [(17, 1), (36, 1)]),
        (b"GSSAPI", 0, "it knows GSSAPI, not PLAIN", [(17, 1)]),
    ],
    ids=["taken", "refused", "not offered"],
)
def test_a_login_is_spoken_as_kafka_speaks_it(
    mechanism: bytes, error: int, said: str | None, asked: list[tuple[int, int]]
) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    seen: list[tuple[int, int]] = []
    broker = threading.Thread(target=_broker, args=(theirs, mechanism, error, seen))
    broker.start()
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_plain_username": "u", "sasl_plain_password": "p"}
    try:
        if said is None:
            internals.log_in(ours, "localhost", "PLAIN", options, 10.0)
        else:
            with pytest.raises(SaslAuthenticationFailedError, match=said):
                internals.log_in(ours, "localhost", "PLAIN", options, 10.0)
    finally:
        ours.close()
        broker.join(10)
    assert seen == asked

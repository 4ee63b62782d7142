"""Records into Kafka, fast and with their offsets.

`KafkaProducer.send` costs 39 µs a record, most of it for futures and per-record book-keeping. A simulator knows its
batches beforehand, so it fills kafka-python's own record batches and sends them as whole produce requests: 9 µs, and
one answer gives the offsets of two thousand records.
"""

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from types import TracebackType

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from kafka.net.compat import KafkaNetClient
from kafka.protocol.producer import ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

from fleetgauge.errors import Stop, Terminal, Transient
from fleetlab.simulator.records import TOPICS, Record
from fleetlab.simulator.transactions import Transactions
from fleetlab.simulator.unkind import KIND, Unkindness

_BATCH_RECORDS = 1_500  # some 800 kB; a broker takes 1 MiB
_LZ4 = 3
_CODECS = (0, 1, 2, _LZ4, 4)  # none, gzip, snappy, lz4, zstd
_TRANSACTIONS = 0.1
"""How many of the partitions that one call writes to are written in a transaction."""
_TIMEOUT_S = 30.0
_KEPT = {"retention.ms": "-1", "retention.bytes": "-1"}
_ROOMY = {"max.message.bytes": str(32 * 1024 * 1024)}
_NOT_READY = (3, 5, 6)  # unknown topic or partition, leader not available, not the leader: soon over in a young cluster

_Topic = ProduceRequest.TopicProduceData
_Partition = _Topic.PartitionProduceData


def create_topics(bootstrap: str, prefix: str = "") -> None:
    """Create the topics that are missing; they keep their records for ever. Raises `Transient` if Kafka is away.

    Until `broker_tells_time`, records have the times that they are sent with, as a past that is made up needs it.
    """
    with _administering(bootstrap) as admin:
        for name, partitions in TOPICS.items():
            configs = _configs(name, "CreateTime")
            try:
                admin.create_topics([NewTopic(prefix + name, partitions, 1, topic_configs=configs)])
            except TopicAlreadyExistsError:
                admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, prefix + name, configs)])


def broker_tells_time(bootstrap: str, prefix: str = "") -> None:
    """From now on the broker says when a record came, as production's topics should have it. Raises `Transient`."""
    with _administering(bootstrap) as admin:
        for name in TOPICS:
            configs = _configs(name, "LogAppendTime")
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, prefix + name, configs)])


def _configs(name: str, time: str) -> dict[str, str]:
    return _KEPT | (_ROOMY if name.endswith(".dlq") else {"message.timestamp.type": time})


@contextmanager
def _administering(bootstrap: str) -> Iterator[KafkaAdminClient]:
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    except KafkaError as error:
        raise Transient(f"Kafka at {bootstrap} cannot be reached ({error}); is the stack up?") from error
    try:
        yield admin
    finally:
        admin.close()


class Publisher:
    """Sends records with their append time as timestamp, which counts until `broker_tells_time`. Not thread-safe.

    Waits for every acknowledgement.
    """

    def __init__(
        self, bootstrap: str, prefix: str = "", *, unkind: Unkindness = KIND, rng: random.Random | None = None
    ) -> None:
        """Connects; raises `Transient` when Kafka cannot be reached. `prefix` is put before each topic's name.

        `rng` chooses codecs and transactions, as far as `unkind` has them.
        """
        self._prefix = prefix
        self._unkind, self._rng = unkind, rng or random.Random(0)
        self._transactions = Transactions(bootstrap, prefix) if unkind.transactions else None
        self._client = KafkaNetClient(bootstrap_servers=bootstrap, client_id="fleetlab-simulator")
        try:
            self._client.check_version(timeout_ms=_TIMEOUT_S * 1000)
        except KafkaError as error:
            raise Transient(f"Kafka at {bootstrap} cannot be reached ({error}); is the stack up?") from error
        self._node = self._client.least_loaded_node(bootstrap_fallback=True)
        nodes = len(self._client.cluster.brokers())
        if nodes > 1:
            raise Terminal(
                f"Kafka at {bootstrap} has {nodes} nodes; the simulator writes to the laboratory's single one"
            )

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if self._transactions is not None:
            self._transactions.__exit__(kind, error, trace)

    def publish(self, records: Sequence[Record]) -> list[int]:
        """Append records in their order; returns the offset of each. Blocks until all are acknowledged.

        Raises `Stop` when Kafka did not answer: a record may be there or not, and the truth would be a guess.
        """
        partitions: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, record in enumerate(records):
            partitions[record.topic, record.partition].append(index)
        offsets = [0] * len(records)
        if self._transactions is not None:
            for tp in sorted(partitions):
                if self._rng.random() < _TRANSACTIONS:
                    indices = partitions.pop(tp)
                    written = self._transactions.publish([records[i] for i in indices])
                    for index, offset in zip(indices, written, strict=True):
                        offsets[index] = offset
        queues = {tp: iter(indices) for tp, indices in partitions.items()}
        while queues:
            chunks = {tp: list(islice(queue, _BATCH_RECORDS)) for tp, queue in queues.items()}
            queues = {tp: queue for tp, queue in queues.items() if chunks[tp]}
            chunks = {tp: indices for tp, indices in chunks.items() if indices}
            batches = {p: encode([records[i] for i in indices], self._codec()) for p, indices in chunks.items()}
            bases = self._produce(batches)
            for tp, indices in chunks.items():
                for number, index in enumerate(indices):
                    offsets[index] = bases[tp] + number
        return offsets

    def _codec(self) -> int:
        return self._rng.choice(_CODECS) if self._unkind.mixed_codecs else _LZ4

    def _produce(self, batches: dict[tuple[str, int], bytes]) -> dict[tuple[str, int], int]:
        bases: dict[tuple[str, int], int] = {}
        deadline = time.monotonic() + _TIMEOUT_S
        while batches:
            for tp, code, base in self._send(batches):
                if code == 0:
                    bases[tp] = base
                    del batches[tp]
                elif code not in _NOT_READY or time.monotonic() > deadline:
                    name = for_code(code).__name__
                    raise Stop(f"Kafka refused records for {tp[0]} partition {tp[1]}: {name}; see the broker's log")
            if batches:
                time.sleep(0.2)
        return bases

    def _send(self, batches: dict[tuple[str, int], bytes]) -> list[tuple[tuple[str, int], int, int]]:
        topics: dict[str, list[object]] = defaultdict(list)
        for (topic, partition), batch in batches.items():
            topics[self._prefix + topic].append(_Partition(index=partition, records=batch))
        request = ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=int(_TIMEOUT_S * 1000),
            topic_data=[_Topic(name=name, partition_data=parts) for name, parts in topics.items()],
            min_version=3,
            max_version=9,
        )
        try:
            answer = self._client.send_and_receive(self._node, request, timeout_ms=_TIMEOUT_S * 1000)
        except KafkaError as error:
            raise Stop(
                f"Kafka did not confirm records ({error!r}), so the truth is unknown; begin again on an empty stack"
            ) from error
        return [
            ((topic.name.removeprefix(self._prefix), part.index), part.error_code, part.base_offset)
            for topic in answer.responses
            for part in topic.partition_responses
        ]


def encode(records: Sequence[Record], codec: int = _LZ4) -> bytes:
    """One record batch (format 2), compressed by the codec of this number."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 30)
    for record in records:
        builder.append(record.append_ms, record.key, record.value)
    builder.close()
    return bytes(builder.buffer())

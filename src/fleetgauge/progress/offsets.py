"""How far a consumer group has come, and up to which instant its topic is therefore finished.

Only what is committed counts as a record: a topic ends at its last stable offset, before the first transaction that is
still open; what was aborted and the markers of transactions are passed over.

Ingest commits an offset only after Elasticsearch or the dead-letter topic has acknowledged everything before it, so the
committed offsets say exactly which records can be found by a search. Nothing here joins the group or changes it.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleetgauge.clock import Clock
from fleetgauge.errors import Terminal, Transient
from fleetgauge.kafka import IsolationLevel, KafkaAdminClient, OffsetAndMetadata, OffsetSpec, TopicPartition, for_code
from fleetgauge.kafka.kafka_clients import administering, looking_into, refuse_unserved, translated
from fleetgauge.kafka.records import DamagedError, in_columns
from fleetgauge.progress.commit_note import CommitNote
from fleetgauge.settings import KafkaSettings

REMEMBERED = timedelta(days=30)
"""For so long records that were missed are told."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN_TOPIC = 3
_CLIENT = "fleetgauge-progress"


@dataclass(frozen=True)
class PartitionProgress:
    """One partition. Offsets are those of Kafka: `committed` and `end` name the next record, not the last.

    `end` is the last stable offset.
    """

    partition: int
    begin: int
    end: int
    committed: int | None
    """None: the group has never committed here, so nothing counts as finished."""
    unfinished_at: datetime | None
    """Append time (UTC) of the first record that is not finished or not yet committed; None when there is none."""
    epoch: str = ""
    """The epoch that `committed` belongs to (see `progress.commit_note`); empty if that is not known."""
    unstable: int = 0
    """Offsets from `end` on that the broker holds back: a transaction is open there, and nobody knows its end."""

    missed: int = 0
    """Records that retention deleted before they were read, as far as ingest has noted it."""
    missed_at: datetime | None = None
    """When it noted the last of them (UTC)."""

    @property
    def missing(self) -> int:
        """Records that retention has deleted behind what is committed: whoever reads on will miss them."""
        return 0 if self.committed is None else max(0, self.begin - self.committed)

    @property
    def finished(self) -> int:
        """The next offset to finish: everything below it is stored, dead-lettered, or was deleted by retention."""
        return self.begin if self.committed is None else max(self.committed, self.begin)

    @property
    def lag(self) -> int:
        """Records not yet finished."""
        return max(0, self.end - self.finished)


@dataclass(frozen=True)
class GroupProgress:
    """A consumer group over one topic, at one moment."""

    topic: str
    group: str
    topic_id: str | None
    """Kafka's id of the topic: another one means that the topic was made anew. None from brokers before 2.8."""
    observed_at: datetime
    """The instant just before the end offsets were read (UTC)."""
    partitions: tuple[PartitionProgress, ...]

    @property
    def watermark(self) -> datetime:
        """Every record appended before this (UTC) is finished; a caught-up partition counts as `observed_at`."""
        return min((p.unfinished_at or self.observed_at for p in self.partitions), default=self.observed_at)

    @property
    def committed(self) -> dict[int, int]:
        """The next offset by partition, of those partitions where the group has committed."""
        return {p.partition: p.committed for p in self.partitions if p.committed is not None}

    @property
    def epochs(self) -> dict[int, str]:
        """The epoch by partition, where it is known."""
        return {p.partition: p.epoch for p in self.partitions if p.epoch}

    @property
    def missed(self) -> dict[str, int]:
        """Records that retention deleted before they were read, by partition, for as long as that is told."""
        return {
            f"{p.partition} of {self.topic}": p.missing + p.missed
            for p in self.partitions
            if p.missing or (p.missed_at is not None and self.observed_at - p.missed_at < REMEMBERED)
        }

    @property
    def lag(self) -> int:
        """Records not yet finished, over all partitions."""
        return sum(p.lag for p in self.partitions)


def went_backwards(before: Mapping[int, int], now: Mapping[int, int]) -> frozenset[int]:
    """The partitions whose committed offset is below an earlier one: the topic was made anew, or the group was rewound.

    Either way documents below the old cursor may be new, so a cursor that stands higher would miss them. A group that
    has caught up since is not seen here; its `epochs` have changed.
    """
    return frozenset(partition for partition, offset in now.items() if offset < before.get(partition, 0))


def read_progress(
    settings: KafkaSettings,
    topic: str,
    group: str,
    clock: Clock,
    *,
    timeout_s: float = 30.0,
    patient: bool = True,
) -> GroupProgress:
    """Ask Kafka where `group` stands in `topic`; blocks for at most about `timeout_s`. Who is not `patient` is told at
    once that nobody listens there.

    A group without any commit is no error: its partitions have `committed` None. Raises `Terminal` for a topic that
    does not exist, `Stop` for a refused login, `Transient` when Kafka cannot be reached or does not answer in time.
    """
    if not patient:
        refuse_unserved(settings)
    what = f"progress of group {group!r} in topic {topic!r} could not be read"
    with translated(settings, what, "DESCRIBE both, and READ the topic"):
        with administering(settings, _CLIENT, timeout_s) as admin:
            topic_id, partitions = _describe(admin, topic)
            observed_at = clock.now()
            end = _offsets(admin, partitions, OffsetSpec.LATEST)
            high = _offsets(admin, partitions, OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED)
            committed = _committed(admin, group, partitions)
            if any(at.offset > end[p] for p, at in committed.items()):
                # Usually a commit since the first look; one that stays beyond the end belongs to a deleted topic.
                latest = _offsets(admin, partitions, OffsetSpec.LATEST)
                committed = {p: at for p, at in committed.items() if at.offset <= latest[p]}
            begin = _offsets(admin, partitions, OffsetSpec.EARLIEST)
        finished = {p: max(begin[p], committed[p].offset if p in committed else 0) for p in partitions}
        lagging = {p: offset for p, offset in finished.items() if offset < end[p]}
        unfinished = _append_times(settings, lagging, end, timeout_s)
        held = {p: end[p] for p in partitions if end[p] < high[p] and p not in unfinished}
        unfinished |= _append_times(settings, held, high, timeout_s, isolation="read_uncommitted")
    notes = {p: CommitNote.parse(committed[p].metadata) if p in committed else CommitNote() for p in partitions}
    return GroupProgress(
        topic,
        group,
        topic_id,
        observed_at,
        tuple(
            PartitionProgress(
                p.partition,
                begin[p],
                end[p],
                committed[p].offset if p in committed else None,
                min(unfinished[p], observed_at) if p in unfinished else None,  # a producer's clock may be ahead
                notes[p].epoch,
                high[p] - end[p],
                notes[p].missed,
                _EPOCH + timedelta(milliseconds=notes[p].missed_ms) if notes[p].missed else None,
            )
            for p in partitions
        ),
    )


def _describe(admin: KafkaAdminClient, topic: str) -> tuple[str | None, list[TopicPartition]]:
    described = next((t for t in admin.describe_topics([topic]) if t["name"] == topic), None)
    code = described["error_code"] if described is not None else _UNKNOWN_TOPIC
    if code and code != _UNKNOWN_TOPIC:
        raise for_code(code)(topic)
    if described is None or code == _UNKNOWN_TOPIC or not described["partitions"]:
        raise Terminal(f"Kafka topic {topic!r} does not exist or has no partitions; create it, or correct the consumer")
    identity = described.get("topic_id")
    partitions = sorted(p["partition_index"] for p in described["partitions"])
    return (str(identity) if identity else None), [TopicPartition(topic, p) for p in partitions]


def _offsets(
    admin: KafkaAdminClient,
    partitions: list[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> dict[TopicPartition, int]:
    found = admin.list_partition_offsets(dict.fromkeys(partitions, spec), isolation_level=isolation)
    return {p: int(found[p].offset) for p in partitions}


def _committed(
    admin: KafkaAdminClient, group: str, partitions: list[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    found = admin.list_group_offsets({group: partitions}).get(group, {})
    return {p: at for p, at in found.items() if at is not None and at.offset >= 0}


def _append_times(
    settings: KafkaSettings,
    start: dict[TopicPartition, int],
    end: dict[TopicPartition, int],
    timeout_s: float,
    isolation: str = "read_committed",
) -> dict[TopicPartition, datetime]:
    """Append time of the first record at or after each offset; a partition that holds none below `end` is left out."""
    if not start:
        return {}
    options = {"isolation_level": isolation, "max_poll_records": len(start), "max_partition_fetch_bytes": 65536}
    with looking_into(settings, _CLIENT, timeout_s, **options) as consumer:
        in_columns(consumer)  # bounded in memory, and patient with what is damaged
        consumer.assign(list(start))
        for partition, offset in start.items():
            consumer.seek(partition, offset)
        waiting, found = set(start), {}
        give_up = time.monotonic() + timeout_s
        while waiting:
            with suppress(DamagedError):
                for partition, chunks in consumer.poll(timeout_ms=500).items():
                    if partition in waiting and chunks:
                        # Without a timestamp (-1) it counts as infinitely old: never call finished what may not be.
                        found[partition] = _EPOCH + timedelta(milliseconds=max(0, chunks[0].timestamps[0]))
            # The rest of a partition can be transaction markers alone: no record comes, but the position moves on.
            done = {p for p in waiting if p in found or (consumer.position(p) or 0) >= end[p]}
            waiting -= done
            consumer.pause(*done)
            if waiting and time.monotonic() > give_up:
                where = ", ".join(f"{p.topic}-{p.partition}" for p in sorted(waiting))
                raise Transient(
                    f"Kafka did not hand out the first unfinished record of {where}"
                    f" within {timeout_s:g} s; check the partitions' leaders and try again"
                )
        return found

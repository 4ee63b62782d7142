"""Go back in a topic to an instant: the group's committed offsets are set back, once, before anybody reads.

"Once" holds over restarts with the same arguments: every commit of a rewound run names the instant in Kafka's own
commit metadata, and a group that is marked with an instant is not rewound to it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from fleetgauge.errors import Terminal, Transient
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.kafka import IsolationLevel, KafkaAdminClient, NoError, OffsetAndMetadata, OffsetSpec, TopicPartition
from fleetgauge.kafka.kafka_clients import administering, translated
from fleetgauge.progress.commit_note import CommitNote, new_epoch
from fleetgauge.settings import KafkaSettings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rewind:
    """Read again all that was appended at or after `since`, an aware instant."""

    since: datetime

    @property
    def mark(self) -> str:
        """What the notes of a rewound run's commits hold as `rewound_to`."""
        return self.since.astimezone(UTC).isoformat()


@dataclass(frozen=True)
class PartitionStart:
    """Where one partition will be read from. Offsets name the next record."""

    partition: int
    begin: int
    end: int
    committed: int | None
    start: int
    available_from: datetime | None
    """Append time (UTC) of the oldest record there, if older ones, which were asked for, may have been deleted."""
    nothing_left: bool
    """There were records, and retention deleted all of them."""

    @property
    def again(self) -> int:
        """Offsets that were read before and will be read again; compaction and markers make the records fewer."""
        return max(0, (self.begin if self.committed is None else self.committed) - self.start)


@dataclass(frozen=True)
class RewindPlan:
    """What going back means for one group."""

    consumer: str
    since: datetime
    partitions: tuple[PartitionStart, ...]
    members: int
    """Members of the group that run now; it can only be rewound when there are none."""
    applied: bool
    """A run with the same instant has done it before, and goes on."""


def plan(settings: KafkaSettings, consumer: Consumer, rewind: Rewind) -> RewindPlan:
    """Look, and change nothing; blocks. Raises `Terminal` or `Transient`.

    A partition starts at the first record appended at or after the instant, at its end if there is none, but never
    after what the group has committed: going back must not skip what nobody has read.
    """
    with _admin(settings, consumer) as admin:
        return _plan(admin, consumer, rewind)


def apply(settings: KafkaSettings, consumer: Consumer, rewind: Rewind) -> RewindPlan:
    """Set the group's offsets back, unless that has been done. Call before joining the group; blocks.

    Raises `Terminal` while other members run, `Transient` if Kafka does not answer.
    """
    log = structlog.get_logger("fleetgauge.ingest").bind(consumer=consumer.name)
    with _admin(settings, consumer) as admin:
        found = _plan(admin, consumer, rewind)
        if found.applied:
            log.info("already rewound to this instant; going on from there", since=rewind.since.isoformat())
            return found
        if found.members:
            raise Terminal(_refusal(consumer, found.members))
        try:
            epoch, before = new_epoch(), _committed(admin, consumer)
            _commit(
                admin,
                consumer,
                {
                    part.partition: (part.start, CommitNote(epoch, rewind.mark, **_kept(before.get(part.partition))))
                    for part in found.partitions
                },
            )
        except Terminal:
            if not _plan(admin, consumer, rewind).applied:  # else a member started with the same instant was quicker
                raise
        for part in found.partitions:
            where = {"topic": consumer.topic, "partition": part.partition, "offset": part.start}
            if part.available_from is not None or part.nothing_left:
                log.warning(
                    "the topic's retention has deleted a part of what was asked for",
                    **where,
                    available_from=None if part.available_from is None else part.available_from.isoformat(),
                )
            log.info("rewound", **where, committed=part.committed, again=part.again)
        return found


def finish(settings: KafkaSettings, consumer: Consumer) -> None:
    """The end that was asked for is reached: take the instant away, so that the same command would rewind again.

    Call after the group was left. Never raises: with a member left, or Kafka away, the mark stays.
    """
    try:
        with _admin(settings, consumer) as admin:
            committed = _committed(admin, consumer)
            notes = {tp: CommitNote(CommitNote.parse(at.metadata).epoch, **_kept(at)) for tp, at in committed.items()}
            _commit(admin, consumer, {tp: (at.offset, notes[tp]) for tp, at in committed.items()})
    except (Terminal, Transient) as error:
        structlog.get_logger("fleetgauge.ingest").info(
            "the group stays marked as rewound", consumer=consumer.name, because=str(error)
        )


def _refusal(consumer: Consumer, members: int) -> str:
    return (
        f"{members} members of group {consumer.group} are running, so it cannot be rewound; stop them first, or replay "
        "under another name (a new group reads everything, and nothing is stored twice)"
    )


def _plan(admin: KafkaAdminClient, consumer: Consumer, rewind: Rewind) -> RewindPlan:
    described = next((t for t in admin.describe_topics([consumer.topic]) if t["name"] == consumer.topic), None)
    if described is None or not described["partitions"]:
        raise Terminal(f"Kafka topic {consumer.topic!r} does not exist; create it, or correct the consumer's topic")
    partitions = [
        TopicPartition(consumer.topic, number)
        for number in sorted(p["partition_index"] for p in described["partitions"])
    ]
    since_ms = max(0, (rewind.since - _EPOCH) // timedelta(milliseconds=1))
    begins = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    # The end is before the first open transaction: a group that began behind it would never read that.
    ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST), IsolationLevel.READ_COMMITTED)
    firsts = admin.list_partition_offsets(dict.fromkeys(partitions, 0))
    wanted = admin.list_partition_offsets(dict.fromkeys(partitions, since_ms), IsolationLevel.READ_COMMITTED)
    committed = _committed(admin, consumer)
    members = _members(admin, consumer)
    parts = []
    for tp in partitions:
        begin, end, first_ms = begins[tp].offset, ends[tp].offset, firsts[tp].timestamp
        at = committed.get(tp.partition)
        start = wanted[tp].offset if wanted[tp].offset >= 0 else end
        if at is not None:
            start = max(begin, min(start, at.offset))
        # What was deleted is older than what is left: if that is older than the instant too, nothing is missing.
        cut = begin > 0 and first_ms >= 0 and first_ms > since_ms
        parts.append(
            PartitionStart(
                tp.partition,
                begin,
                end,
                None if at is None else at.offset,
                start,
                _EPOCH + timedelta(milliseconds=first_ms) if cut else None,
                begin == end > 0,
            )
        )
    applied = any(CommitNote.parse(at.metadata).rewound_to == rewind.mark for at in committed.values())
    return RewindPlan(consumer.name, rewind.since, tuple(parts), members, applied)


def _committed(admin: KafkaAdminClient, consumer: Consumer) -> dict[int, OffsetAndMetadata]:
    found = admin.list_group_offsets({consumer.group: None}).get(consumer.group, {})
    return {
        p.partition: at for p, at in found.items() if p.topic == consumer.topic and at is not None and at.offset >= 0
    }


def _kept(at: OffsetAndMetadata | None) -> dict[str, Any]:
    """Going back forgets no dead-letter limit that was reached, and no record that was missed."""
    note = CommitNote.parse(None if at is None else at.metadata)
    return {"dead_letters": note.dead_letters, "missed": note.missed, "missed_ms": note.missed_ms}


def _members(admin: KafkaAdminClient, consumer: Consumer) -> int:
    return len(admin.describe_groups([consumer.group])[consumer.group].get("members") or ())  # none: no such group


def _commit(admin: KafkaAdminClient, consumer: Consumer, offsets: dict[int, tuple[int, CommitNote]]) -> None:
    if not offsets:
        return
    changes = {
        TopicPartition(consumer.topic, partition): OffsetAndMetadata(offset, str(note), -1)
        for partition, (offset, note) in offsets.items()
    }
    results = admin.alter_group_offsets(consumer.group, changes)
    refused = {tp.partition: error for tp, error in results.items() if error is not NoError}
    if refused:  # somebody joined since we looked: the broker takes no commits from outside then
        reasons = ", ".join(f"partition {partition}: {error.__name__}" for partition, error in sorted(refused.items()))
        raise Terminal(f"group {consumer.group} could not be rewound ({reasons}); stop its members and try again")


@contextmanager
def _admin(settings: KafkaSettings, consumer: Consumer) -> Iterator[KafkaAdminClient]:
    what = f"group {consumer.group} cannot be looked at"
    with (
        translated(settings, what, "READ and DESCRIBE the group, and DESCRIBE the topic"),
        administering(settings, f"{consumer.group}-rewind") as admin,
    ):
        yield admin

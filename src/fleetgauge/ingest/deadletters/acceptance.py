"""What operators allow beyond a dead-letter limit, and how the limits of a consumer stand.

Both lie where every member of the group can see them and nothing forgets them: in Kafka's commit metadata. How a limit
stands is in the notes of the group's own commits; acceptances are notes of a second group, `<group>.dead-letters`, by
partition of the source topic. A broker forgets those after `offsets.retention.minutes`, a week by default, which is why
no acceptance is given for longer.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

import msgspec
import structlog

from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.ingest.consumer import Consumer
from fleetgauge.ingest.deadletters.limit_counter import Halt, LimitCounter
from fleetgauge.kafka import KafkaAdminClient, NoError, OffsetAndMetadata, TopicPartition
from fleetgauge.kafka.kafka_clients import administering, translated
from fleetgauge.progress.commit_note import CommitNote
from fleetgauge.settings import KafkaSettings

LONGEST = timedelta(days=7)
_ROOM = 3_500
"""Bytes of a note; a broker takes 4,096 by default."""
_TIMEOUT_S = 30.0
_ASK_AGAIN_S = 5.0


class Acceptance(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision of an operator, for one partition."""

    id: str
    reason: str
    """Error type of the records it allows."""
    count: int
    """So many of them at most."""
    until_ms: int
    """And not after this instant, milliseconds since the epoch."""
    value: str = ""
    """Only of this value of what the limit goes by; empty: of any."""
    lifts: tuple[str, ...] = ()
    """Ids of halts and quarantines that are over with it."""
    note: str = ""

    def covers(self, error_type: str, value: str) -> bool:
        """Whether it speaks of such a record."""
        return self.reason == error_type and self.value in ("", value)


_NOTES = msgspec.json.Decoder(tuple[Acceptance, ...])


def group_of(consumer: Consumer) -> str:
    """The Kafka group whose commits hold the acceptances; nobody joins it."""
    return f"{consumer.group}.dead-letters"


@dataclass(frozen=True)
class Decided:
    """What holds for the whole group, by partition."""

    accepted: Mapping[int, Sequence[Acceptance]]
    halts: Mapping[int, Halt]
    """Limits that were reached and not lifted: one of them stops dead letters in all partitions."""


class Acceptances(Protocol):
    """Where it is read; a port for tests."""

    def read(self) -> Decided | None:
        """None if it cannot be read now. Blocks for some seconds at most; never raises."""
        ...


class KafkaAcceptances:
    """The real ones."""

    def __init__(self, settings: KafkaSettings, consumer: Consumer) -> None:
        self._settings = settings
        self._consumer = consumer

    def read(self) -> Decided | None:
        """See `Acceptances.read`."""
        try:
            with _admin(self._settings, self._consumer, timeout_s=5.0) as admin:
                accepted, counters = _accepted(admin, self._consumer), _counters(admin, self._consumer)
            for partition, (_, counter) in counters.items():
                lift(counter, accepted.get(partition, ()))
            return Decided(
                accepted, {p: counter.halt for p, (_, counter) in counters.items() if counter.halt is not None}
            )
        except FleetgaugeError as error:
            structlog.get_logger("fleetgauge.ingest").warning(
                "acceptances of dead letters cannot be read; the limit holds without them",
                consumer=self._consumer.name,
                because=str(error),
            )
            return None


class Decisions:
    """What one process knows of them: read when something depends on it, not for every record."""

    def __init__(self, source: Acceptances | None) -> None:
        """None: there are none."""
        self._source = source
        self._known = Decided({}, {}) if source is None else None
        self._asked = float("-inf")

    def known(self, *, fresh: bool = False) -> Decided:
        """`fresh` asks Kafka again, unless that was done just now. Blocks for some seconds."""
        due = (self._known is None or fresh) and time.monotonic() - self._asked > _ASK_AGAIN_S
        if self._source is not None and due:
            self._asked = time.monotonic()
            found = self._source.read()
            self._known = self._known if found is None else found
        return self._known or Decided({}, {})


def take(counter: LimitCounter, accepted: Sequence[Acceptance], error_type: str, value: str) -> bool:
    """Whether one of them allows such a record, which then counts as used; lifts what they lift."""
    lift(counter, accepted)
    now = time.time() * 1000
    for one in accepted:
        if one.covers(error_type, value) and now < one.until_ms and counter.used.get(one.id, 0) < one.count:
            counter.used[one.id] = counter.used.get(one.id, 0) + 1
            return True
    return False


def lift(counter: LimitCounter, accepted: Sequence[Acceptance]) -> None:
    """End what operators have ended, and forget the use of acceptances that are no more."""
    if accepted:
        counter.lift(frozenset(id_ for one in accepted for id_ in one.lifts))
        counter.used = {id_: count for id_, count in counter.used.items() if any(one.id == id_ for one in accepted)}


# For operators


@dataclass(frozen=True)
class LimitState:
    """How the limit stands in one partition."""

    partition: int
    committed: int | None
    """The next record's offset."""
    halted: str
    """Why nothing more is dead-lettered; empty if the limit was not reached."""
    error_type: str
    """Of the record that reached it."""
    value: str
    quarantined: Mapping[str, int]
    """Quarantined values, and how many of their records went to the dead letters since."""
    accepted: Sequence[Acceptance]
    used: Mapping[str, int]
    """How much of each acceptance."""


@dataclass(frozen=True)
class AcceptanceRequest:
    """What an operator wants to accept."""

    reason: str
    count: int
    until: datetime
    value: str = ""
    note: str = ""


def limit_states(settings: KafkaSettings, consumer: Consumer) -> list[LimitState]:
    """Every partition that the group has committed in, as of that; blocks. Raises `Transient`, `Terminal`."""
    with _admin(settings, consumer) as admin:
        accepted = _accepted(admin, consumer)
        return [
            _limit_state(p, at, counter, accepted.get(p, ())) for p, (at, counter) in _counters(admin, consumer).items()
        ]


def accept(
    settings: KafkaSettings, consumer: Consumer, request: AcceptanceRequest, *, dry_run: bool = False
) -> list[LimitState]:
    """Allow what is asked for, in every partition, and end the halts and quarantines that it speaks of; blocks.

    Returns how the limits stood before. Raises `Terminal` for a request that cannot be granted, else as `limit_states`.
    """
    now = datetime.now(UTC)
    if not now < request.until <= now + LONGEST:
        raise Terminal(
            f"until {request.until.isoformat()} is not within the next {LONGEST.days} days; name one in them"
        )
    if request.count < 0:
        raise Terminal("the number of dead letters to accept is negative; give 0 or more")
    with _admin(settings, consumer) as admin:
        accepted, counters = _accepted(admin, consumer), _counters(admin, consumer)
        before = [_limit_state(p, at, counter, accepted.get(p, ())) for p, (at, counter) in counters.items()]
        id_ = uuid4().hex[:8]
        changes = {}
        for partition in sorted(_partitions(admin, consumer)):
            counter = counters[partition][1] if partition in counters else LimitCounter()
            one = Acceptance(
                id_,
                request.reason,
                request.count,
                int(request.until.timestamp() * 1000),
                request.value,
                _lifted(counter, request),
                request.note,
            )
            kept = [old for old in accepted.get(partition, ()) if old.until_ms > now.timestamp() * 1000]
            text = msgspec.json.encode([*kept, one]).decode()
            if len(text.encode()) > _ROOM:
                raise Terminal(
                    f"{len(kept)} acceptances are valid already, more than Kafka's commit metadata has room for; wait "
                    f"until some have expired (see `fleetgauge dlq limit {consumer.name}`), or shorten the note"
                )
            changes[TopicPartition(consumer.topic, partition)] = OffsetAndMetadata(0, text, -1)
        if not dry_run:
            results = admin.alter_group_offsets(group_of(consumer), changes)
            if refused := {tp.partition: error for tp, error in results.items() if error is not NoError}:
                raise Terminal(
                    f"Kafka does not take the acceptance ({next(iter(refused.values())).__name__}); grant this login "
                    f"READ on group {group_of(consumer)} and on topic {consumer.topic}"
                )
    return before


def _lifted(counter: LimitCounter, request: AcceptanceRequest) -> tuple[str, ...]:
    found = [quarantined.id for value, quarantined in counter.quarantined.items() if request.value in ("", value)]
    if (
        counter.halt is not None
        and counter.halt.error_type == request.reason
        and request.value in ("", counter.halt.value)
    ):
        found.append(counter.halt.id)
    return tuple(found)


def _limit_state(partition: int, committed: int, counter: LimitCounter, accepted: Sequence[Acceptance]) -> LimitState:
    lift(counter, accepted)
    halt = counter.halt
    return LimitState(
        partition,
        committed,
        halt.what if halt is not None else "",
        halt.error_type if halt is not None else "",
        halt.value if halt is not None else "",
        {value: quarantined.count for value, quarantined in counter.quarantined.items()},
        accepted,
        counter.used,
    )


def _partitions(admin: KafkaAdminClient, consumer: Consumer) -> list[int]:
    described = next((t for t in admin.describe_topics([consumer.topic]) if t["name"] == consumer.topic), None)
    if described is None or not described["partitions"]:
        raise Terminal(f"Kafka topic {consumer.topic!r} does not exist; create it, or correct the consumer's topic")
    return [p["partition_index"] for p in described["partitions"]]


def _notes(admin: KafkaAdminClient, group: str, topic: str) -> Iterator[tuple[int, OffsetAndMetadata]]:
    found = admin.list_group_offsets({group: None}).get(group, {})
    for tp, at in sorted(found.items()):
        if tp.topic == topic and at is not None and at.offset >= 0:
            yield tp.partition, at


def _accepted(admin: KafkaAdminClient, consumer: Consumer) -> dict[int, Sequence[Acceptance]]:
    accepted: dict[int, Sequence[Acceptance]] = {}
    for partition, at in _notes(admin, group_of(consumer), consumer.topic):
        try:
            accepted[partition] = _NOTES.decode(at.metadata or "[]")
        except msgspec.DecodeError:
            continue  # somebody else's commit
    return accepted


def _counters(admin: KafkaAdminClient, consumer: Consumer) -> dict[int, tuple[int, LimitCounter]]:
    return {
        partition: (at.offset, LimitCounter.of(CommitNote.parse(at.metadata).dead_letters))
        for partition, at in _notes(admin, consumer.group, consumer.topic)
    }


@contextmanager
def _admin(settings: KafkaSettings, consumer: Consumer, timeout_s: float = _TIMEOUT_S) -> Iterator[KafkaAdminClient]:
    what = f"the dead-letter limit of {consumer.name} cannot be looked at"
    rights = f"DESCRIBE the groups {consumer.group} and {group_of(consumer)}"
    with (
        translated(settings, what, rights),
        administering(settings, f"{consumer.group}-limit", timeout_s) as admin,
    ):
        yield admin

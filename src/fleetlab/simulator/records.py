"""What goes into Kafka, with what the truth needs to know about it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from kafka.partitioner.default import murmur2

EVENTS_TOPIC = "device-events"
COMMANDS_TOPIC = "device-commands"
PARTITIONS = 4
TOPICS = {EVENTS_TOPIC: PARTITIONS, COMMANDS_TOPIC: PARTITIONS, f"{EVENTS_TOPIC}.dlq": 2, f"{COMMANDS_TOPIC}.dlq": 2}
"""Every topic of the lab and its number of partitions."""

VALID, DUPLICATE = "", "duplicate"


@dataclass(frozen=True, slots=True)
class Described:
    """A vehicle as a producer of events knows it."""

    model: str
    firmware: str
    carrier: str


GATEWAY_STEPS = ("sent", "delivered", "responded")
"""Written by the device gateway; the company's backend writes `requested`."""


@dataclass(slots=True)
class Attempt:
    """One try of a command, as it will have been in the end. Times in ms by the server's clock; None = never."""

    command_id: str
    type: str
    number: int
    device: str
    model: str
    firmware: str
    carrier: str
    command_requested_ms: int
    requested_ms: int
    deadline_ms: int
    sent_ms: int | None = None
    delivered_ms: int | None = None
    responded_ms: int | None = None
    result: str | None = None
    error_code: str | None = None
    bytes_down: int = 0
    bytes_ack: int = 0
    bytes_up: int = 0
    gateway: Described | None = None
    """What the gateway has instead of `model`, `firmware` and `carrier`; None when it agrees."""

    def described(self, action: str) -> Described:
        """The vehicle as the producer of this step knows it."""
        if self.gateway is not None and action in GATEWAY_STEPS:
            return self.gateway
        return Described(self.model, self.firmware, self.carrier)


class Record(NamedTuple):
    """One Kafka record. Sorts by append time, then id, so that order is the same on every run."""

    append_ms: int
    event_id: str
    copy: int
    """0 = the first time it is appended, 1 = a duplicate, 2 = broken, to be replayed."""
    topic: str
    partition: int
    key: bytes
    value: bytes | None
    fault: str
    """`VALID`, `DUPLICATE` (of a valid event, the same bytes), or what is broken."""
    device: str
    kind: str
    event_ms: int
    """The event time: its `timestamp`."""
    subject: str
    """The command's type, or the kind of telemetry: what traffic is billed by."""
    carrier: str
    direction: str
    """`uplink`, `downlink`, or empty when nothing went over the air."""
    nbytes: int
    attempt: Attempt | None
    action: str
    """For a command's step: `requested`, `sent`, `delivered`, `responded`."""
    detail: str = ""
    """What telemetry says: an error's code, whether the vehicle lies on its side and where, metres, percent."""


@lru_cache(maxsize=100_000)
def partition_of(device: str) -> int:
    """Kafka's default partition of a device's key."""
    return int((murmur2(device.encode()) & 0x7FFFFFFF) % PARTITIONS)

"""A stored command event, and the fact about an attempt that it states."""

from typing import Annotated, Literal, NamedTuple

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1)]
Instant = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]  # ms since the epoch, up to year 9999
Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Fact(NamedTuple):
    """One row of `command_fact`, in its column order; times as Postgres counts them (see `postgres_microseconds`)."""

    command_id: str
    attempt: int
    described_by: int
    command_type: str
    device_id: str
    vehicle_model: str
    firmware: str
    carrier: str
    sim: str
    requested_at: int
    deadline_at: int
    sent_at: int | None = None
    sent_bytes: int | None = None
    delivered_at: int | None = None
    delivered_bytes: int | None = None
    responded_at: int | None = None
    responded_bytes: int | None = None
    result: str | None = None
    error_code: str | None = None


SOURCE_FIELDS = (
    "event.action",
    "device",
    "timestamp",
    "network",
    "message.bytes",
    "command",
    "result",
    "error_code",
)
"""The parts of a document that a fold needs."""

_Clocks = tuple[
    int | None, int | None, int | None, int | None, int | None, int | None, str | None, str | None
]  # fmt: skip
_NO_CLOCKS: _Clocks = (None, None, None, None, None, None, None, None)
_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01T00:00:00Z


class _Event(msgspec.Struct):
    action: Literal["requested", "sent", "delivered", "responded"]


class _Device(msgspec.Struct):
    id: Text
    model: Text
    firmware: Text


class _Network(msgspec.Struct):
    carrier: Text
    sim: Text


class _Message(msgspec.Struct):
    bytes: Bytes


class _Command(msgspec.Struct):
    id: Text
    type: Text
    attempt: Annotated[int, msgspec.Meta(ge=1, le=32_767)]
    requested_at: Instant
    deadline_at: Instant


class _Document(msgspec.Struct):
    event: _Event
    device: _Device
    timestamp: Instant
    network: _Network
    command: _Command
    message: _Message | None = None
    result: Literal["succeeded", "failed", "rejected"] | None = None
    error_code: str | None = None


_DECODER = msgspec.json.Decoder(_Document)


def postgres_microseconds(milliseconds: int) -> int:
    """Milliseconds since 1970 as the integer inside a `timestamptz`: microseconds since 2000, in UTC. Exact."""
    return (milliseconds - _POSTGRES_EPOCH_MS) * 1000


def fact(source: msgspec.Raw | bytes) -> Fact:
    """The fact that a document (JSON) states. Raises `ValueError` saying what is wrong with it.

    Ingest has checked the document against its contract, so a failure means that contract and fold have drifted apart.
    """
    document = _DECODER.decode(source)  # its errors are ValueErrors
    command, device, network = document.command, document.device, document.network
    at = postgres_microseconds(document.timestamp)
    size = document.message.bytes if document.message is not None else None
    step = 1
    clocks: _Clocks = _NO_CLOCKS
    match document.event.action:
        case "sent":
            step, clocks = 2, (at, size, None, None, None, None, None, None)
        case "delivered":
            step, clocks = 3, (None, None, at, size, None, None, None, None)
        case "responded":
            if document.result is None:
                raise ValueError("a response without `result`")
            error_code = _storable(document.error_code) if document.error_code is not None else None
            step, clocks = 4, (None, None, None, None, at, size, document.result, error_code)
    return Fact(
        _storable(command.id),
        command.attempt,
        step,
        _storable(command.type),
        _storable(device.id),
        _storable(device.model),
        _storable(device.firmware),
        _storable(network.carrier),
        _storable(network.sim),
        postgres_microseconds(command.requested_at),
        postgres_microseconds(command.deadline_at),
        *clocks,
    )


def _storable(text: str) -> str:
    """JSON can hold one character that Postgres cannot: U+0000 becomes U+FFFD."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text

"""What messages cost: count * ceil((bytes + overhead) / step) * price, exactly.

Twin of the SQL in `sql/metrics/traffic/views.sql`, for what-if questions over another tariff; a test holds the two
equal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from fleetgauge.commands.tariff import Tariff


@dataclass(frozen=True)
class Messages:
    """`count` messages of `payload_bytes` each (None: of unknown size), in the window from `window_start` (UTC) on."""

    window_start: datetime
    carrier: str
    payload_bytes: int | None
    count: int


@dataclass(frozen=True)
class Cost:
    """A sum over messages. `krw` and `billed_bytes` are of those that have a price."""

    messages: int
    billed_bytes: int
    krw: Decimal
    unpriced_messages: int
    """Messages of unknown size, or whose carrier has no tariff at their time: they cost more than nothing."""


def billed_steps(payload_bytes: int, tariff: Tariff) -> int:
    """Steps that one message is billed as."""
    return -(-(payload_bytes + tariff.overhead_bytes) // tariff.step_bytes)


def tariff_at(tariffs: Iterable[Tariff], carrier: str, instant: datetime) -> Tariff | None:
    """The entry in force at `instant` (aware), or None. `tariffs` as `load_tariffs` returns them."""
    for tariff in tariffs:
        if (
            tariff.carrier == carrier
            and tariff.valid_from <= instant
            and (tariff.valid_to is None or instant < tariff.valid_to)
        ):
            return tariff
    return None


def cost(messages: Iterable[Messages], tariffs: Iterable[Tariff]) -> Cost:
    """Total cost of `messages` under `tariffs`, each priced at its window's start."""
    known = tuple(tariffs)
    total = billed = unpriced = 0
    krw = Decimal(0)
    for group in messages:
        total += group.count
        tariff = tariff_at(known, group.carrier, group.window_start)
        if tariff is None or group.payload_bytes is None:
            unpriced += group.count
            continue
        steps = group.count * billed_steps(group.payload_bytes, tariff)
        billed += steps * tariff.step_bytes
        krw += steps * tariff.price_krw
    return Cost(total, billed, krw, unpriced)

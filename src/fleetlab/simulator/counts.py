"""What the truth is counted in: windows, dimensions, and the numbers of each cell."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Literal
from zoneinfo import ZoneInfo

Grain = Literal["minute", "hour", "day"]
Dimension = Literal["type", "model", "firmware", "carrier"]
TrafficDimension = Literal["subject", "carrier", "direction", "bytes"]
Stream = Literal["commands", "telemetry"]
"""What goes over the air."""
RentalDimension = Literal["zone", "model"]
Key = tuple[object, ...]
"""A window's start (UTC), unless no grain was asked for, then the values of the dimensions."""


@dataclass(slots=True)
class CommandCounts:
    """Commands by their outcome. `open`: the last attempt is neither answered nor past its deadline."""

    requested: int = 0
    succeeded: int = 0
    failed: int = 0
    rejected: int = 0
    timed_out: int = 0
    expired: int = 0
    open: int = 0
    late_success: int = 0
    """Part of `unsuccessful`: done at one of its attempts, but the answer came after the deadline."""
    attempts: int = 0
    latencies_ms: list[int] = field(default_factory=list)
    """Request of the command to the answer, of those that succeeded."""

    @property
    def unsuccessful(self) -> int:
        """All that came to nothing."""
        return self.failed + self.rejected + self.timed_out + self.expired

    @property
    def failure_rate(self) -> float | None:
        """Unsuccessful of requested; None for none requested."""
        return self.unsuccessful / self.requested if self.requested else None

    def latency_ms(self, q: float) -> int | None:
        """The exact nearest-rank quantile of the latency, in ms."""
        return nearest_rank(self.latencies_ms, q)


@dataclass(slots=True)
class Traffic:
    """Messages over the air and their payload."""

    messages: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Telemetry:
    """What vehicles reported: valid unique events, their payload, and who sent them."""

    events: int = 0
    bytes: int = 0
    devices: set[str] = field(default_factory=set)


@dataclass(slots=True)
class RentalCounts:
    """Rentals by the time of their start. Sums are of completed or refunded ones."""

    started: int = 0
    completed: int = 0
    """Ended, refunded ones included."""
    refunded: int = 0
    fare_krw: int = 0
    refund_krw: int = 0
    distance_m: int = 0
    durations_s: list[int] = field(default_factory=list)

    @property
    def open(self) -> int:
        """Still riding."""
        return self.started - self.completed

    @property
    def duration_total_s(self) -> int:
        """Sum of the durations, in seconds."""
        return sum(self.durations_s)


@dataclass(frozen=True, slots=True)
class CommandTruth:
    """One command as its events have told it, as of an instant."""

    id: str
    type: str
    device: str
    model: str
    firmware: str
    carrier: str
    requested_ms: int
    attempts: int
    status: str
    latency_ms: int | None
    late_success: bool


@dataclass(frozen=True, slots=True)
class SuddenStop:
    """A vehicle that died under its rider at `stopped_ms`; the rental could be ended only at `ended_ms`."""

    device: str
    model: str
    rental_id: str
    stopped_ms: int
    ended_ms: int


def nearest_rank(values: Iterable[int], q: float) -> int | None:
    """The nearest-rank quantile (0 < q <= 1): the smallest value that at least that share does not exceed."""
    ranked = sorted(values)
    return ranked[max(0, ceil(q * len(ranked)) - 1)] if ranked else None


def windows(grain: Grain | None, zone: ZoneInfo) -> Callable[[int], tuple[datetime, ...]]:
    """A function from an instant (ms) to `(start of its window in UTC,)`, or to `()` without a grain."""
    known: dict[int, tuple[datetime, ...]] = {}

    def start(instant_ms: int) -> tuple[datetime, ...]:
        if grain is None:
            return ()
        minute = instant_ms // 60_000
        if minute not in known:
            at = datetime.fromtimestamp(minute * 60, UTC)
            local = at.astimezone(zone)
            if grain == "hour":
                at -= timedelta(minutes=local.minute)
            elif grain == "day":
                at = local.replace(hour=0, minute=0, fold=0).astimezone(UTC)
            known[minute] = (at,)
        return known[minute]

    return start

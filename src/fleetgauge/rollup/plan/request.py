"""What is asked of a metric: to bring it up to date, or to compute anew a stretch, or what differs or overflowed."""

from dataclasses import dataclass
from datetime import datetime

from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.spans import Span


@dataclass(frozen=True)
class RunRequest:
    """Bring it up to date. Asked by Airflow and by `fleetgauge run`."""

    grain: Grain = "minute"
    """`minute` reads the source and carries hours and days along; `hour` and `day` are made from the grain below."""
    interval: Span | None = None
    """Compute this anew besides; aware, end exclusive."""
    watermark: datetime | None = None
    """Windows close by it (UTC) where it is earlier than the source's own watermark."""


@dataclass(frozen=True)
class BackfillRequest:
    """Compute a piece of a backfill anew, whatever the ledger says."""

    piece: Span
    grain: Grain = "minute"


@dataclass(frozen=True)
class ReconcileRequest:
    """Compute hours anew that differ from their source."""

    hours: tuple[Span, ...]
    accepting: bool = False
    """Whether somebody has said that what the source has lost is rightly gone."""


@dataclass(frozen=True)
class OverflowRequest:
    """Compute windows anew in which values were counted together for want of room, since there is room now."""

    windows: tuple[Span, ...]


Request = RunRequest | BackfillRequest | ReconcileRequest | OverflowRequest

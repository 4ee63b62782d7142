"""Sizes and patience of a run, and the connection that it writes through."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from fleetgauge.clock import Clock, SystemClock
from fleetgauge.postgres import AnswersInTime, Connection, metrics
from fleetgauge.rollup.plan.clock_bounds import TOLERANCE
from fleetgauge.rollup.plan.planner import DENSE
from fleetgauge.rollup.sources.port import ROLLUP, Row
from fleetgauge.settings import MetricsSettings, Settings


@dataclass(frozen=True)
class RunOptions:
    """A test makes them small."""

    overlap: timedelta = timedelta(seconds=5)
    """How far the cursor stays behind the source watermark: a session shows its transaction's start a moment after
    taking it."""
    windows: int = 1440
    """Minutes of the first chunk; it grows and shrinks by the rows that come."""
    cells: int = 2000
    """Touched cells of the first batch."""
    dense: int = DENSE
    """An hour with more touched cells than this is read whole."""
    rows_aimed: int = 20_000
    """Rows that one transaction should write."""
    tries: int = 6
    """Failures in a row, each followed by a quarter of the work, after which a run gives up what is left."""
    pause_s: float = 0.5
    """Before the first new try; doubles with each."""
    lock_timeout_s: float = 60.0
    """How long to wait for another worker on the same metric."""

    tolerance: timedelta | None = TOLERANCE
    """How far a source may be ahead of the other clocks; None: clocks are not compared, for rehearsals in a time of
    their own."""
    clock_steps: bool = True
    """Whether changes are read again from as far back as the source's clock may have been set back."""
    clock: Clock = field(default_factory=SystemClock)
    """This worker's."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings want it."""
        return cls(tolerance=timedelta(seconds=settings.clocks.tolerance_s))

    @property
    def session(self) -> dict[str, str]:
        """Settings of the writing session."""
        return {"lock_timeout": f"{self.lock_timeout_s * 1000:.0f}ms", "jit": "off"}


def connect_metrics(
    settings: MetricsSettings, options: RunOptions, kind: type[AnswersInTime] = AnswersInTime
) -> Connection[Row]:
    """The writing connection."""
    return metrics(settings).connect_as(kind, f"{ROLLUP}-writer", session=options.session)

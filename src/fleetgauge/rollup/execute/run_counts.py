"""What the executor has done so far, in all and stage by stage."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fleetgauge.rollup.plan.stages import Stage
from fleetgauge.rollup.spans import Span


@dataclass(frozen=True)
class StageDone:
    """One stage that was executed."""

    stage: Stage
    windows: int = 0
    cells: int = 0
    rows: int = 0
    skipped: bool = False
    """Whether all of it had become unnecessary, since another worker did it meanwhile."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without what the stage lists."""
        return {
            "stage": type(self.stage).__name__,
            "reason": self.stage.reason,
            "windows": self.windows,
            "cells": self.cells,
            "rows": self.rows,
            "skipped": self.skipped,
        }


@dataclass(kw_only=True)
class RunCounts:
    """What was done for a plan, or for all plans of a run; whoever executes them counts here."""

    windows: int = 0
    """Windows recomputed as a whole: never computed before, asked for, or blocked."""
    cells: int = 0
    """Touched cells recomputed."""
    rows: int = 0
    """Rows written, at all grains."""
    restated: int = 0
    """Cells whose values changed though their window was closed; what is computed again and stays the same is none."""
    late_unapplied: int = 0
    """Touched cells that cannot be recomputed any more, since their source or their rows have expired."""
    conflicts: int = 0
    """How often the source broke off: conflicts with recovery, time-outs, lost connections."""
    warnings: list[str] = field(default_factory=list)
    stages: list[StageDone] = field(default_factory=list)
    """The stages that were executed."""
    written: list[Span] = field(default_factory=list)
    """Stretches whose windows were written, each noted once its transaction was through."""

    def wrote(self, spans: Iterable[Span]) -> None:
        """Note them; one that goes on where the last ended lengthens it."""
        for begin, end in spans:
            if self.written and self.written[-1][1] == begin:
                self.written[-1] = (self.written[-1][0], end)
            else:
                self.written.append((begin, end))


@dataclass(frozen=True)
class Progress:
    """How far the computing of whole windows is, of one metric."""

    metric: str
    at: datetime
    """Up to where the stage at hand is computed (UTC)."""
    done: timedelta
    total: timedelta
    """Stretches of event time, of all such stages of the plan."""
    rows: int


Watch = Callable[[Progress], None]
"""Told after each transaction."""

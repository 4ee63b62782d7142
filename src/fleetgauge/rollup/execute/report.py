"""What a run did, for the CLI, the task log and the DAG."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from fleetgauge.errors import FleetgaugeError, Stop, Terminal, Transient
from fleetgauge.rollup.execute.delay import Delay
from fleetgauge.rollup.execute.run_counts import RunCounts
from fleetgauge.rollup.values import BlockedCell

Severity = Literal["transient", "terminal", "stop"]
_ERRORS: dict[Severity, type[FleetgaugeError]] = {"transient": Transient, "terminal": Terminal, "stop": Stop}


@dataclass
class RunReport(RunCounts):
    """One run of one metric: what it has done, counted while it does it, and how it ended. Instants are UTC."""

    metric: str
    version: str
    grain: str
    run: int | None = None
    """Its number in the run log; None where it could not be written down, or changed nothing in a loop."""
    source_seconds: float = 0.0
    """Time in transactions on the source."""
    source_lag_s: float | None = None
    """How far the source watermark was behind the time that the clocks agree on; never negative."""
    clock_skew_s: float | None = None
    """How far the two clocks that differ most were apart: the worker's, the metrics database's, the source's host's."""
    delay: Delay | None = None
    """How long the changes have waited that it made readable; None if there could be none."""
    seconds: float = 0.0
    watermark: datetime | None = None
    """Everything older is known; the least of the source watermark and the given one."""
    closed_until: dict[str, datetime | None] = field(default_factory=dict)
    """By grain, up to where windows are final."""
    blocked: tuple[BlockedCell, ...] = ()
    """Cells that keep their old rows, since the new ones broke a check."""
    deferred: str | None = None
    """Why nothing was done, if that is no fault: the source cannot say yet how far it is."""
    error: str | None = None
    severity: Severity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; instants as ISO 8601."""
        found = {k: plain(v) for k, v in asdict(replace(self, stages=[], blocked=())).items()}
        del found["written"]  # thousands, perhaps; the run log has them
        return found | {
            "blocked": [plain(asdict(one) | {"dimensions": dict(one.dimensions)}) for one in self.blocked],
            "stages": [one.to_dict() for one in self.stages],
        }


def severity(error: FleetgaugeError) -> Severity:
    """The class of an error, as a word."""
    for name, kind in _ERRORS.items():
        if isinstance(error, kind):
            return name
    return "stop"


def raise_failures(reports: Sequence[RunReport]) -> None:
    """Raise one error for all metrics that failed or are blocked, of the gravest class; nothing if all is well.

    Blocked cells whose source has expired are no run's failure: `freshness` tells them until somebody accepts them.
    """
    said: list[tuple[Severity, str]] = []
    for report in reports:
        if report.error is not None:
            said.append((report.severity or "stop", f"metric {report.metric}: {report.error}"))
        if cells := retried(report.blocked):
            said.append(("terminal", f"metric {report.metric}: {blocked_message(cells)}"))
    raise_worst(said)


def retried(cells: Sequence[BlockedCell]) -> list[BlockedCell]:
    """The blocked cells that runs go on trying."""
    return [cell for cell in cells if not cell.frozen]


def blocked_message(cells: Sequence[BlockedCell]) -> str:
    """One sentence about blocked cells, with what to do."""
    return (
        f"check {cells[0].check!r} is broken in {len(cells)} cell(s), first {cells[0]}; they keep their old rows, and "
        "their windows are not final, until source or check is corrected"
    )


def raise_worst(said: Sequence[tuple[Severity, str]]) -> None:
    """Raise one error that tells all of these, the gravest first and of its class; nothing if there are none."""
    graded = [(kind, text) for name in ("stop", "terminal", "transient") for kind, text in said if kind == name]
    if graded:
        raise _ERRORS[graded[0][0]]("; ".join(text for _, text in graded))


def plain(value: Any) -> Any:
    """A value that JSON can say: instants as ISO 8601, exact numbers as text."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value

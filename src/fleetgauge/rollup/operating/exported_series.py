"""The list of what the rollup exports to Prometheus, and the page made from it.

`python -m fleetgauge.rollup.operating.exported_series docs/operating-rollups.md` renews the page.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleetgauge.rollup.operating.conditions import CONDITIONS


@dataclass(frozen=True)
class Export:
    """One metric: what it means and what to do about it."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    meaning: str
    labels: tuple[str, ...] = ("metric",)
    column: str | None = None
    """Of `fleetgauge.activity`, where it comes from there."""

    @property
    def samples(self) -> dict[str, frozenset[str]]:
        """The samples that a scrape has of it → their labels."""
        labels = frozenset(self.labels)
        if self.kind != "histogram":
            return {self.name: labels}
        parts = {f"{self.name}_{part}": labels for part in ("count", "sum")}
        return parts | {f"{self.name}_bucket": labels | {"le"}}


UP = Export("gauge", "fleetgauge_exporter_up", "1 when the metrics database answered this scrape, else 0.", ())
LAG = Export(
    "gauge",
    "fleetgauge_rollup_lag_seconds",
    "Now minus the end of what is final. Of hours and days it grows as long as their window lasts.",
    ("metric", "grain"),
)
OVERDUE = Export(
    "gauge",
    "fleetgauge_rollup_overdue_seconds",
    "How long the next window could have been final: alert on this one, at any grain.",
    ("metric", "grain"),
)
PENDING = Export(
    "gauge",
    "fleetgauge_rollup_pending_minutes",
    "Minutes up to now that are not computed. Growing: no run, or runs that do not keep up.",
)
LEFT_OUT = Export(
    "gauge",
    "fleetgauge_rollup_left_out_rows",
    "Rows of the source that are in no number: a value is not finite, too large, or no time of a fleet. Should be 0.",
    ("metric", "reason"),
)
VALUES = Export(
    "gauge",
    "fleetgauge_dimension_values",
    "Distinct values of a dimension, each with rows of its own.",
    ("metric", "dimension"),
)
LIMIT = Export(
    "gauge",
    "fleetgauge_dimension_limit",
    "How many values may be: alert from 80 % of it on, for further ones are counted together.",
    ("metric", "dimension"),
)
BLOCKED = Export(
    "gauge",
    "fleetgauge_rollup_blocked_windows",
    "Minutes that keep old rows, since the new ones broke a check. Any: correct source or check.",
)
BLOCKED_CELLS = Export(
    "gauge", "fleetgauge_rollup_blocked_cells", "Cells (window and dimension values) that keep old rows so."
)
CONDITION = Export(
    "gauge",
    "fleetgauge_rollup_condition",
    "How often what `freshness` tells beside lateness holds: see the conditions below. Should be 0.",
    ("metric", "condition"),
)
LATE = Export(
    "counter",
    "fleetgauge_rollup_late_unapplied_total",
    "Touched cells that could not be computed anew, since their source or their rows have expired.",
)
FROZEN = Export(
    "gauge",
    "fleetgauge_rollup_frozen_before_timestamp_seconds",
    "What is older stays as it is, since its source or its rows have expired. Absent: nothing is.",
)
INVALID = Export(
    "gauge",
    "fleetgauge_definition_invalid",
    "1 for a metric whose definition could not be read when the exporter began: it is not computed. Should be 0.",
)
PRIMARY = Export(
    "gauge",
    "fleetgauge_source_primary",
    "1 where the settings let a run read a server that is not a standby (allow_primary). Should be 0.",
    ("source",),
)
SOURCE_LAG = Export(
    "gauge",
    "fleetgauge_source_lag_seconds",
    "How far the source watermark was behind at the last run.",
    column="source_lag_s",
)
CLOCK_SKEW = Export(
    "gauge",
    "fleetgauge_clock_skew_seconds",
    "How far the clocks of worker, metrics database and replica were apart at the last run. Over 10: see NTP.",
    column="clock_skew_s",
)
RECONCILED = Export(
    "gauge",
    "fleetgauge_reconcile_completed_timestamp_seconds",
    "When the last comparison with the source began that took in all of the last 35 days and came to its end. Absent: "
    "none has.",
    column="reconciled_at",
)
AHEAD = Export(
    "gauge",
    "fleetgauge_rollup_ahead_seconds",
    "How far the future is called computed or final, since a clock was wrong. Should be 0; a run heals it.",
    ("metric", "grain"),
)
FAILING = Export("gauge", "fleetgauge_rollup_failing", "1 when the last run failed; its task's log says why.")
DEFERRED = Export("gauge", "fleetgauge_rollup_deferred", "1 when the last run was put off: its source is behind.")
WAITING = Export(
    "gauge",
    "fleetgauge_rollup_waiting",
    "1 while the views do not show the version that runs compute; freshness and doctor say why. For longer than a fill "
    "takes: look.",
)
UNDEFINED = Export(
    "gauge",
    "fleetgauge_rollup_undefined",
    "1 for each metric, and each view, that no definition makes any more: it shows the same for ever; 0 for others. "
    "fleetgauge metrics drop drops it.",
)
RESTATED = Export(
    "gauge",
    "fleetgauge_rollup_restatements_last_day",
    "Values at any grain that changed in the last day though their window was final; fleetgauge restatements lists "
    "them.",
)
DELAY = Export(
    "histogram",
    "fleetgauge_rollup_delay_seconds",
    "From the commit on the primary, or the append in Kafka, until the number can be read: an upper bound, measured by "
    "heartbeat. One observation for each second of the source's time, whether or not something changed in it.",
)
COUNTED = (
    Export("counter", "fleetgauge_rollup_runs_total", "Runs.", column="runs"),
    Export("counter", "fleetgauge_rollup_failures_total", "Runs that failed.", column="failures"),
    Export("counter", "fleetgauge_rollup_deferrals_total", "Runs that were put off.", column="deferrals"),
    Export(
        "counter",
        "fleetgauge_rollup_windows_total",
        "Windows computed as a whole, by runs and backfills.",
        column="windows",
    ),
    Export("counter", "fleetgauge_rollup_cells_total", "Touched cells computed anew.", column="cells"),
    Export(
        "counter",
        "fleetgauge_rollup_restated_total",
        "Cells that changed though their window was final. Many: lengthen grace.",
        column="restated",
    ),
    Export(
        "counter",
        "fleetgauge_rollup_conflicts_total",
        "Times that the source broke off: conflicts with recovery, time-outs, lost connections.",
        column="conflicts",
    ),
    Export(
        "counter",
        "fleetgauge_source_query_seconds_total",
        "Time in transactions on the source.",
        column="source_seconds",
    ),
    Export("counter", "fleetgauge_reconcile_hours_total", "Hours compared with their source.", column="reconciled"),
    Export(
        "counter",
        "fleetgauge_reconcile_differed_total",
        "Hours that differed and were computed anew. Any: rows are deleted, or change without their change column.",
        column="differed",
    ),
)
_GAUGES = (
    UP,
    INVALID,
    LAG,
    OVERDUE,
    PENDING,
    LEFT_OUT,
    VALUES,
    LIMIT,
    BLOCKED,
    BLOCKED_CELLS,
    CONDITION,
    LATE,
    FROZEN,
    PRIMARY,
    SOURCE_LAG,
    CLOCK_SKEW,
    RECONCILED,
    AHEAD,
    FAILING,
    DEFERRED,
    WAITING,
    UNDEFINED,
    RESTATED,
    DELAY,
)
CATALOGUE = (*_GAUGES, *COUNTED)


def catalogue() -> str:
    """The table of metrics."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for export in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in export.labels)
        rows.append(f"| `{export.name}` | {export.kind} | {labels} | {export.meaning} |")
    rows += ["", "| condition | `freshness` | meaning | what to do |", "| --- | --- | --- | --- |"]
    rows += [f"| `{one.name}` | {one.verdict} | {one.meaning} | {one.remedy} |" for one in CONDITIONS]
    return "\n".join(rows)


def renewed(page: str) -> str:
    """The page with the table as it is now."""
    return re.sub(
        r"(<!-- metrics -->\n).*?(<!-- /metrics -->)",
        lambda match: f"{match[1]}{catalogue()}\n{match[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text("utf-8")), "utf-8")

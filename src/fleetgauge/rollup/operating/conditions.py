"""What can be wrong, late or withheld about a metric's numbers beside lateness: one list, for all that tell it.

`freshness` takes its verdict from here, `doctor` its lines, the exporter its gauge `fleetgauge_rollup_condition`; so
nothing is told by one and missing in another. To add one: what it needs in `attention.MetricStatus`, a function
that finds it there (`condition_finders`), and an entry in `CONDITIONS`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from fleetgauge.rollup.execute.report import Severity
from fleetgauge.rollup.operating import condition_finders as find
from fleetgauge.rollup.operating.attention import MetricStatus
from fleetgauge.rollup.operating.condition_finders import Found

Verdict = Literal["ok", "warn", "error"]
_ORDER: tuple[Verdict, ...] = ("ok", "warn", "error")


@dataclass(frozen=True)
class Condition:
    """One way in which numbers are not what they should be."""

    name: str
    """The exporter's label."""
    verdict: Verdict
    """What `freshness` says at least while it holds."""
    severity: Severity
    """How `freshness` ends where that is `error`: as a run ends that meets it."""
    meaning: str
    remedy: str
    find: Callable[[MetricStatus], Found]


@dataclass(frozen=True)
class HeldCondition:
    """A condition that holds for a metric."""

    condition: Condition
    metric: str
    count: int
    said: str


CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "blocked",
        "error",
        "terminal",
        "Cells keep old rows, since their new ones broke a `fail` check; their windows are not final.",
        "correct the source's rows, or the check in metric.yaml",
        find.blocked,
    ),
    Condition(
        "frozen_blocked",
        "error",
        "terminal",
        "Cells that a `fail` check blocked have lost their source: no run computes them again, or makes them final.",
        "accept the rows that they have (fleetgauge metrics accept)",
        find.frozen_blocked,
    ),
    Condition(
        "failing",
        "error",
        "transient",
        "The last run failed; the numbers are those of an earlier one.",
        "see the message, and the task's log",
        find.failing,
    ),
    Condition(
        "unread",
        "error",
        "terminal",
        "The metric's definition cannot be read, so that nothing of it is computed.",
        "correct it (fleetgauge lint)",
        find.unread,
    ),
    Condition(
        "undefined",
        "error",
        "transient",
        "No definition makes the metric's views any more: they show the same for ever.",
        "drop them (fleetgauge metrics drop), or define the metric again",
        find.undefined,
    ),
    Condition(
        "not_shown",
        "error",
        "transient",
        "A new version is filled, but the views cannot be made to show it.",
        "do what the message says, then fleetgauge migrate",
        find.not_shown,
    ),
    Condition(
        "waiting",
        "warn",
        "transient",
        "The views show an older version, or an older form of this one, until a run has filled the new one.",
        "nothing, while runs fill it; see fleetgauge plan",
        find.waiting,
    ),
    Condition(
        "closed_index",
        "error",
        "transient",
        "A daily index is closed: its documents are read by nothing, and windows of its day are not computed.",
        "open the index, or delete it if its documents are not wanted",
        find.closed,
    ),
    Condition(
        "mistyped_index",
        "error",
        "terminal",
        "A daily index maps a field that the metric reads to another type: windows of its day are not computed.",
        "make the index anew by the template",
        find.mistyped,
    ),
    Condition(
        "lost_documents",
        "warn",
        "terminal",
        "A daily index was deleted, or holds fewer documents than before, not by retention: its day stays as it is.",
        "restore it from a snapshot, or load its day again; it ends by itself when the day expires",
        find.lost,
    ),
    Condition(
        "detached_partition",
        "error",
        "terminal",
        "Somebody has detached a partition of the metric's own tables: what it holds is not shown.",
        "attach it again, or give it another name; retention drops none that has not expired",
        find.detached,
    ),
    Condition(
        "removed_rows",
        "error",
        "terminal",
        "Somebody has emptied a partition of the metric's own tables: what it held is not shown.",
        "let a run compute it again; what the source has no more is to be restored from a backup",
        find.removed,
    ),
    Condition(
        "foreign_index",
        "warn",
        "terminal",
        "An index behind the alias is none of its days, such as a restored copy: its documents are in no number.",
        "take it out of the alias; documents that are to count belong to the index of their day",
        find.foreign,
    ),
    Condition(
        "missed_records",
        "warn",
        "terminal",
        "Kafka's retention deleted records before they were read: they are in no number, and cannot be had any more.",
        "lengthen the topic's retention.ms, and see why its consumer was so far behind; it ends 30 days later",
        find.missed,
    ),
    Condition(
        "emptied_source",
        "error",
        "terminal",
        "The source holds less than half of what was counted of final hours: they keep their numbers.",
        "give the source its rows back; or fleetgauge metrics accept; or reconcile --accept-losses",
        find.emptied,
    ),
    Condition(
        "cut_day",
        "warn",
        "terminal",
        "A version began within a day whose beginning the source had lost: no version has the whole of that day.",
        "nothing; days are whole again from the next on. Change definitions before the source drops what they read",
        find.cut,
    ),
    Condition(
        "unmapped_field",
        "warn",
        "terminal",
        "A daily index does not map a field that the metric reads, so that its documents count as without a value.",
        "add the field to the index, index its documents anew, and backfill its day",
        find.lacking,
    ),
    Condition(
        "repeated_events",
        "warn",
        "terminal",
        "Events are stored under two days and count twice: a device sent them again with a new time.",
        "let devices keep an event's time when they send it again; the next reconcile looks again",
        find.repeated,
    ),
    Condition(
        "deferred",
        "warn",
        "transient",
        "The last run was put off, since the source could not say how far it is.",
        "see whether production writes its heartbeat and the replica keeps up",
        find.deferred,
    ),
    Condition(
        "left_out",
        "warn",
        "terminal",
        "Rows of the source are in no number, since they can't be counted: not finite, too large, an absurd time.",
        "correct the rows that are named",
        find.left_out,
    ),
    Condition(
        "unfollowed",
        "warn",
        "terminal",
        "Rows of the source have no time of change: no run sees that they came late or changed, reconcile does.",
        "set change_time at every insert, and where it is NULL now; or say coalesce(…) of it in source.sql",
        find.unfollowed,
    ),
    Condition(
        "late_changes",
        "warn",
        "transient",
        "Changes became visible after their change time: an application's clock writes it, and lags.",
        "let the database write the change time (now()), or mend the clock; what lags by 10 minutes is reconcile's",
        find.late_changes,
    ),
    Condition(
        "unreconciled",
        "warn",
        "transient",
        "It was not compared with its source for 50 hours, so that what only a comparison finds is in no number.",
        "see why the daily comparison does not come to its end (the task fleetgauge_reconcile)",
        find.unreconciled,
    ),
    Condition(
        "dimension_limit",
        "warn",
        "terminal",
        "A dimension has 80 % of its values or more; beyond its limit, values are counted together.",
        "raise the limit in metric.yaml, or expire values that are no more (fleetgauge dimensions expire)",
        find.nearly_full,
    ),
)
"""In the order in which they are told."""


def conditions(status: MetricStatus) -> tuple[HeldCondition, ...]:
    """Those that hold for a metric, in the order of the list."""
    found = ((condition, condition.find(status)) for condition in CONDITIONS)
    return tuple(HeldCondition(condition, status.metric, *held) for condition, held in found if held is not None)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest; `ok` of none."""
    return max(verdicts, key=_ORDER.index, default="ok")

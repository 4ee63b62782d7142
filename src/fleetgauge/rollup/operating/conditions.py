"""What can be wrong, late or withheld about a metric's numbers beside lateness: one list, for all that tell it.

`freshness` takes its verdict from here, `doctor` its lines, the exporter its gauge `fleetgauge_rollup_condition`; so
nothing is told by one and missing in another. To add one: what it needs in `attention.MetricStatus`, a function
that finds it there, and an entry in `CONDITIONS`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from fleetgauge.rollup.execute.report import Severity, blocked_message, retried
from fleetgauge.rollup.operating.attention import MetricStatus
from fleetgauge.rollup.store.partitions import CURE

Verdict = Literal["ok", "warn", "error"]
_ORDER: tuple[Verdict, ...] = ("ok", "warn", "error")

Found = tuple[int, str] | None
"""How many, and one sentence that names the first; None if there is none."""


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


def _blocked(status: MetricStatus) -> Found:
    cells = retried(status.blocked)
    return (len(cells), blocked_message(cells)) if cells else None


def _frozen_blocked(status: MetricStatus) -> Found:
    cells = [cell for cell in status.blocked if cell.frozen]
    if not cells:
        return None
    said = f"check {cells[0].check!r} was broken in {len(cells)} cell(s), first {cells[0]}, whose source has expired; "
    said += "they keep their old rows, and are never final, until somebody accepts them "
    return len(cells), f"{said}(fleetgauge metrics accept {status.metric} --reason WHY)"


def _failing(status: MetricStatus) -> Found:
    return None if status.error is None else (1, f"its last run failed: {status.error}")


def _deferred(status: MetricStatus) -> Found:
    return None if status.deferred is None else (1, f"its last run was put off: {status.deferred}")


def _closed(status: MetricStatus) -> Found:
    if not status.closed:
        return None
    said = f"{', '.join(status.closed)} is closed: what it holds is in no number that was computed since"
    return len(status.closed), f"{said}; open it (POST /{status.closed[0]}/_open), and the next run goes on with it"


def _mistyped(status: MetricStatus) -> Found:
    if not status.mistyped:
        return None
    told = [f"{index} maps {', '.join(fields)} to another type" for index, fields in status.mistyped.items()]
    first = next(iter(status.mistyped))
    return len(told), (
        f"{'; '.join(told)} than the contract says: its day stays as it was computed before, and all others go on. "
        "Make it anew: _reindex into another index, delete it, let the consumer make it by its template, and _reindex "
        f"back (or DELETE /{first}, and fleetgauge consume --from-time); the next run goes on with it"
    )


def _lost(status: MetricStatus) -> Found:
    if not status.lost:
        return None
    first = status.lost[0]
    said = f"{', '.join(status.lost)} held fewer documents than it had before, or is gone, and not by retention: what "
    said += "was computed of it stays, and is never computed again; late events of it are in no number. Restore "
    return len(status.lost), f"{said}{first} from a snapshot, or load its day again (fleetgauge consume --from-time)"


def _detached(status: MetricStatus) -> Found:
    if not status.detached:
        return None
    return len(status.detached), f"{', '.join(status.detached)} {CURE}"


def _removed(status: MetricStatus) -> Found:
    if not status.removed:
        return None
    first = status.removed[0]
    return len(status.removed), (
        f"{', '.join(one.name for one in status.removed)} has no row of final windows any more, since somebody removed "
        "them: the next run computes them again, as far as what they are made of is kept; what is left is to be had "
        f"from a backup alone (first: {first.grain}s from {first.begin:%Y-%m-%dT%H:%MZ} to {first.end:%Y-%m-%dT%H:%MZ})"
    )


def _foreign(status: MetricStatus) -> Found:
    if not status.foreign:
        return None
    first = next(iter(status.foreign))
    told = ", ".join(f"{index} ({count} documents)" for index, count in status.foreign.items())
    said = f"{told}: behind the alias, and no day of it, so what it holds is in no number, and whoever else searches "
    said += "the alias counts it beside the days; take it out of the alias, or delete it "
    return len(status.foreign), f"{said}(DELETE /{first}/_alias/…)"


def _missed(status: MetricStatus) -> Found:
    if not status.missed:
        return None
    told = ", ".join(f"{count} of partition {partition}" for partition, count in status.missed.items())
    said = f"Kafka's retention deleted records before they were read, {told}: they are in no number"
    return sum(status.missed.values()), f"{said}. Lengthen the topic's retention.ms; it is told for 30 days"


def _emptied(status: MetricStatus) -> Found:
    if not status.emptied:
        return None
    said = f"its source has lost most facts of {len(status.emptied)} final hour(s), first {status.emptied[0]}: they "
    said += "keep their numbers. Give the source its rows back, or say that these numbers are right (fleetgauge "
    said += f"metrics accept {status.metric} --reason WHY), or that the rows are rightly gone (fleetgauge reconcile "
    return len(status.emptied), f"{said}{status.metric} --accept-losses, with --from and --to)"


def _cut(status: MetricStatus) -> Found:
    if status.cut is None:
        return None
    day, whole = (f"{at:%Y-%m-%dT%H:%M%z}" for at in (status.cut.begin, status.cut.end))
    return 1, (
        f"its day of {day} is a part, and stays provisional as version {status.cut.version} left it: the version that "
        "goes on cannot compute its beginning, which the source has lost; what came since is in finer windows alone. "
        f"Days are whole again from {whole} on; it is told for a week"
    )


def _lacking(status: MetricStatus) -> Found:
    if not status.lacking:
        return None
    told = [f"{index} does not map {', '.join(fields)}" for index, fields in status.lacking.items()]
    said = f"{told[0]}{f', and {len(told) - 1} more like it' if len(told) > 1 else ''}: its documents count as if they "
    said += "had no such value. Run fleetgauge indices; for what it holds already, then POST /"
    first = next(iter(status.lacking))
    return len(told), f"{said}{first}/_update_by_query, and fleetgauge backfill {status.metric} over its day"


def _repeated(status: MetricStatus) -> Found:
    one = status.repeated
    if one is None or not one.found:
        return None
    said = (
        f"of {one.sampled} events of {one.day:%Y-%m-%d} that were looked at, {one.found} are stored under another day "
    )
    said += f"too and count once for each, such as {one.example}: they were sent again with a new time"
    return one.found, f"{said}; let devices keep an event's time (docs/ingest.md)"


def _waiting(status: MetricStatus) -> Found:
    return (1, status.waiting.why) if status.waiting is not None and status.waiting.by_itself else None


def _not_shown(status: MetricStatus) -> Found:
    return (1, status.waiting.why) if status.waiting is not None and not status.waiting.by_itself else None


def _undefined(status: MetricStatus) -> Found:
    if not status.undefined:
        return None
    said = "it is not defined any more, so its views show the same for ever"
    return 1, f"{said}; fleetgauge metrics drop {status.metric} drops them"


def _unread(status: MetricStatus) -> Found:
    return None if status.unread is None else (1, f"it is not computed: {status.unread}")


def _left_out(status: MetricStatus) -> Found:
    found = status.omissions
    return (sum(one.count for one in found), "; ".join(map(str, found))) if found else None


def _unfollowed(status: MetricStatus) -> Found:
    found = status.unfollowed
    if found is None:
        return None
    some = f"{found.count} row(s)" if found.count < found.MANY else f"{found.count} rows or more"
    said = f"{some} of its source have no time of change, or an impossible one: "
    said += f"{', '.join(found.keys)}; that they came late, or change, is "
    return found.count, f"{said}seen by reconcile alone"


def _nearly_full(status: MetricStatus) -> Found:
    found = [one for one in status.fillings if one.matters]
    return (len(found), "; ".join(map(str, found))) if found else None


CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "blocked",
        "error",
        "terminal",
        "Cells keep old rows, since their new ones broke a `fail` check; their windows are not final.",
        "correct the source's rows, or the check in metric.yaml",
        _blocked,
    ),
    Condition(
        "frozen_blocked",
        "error",
        "terminal",
        "Cells that a `fail` check blocked have lost their source: no run computes them again, or makes them final.",
        "accept the rows that they have (fleetgauge metrics accept)",
        _frozen_blocked,
    ),
    Condition(
        "failing",
        "error",
        "transient",
        "The last run failed; the numbers are those of an earlier one.",
        "see the message, and the task's log",
        _failing,
    ),
    Condition(
        "unread",
        "error",
        "terminal",
        "The metric's definition cannot be read, so that nothing of it is computed.",
        "correct it (fleetgauge lint)",
        _unread,
    ),
    Condition(
        "undefined",
        "error",
        "transient",
        "No definition makes the metric's views any more: they show the same for ever.",
        "drop them (fleetgauge metrics drop), or define the metric again",
        _undefined,
    ),
    Condition(
        "not_shown",
        "error",
        "transient",
        "A new version is filled, but the views cannot be made to show it.",
        "do what the message says, then fleetgauge migrate",
        _not_shown,
    ),
    Condition(
        "waiting",
        "warn",
        "transient",
        "The views show an older version, or an older form of this one, until a run has filled the new one.",
        "nothing, while runs fill it; see fleetgauge plan",
        _waiting,
    ),
    Condition(
        "closed_index",
        "error",
        "transient",
        "A daily index is closed: its documents are read by nothing, and windows of its day are not computed.",
        "open the index, or delete it if its documents are not wanted",
        _closed,
    ),
    Condition(
        "mistyped_index",
        "error",
        "terminal",
        "A daily index maps a field that the metric reads to another type: windows of its day are not computed.",
        "make the index anew by the template",
        _mistyped,
    ),
    Condition(
        "lost_documents",
        "warn",
        "terminal",
        "A daily index was deleted, or holds fewer documents than before, not by retention: its day stays as it is.",
        "restore it from a snapshot, or load its day again; it ends by itself when the day expires",
        _lost,
    ),
    Condition(
        "detached_partition",
        "error",
        "terminal",
        "Somebody has detached a partition of the metric's own tables: what it holds is not shown.",
        "attach it again, or give it another name; retention drops none that has not expired",
        _detached,
    ),
    Condition(
        "removed_rows",
        "error",
        "terminal",
        "Somebody has emptied a partition of the metric's own tables: what it held is not shown.",
        "let a run compute it again; what the source has no more is to be restored from a backup",
        _removed,
    ),
    Condition(
        "foreign_index",
        "warn",
        "terminal",
        "An index behind the alias is none of its days, such as a restored copy: its documents are in no number.",
        "take it out of the alias; documents that are to count belong to the index of their day",
        _foreign,
    ),
    Condition(
        "missed_records",
        "warn",
        "terminal",
        "Kafka's retention deleted records before they were read: they are in no number, and cannot be had any more.",
        "lengthen the topic's retention.ms, and see why its consumer was so far behind; it ends 30 days later",
        _missed,
    ),
    Condition(
        "emptied_source",
        "error",
        "terminal",
        "The source holds less than half of what was counted of final hours: they keep their numbers.",
        "give the source its rows back; or fleetgauge metrics accept; or reconcile --accept-losses",
        _emptied,
    ),
    Condition(
        "cut_day",
        "warn",
        "terminal",
        "A version began within a day whose beginning the source had lost: no version has the whole of that day.",
        "nothing; days are whole again from the next on. Change definitions before the source drops what they read",
        _cut,
    ),
    Condition(
        "unmapped_field",
        "warn",
        "terminal",
        "A daily index does not map a field that the metric reads, so that its documents count as without a value.",
        "add the field to the index, index its documents anew, and backfill its day",
        _lacking,
    ),
    Condition(
        "repeated_events",
        "warn",
        "terminal",
        "Events are stored under two days and count twice: a device sent them again with a new time.",
        "let devices keep an event's time when they send it again; the next reconcile looks again",
        _repeated,
    ),
    Condition(
        "deferred",
        "warn",
        "transient",
        "The last run was put off, since the source could not say how far it is.",
        "see whether production writes its heartbeat and the replica keeps up",
        _deferred,
    ),
    Condition(
        "left_out",
        "warn",
        "terminal",
        "Rows of the source are in no number, since they can't be counted: not finite, too large, an absurd time.",
        "correct the rows that are named",
        _left_out,
    ),
    Condition(
        "unfollowed",
        "warn",
        "terminal",
        "Rows of the source have no time of change: no run sees that they came late or changed, reconcile does.",
        "set change_time at every insert, and where it is NULL now; or say coalesce(…) of it in source.sql",
        _unfollowed,
    ),
    Condition(
        "dimension_limit",
        "warn",
        "terminal",
        "A dimension has 80 % of its values or more; beyond its limit, values are counted together.",
        "raise the limit in metric.yaml, or expire values that are no more (fleetgauge dimensions expire)",
        _nearly_full,
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

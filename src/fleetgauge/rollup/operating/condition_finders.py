"""What of a metric's status makes each of `conditions.CONDITIONS` hold: how many, and what is said of it."""

from datetime import timedelta

from fleetgauge.rollup.execute.report import blocked_message, retried
from fleetgauge.rollup.operating.attention import MetricStatus
from fleetgauge.rollup.store.partitions import CURE

UNRECONCILED = timedelta(hours=50)
"""So long after a comparison two of the daily ones have not come to their end."""

Found = tuple[int, str] | None
"""How many, and one sentence that names the first; None if there is none."""


def blocked(status: MetricStatus) -> Found:
    cells = retried(status.blocked)
    return (len(cells), blocked_message(cells)) if cells else None


def frozen_blocked(status: MetricStatus) -> Found:
    cells = [cell for cell in status.blocked if cell.frozen]
    if not cells:
        return None
    said = f"check {cells[0].check!r} was broken in {len(cells)} cell(s), first {cells[0]}, whose source has expired; "
    said += "they keep their old rows, and are never final, until somebody accepts them "
    return len(cells), f"{said}(fleetgauge metrics accept {status.metric} --reason WHY)"


def failing(status: MetricStatus) -> Found:
    return None if status.error is None else (1, f"its last run failed: {status.error}")


def deferred(status: MetricStatus) -> Found:
    return None if status.deferred is None else (1, f"its last run was put off: {status.deferred}")


def closed(status: MetricStatus) -> Found:
    if not status.closed:
        return None
    said = f"{', '.join(status.closed)} is closed: what it holds is in no number that was computed since"
    return len(status.closed), f"{said}; open it (POST /{status.closed[0]}/_open), and the next run goes on with it"


def mistyped(status: MetricStatus) -> Found:
    if not status.mistyped:
        return None
    told = [f"{index} maps {', '.join(fields)} to another type" for index, fields in status.mistyped.items()]
    first = next(iter(status.mistyped))
    return len(told), (
        f"{'; '.join(told)} than the contract says: its day stays as it was computed before, and all others go on. "
        "Make it anew: _reindex into another index, delete it, let the consumer make it by its template, and _reindex "
        f"back (or DELETE /{first}, and fleetgauge consume --from-time); the next run goes on with it"
    )


def lost(status: MetricStatus) -> Found:
    if not status.lost:
        return None
    first = status.lost[0]
    said = f"{', '.join(status.lost)} held fewer documents than it had before, or is gone, and not by retention: what "
    said += "was computed of it stays, and is never computed again; late events of it are in no number. Restore "
    return len(status.lost), f"{said}{first} from a snapshot, or load its day again (fleetgauge consume --from-time)"


def detached(status: MetricStatus) -> Found:
    if not status.detached:
        return None
    return len(status.detached), f"{', '.join(status.detached)} {CURE}"


def removed(status: MetricStatus) -> Found:
    if not status.removed:
        return None
    first = status.removed[0]
    return len(status.removed), (
        f"{', '.join(one.name for one in status.removed)} has no row of final windows any more, since somebody removed "
        "them: the next run computes them again, as far as what they are made of is kept; what is left is to be had "
        f"from a backup alone (first: {first.grain}s from {first.begin:%Y-%m-%dT%H:%MZ} to {first.end:%Y-%m-%dT%H:%MZ})"
    )


def foreign(status: MetricStatus) -> Found:
    if not status.foreign:
        return None
    first = next(iter(status.foreign))
    told = ", ".join(f"{index} ({count} documents)" for index, count in status.foreign.items())
    said = f"{told}: behind the alias, and no day of it, so what it holds is in no number, and whoever else searches "
    said += "the alias counts it beside the days; take it out of the alias, or delete it "
    return len(status.foreign), f"{said}(DELETE /{first}/_alias/…)"


def missed(status: MetricStatus) -> Found:
    if not status.missed:
        return None
    told = ", ".join(f"{count} of partition {partition}" for partition, count in status.missed.items())
    said = f"Kafka's retention deleted records before they were read, {told}: they are in no number"
    return sum(status.missed.values()), f"{said}. Lengthen the topic's retention.ms; it is told for 30 days"


def emptied(status: MetricStatus) -> Found:
    if not status.emptied:
        return None
    said = f"its source has lost most facts of {len(status.emptied)} final hour(s), first {status.emptied[0]}: they "
    said += "keep their numbers. Give the source its rows back, or say that these numbers are right (fleetgauge "
    said += f"metrics accept {status.metric} --reason WHY), or that the rows are rightly gone (fleetgauge reconcile "
    return len(status.emptied), f"{said}{status.metric} --accept-losses, with --from and --to)"


def cut(status: MetricStatus) -> Found:
    if status.cut is None:
        return None
    day, whole = (f"{at:%Y-%m-%dT%H:%M%z}" for at in (status.cut.begin, status.cut.end))
    return 1, (
        f"its day of {day} is a part, and stays provisional as version {status.cut.version} left it: the version that "
        "goes on cannot compute its beginning, which the source has lost; what came since is in finer windows alone. "
        f"Days are whole again from {whole} on; it is told for a week"
    )


def lacking(status: MetricStatus) -> Found:
    if not status.lacking:
        return None
    told = [f"{index} does not map {', '.join(fields)}" for index, fields in status.lacking.items()]
    said = f"{told[0]}{f', and {len(told) - 1} more like it' if len(told) > 1 else ''}: its documents count as if they "
    said += "had no such value. Run fleetgauge indices; for what it holds already, then POST /"
    first = next(iter(status.lacking))
    return len(told), f"{said}{first}/_update_by_query, and fleetgauge backfill {status.metric} over its day"


def repeated(status: MetricStatus) -> Found:
    one = status.repeated
    if one is None or not one.found:
        return None
    said = (
        f"of {one.sampled} events of {one.day:%Y-%m-%d} that were looked at, {one.found} are stored under another day "
    )
    said += f"too and count once for each, such as {one.example}: they were sent again with a new time"
    return one.found, f"{said}; let devices keep an event's time (docs/ingest.md)"


def waiting(status: MetricStatus) -> Found:
    return (1, status.waiting.why) if status.waiting is not None and status.waiting.by_itself else None


def not_shown(status: MetricStatus) -> Found:
    return (1, status.waiting.why) if status.waiting is not None and not status.waiting.by_itself else None


def undefined(status: MetricStatus) -> Found:
    if not status.undefined:
        return None
    said = "it is not defined any more, so its views show the same for ever"
    return 1, f"{said}; fleetgauge metrics drop {status.metric} drops them"


def unread(status: MetricStatus) -> Found:
    return None if status.unread is None else (1, f"it is not computed: {status.unread}")


def left_out(status: MetricStatus) -> Found:
    found = status.omissions
    return (sum(one.count for one in found), "; ".join(map(str, found))) if found else None


def unfollowed(status: MetricStatus) -> Found:
    found = status.unfollowed
    if found is None:
        return None
    some = f"{found.count} row(s)" if found.count < found.MANY else f"{found.count} rows or more"
    said = f"{some} of its source have no time of change, or an impossible one: "
    said += f"{', '.join(found.keys)}; that they came late, or change, is "
    return found.count, f"{said}seen by reconcile alone"


def late_changes(status: MetricStatus) -> Found:
    late = status.late_changes
    if late is None:
        return None
    said = (
        f"{late['changes']} change(s) appeared up to {late['lag_s']} s after their change time, last at {late['at']}: "
    )
    said += "a clock that writes it lags. Runs look for such as far as 10 minutes back; what lags more is "
    return late["changes"], f"{said}found by reconcile alone. Let the database write it (now()); it is told for a day"


def unreconciled(status: MetricStatus) -> Found:
    if status.unreconciled is None or status.unreconciled < UNRECONCILED:
        return None
    days, at = status.unreconciled.days, status.reconciled_at
    said = f"it was never compared with its source, and is shown for {days} days"
    if at is not None:
        said = f"it was last compared with its source {at:%Y-%m-%d %H:%MZ}, {days} days ago"
    said += ": rows that were deleted, or changed without their change time, are in its numbers as they were. See the "
    return 1, f"{said}task fleetgauge_reconcile, or run fleetgauge reconcile {status.metric}"


def nearly_full(status: MetricStatus) -> Found:
    found = [one for one in status.fillings if one.matters]
    return (len(found), "; ".join(map(str, found))) if found else None

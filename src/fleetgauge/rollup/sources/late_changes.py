"""Changes that appear behind the cursor, since the clock that wrote their change time lags: an application server's.

A cursor trusts that what becomes visible after it carries a later change time. Databases keep that, but many an
application writes `updated_at` by its own clock. So each look counts the changes of the last minutes by ten seconds of
their change time, and notes that beside the cursor; the next one counts them again. A row leaves its ten seconds when
it changes once more; that there are more than before, or others, means that some came late: changes are read again from
there. Fewer rows than those that leave the same ten seconds meanwhile are not seen, nor is what lags by more than
`REACH`: `reconcile` finds it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from fleetgauge.progress.heartbeat import SourceWatermark
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.spans import Span, union
from fleetgauge.rollup.values import Cursor

log = structlog.get_logger(__name__)

REACH = timedelta(minutes=10)
"""How far behind the cursor changes are looked for."""
TOLD = timedelta(days=1)
"""How long after the last late change it is told."""
STRETCH_US = 10_000_000
"""Changes are counted by so many microseconds of their change time."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRETCH = timedelta(microseconds=STRETCH_US)

_CHANGES = "changes"
"""What a cursor notes: of which version, from which stretch on and up to when, how many changes by stretch, and their
check sums: the sums of their microseconds within it."""
LATE = "late_changes"
"""What it notes besides: when changes came late, how many, and by how many seconds at most."""


@dataclass(frozen=True)
class LateChanges:
    """What one look made of that."""

    since: datetime | None = None
    """From when on, before the cursor, changes may have come; None: from the cursor on."""
    token: Mapping[str, Any] = field(default_factory=dict)
    """For the next cursor."""


def late_changes(
    definition: Definition,
    since: Cursor | None,
    source_watermark: SourceWatermark | None,
    ask: Callable[[Sequence[Span], datetime], Iterable[Sequence[Any]]],
) -> LateChanges:
    """Compare what the cursor notes with what is there now. Blocks for one question of a range of the change time.

    `ask` gives rows of stretch, whether before the instant, changes, check sum: of all changes in some spans.
    """
    if definition.change_time is None or source_watermark is None:
        return LateChanges()
    watermark, known = source_watermark.at, _known(definition, since)
    begin = _stretch(watermark - REACH)
    upto = watermark if known is None else min(known.until, watermark)
    spans = [(_at(begin), watermark), *([] if known is None else [(_at(known.first), upto)])]
    now: dict[int, _Count] = {}
    then: dict[int, _Count] = {}  # the same as far as it was counted before
    for stretch, early, n, check in ask(union(span for span in spans if span[0] < span[1]), upto):
        for counts in (now, then) if early else (now,):
            so_far = counts.get(int(stretch), (0, 0))
            counts[int(stretch)] = so_far[0] + int(n), so_far[1] + int(check)
    noted = [now.get(stretch, (0, 0)) for stretch in range(begin, _stretch(watermark) + 1)]
    token: dict[str, Any] = {
        _CHANGES: [definition.version, begin, watermark.isoformat(), [n for n, _ in noted], [c for _, c in noted]]
    }
    cursor = watermark if since is None else since.at
    grown = {} if known is None else {at: n for at, n in known.grown(then, upto).items() if _at(at) < cursor}
    late = [stretch for stretch in grown if _at(stretch + 1) <= cursor]  # what is not behind it is read anyway
    earliest = _at(min(grown)) if grown else None
    if not late:
        return LateChanges(earliest, token | _told(since, watermark))
    found = {"at": watermark.isoformat(), "changes": sum(grown[stretch] for stretch in late)}
    found["lag_s"] = round((watermark - _at(min(late))).total_seconds())
    log.warning(
        "changes came after their change time: a clock that writes it lags; they are read again from there",
        metric=definition.metric,
        changes=found["changes"],
        lag_s=found["lag_s"],
    )
    return LateChanges(earliest, token | {LATE: found})


_Count = tuple[int, int]
"""Changes, and their check sum."""


@dataclass(frozen=True)
class _Known:
    """What a cursor notes of its version."""

    first: int
    """The first stretch that was counted."""
    until: datetime
    """Up to where: within the last one."""
    counts: Sequence[_Count]

    def grown(self, then: Mapping[int, _Count], upto: datetime) -> dict[int, int]:
        """How many more there are now, by stretch, as far as both looks have counted the same."""
        found = {}
        for stretch, (n, check) in enumerate(self.counts, self.first):
            now, now_check = then.get(stretch, (0, 0))
            same = upto == self.until or _at(stretch + 1) <= upto
            if same and (now > n or (now == n and now_check != check)):
                found[stretch] = max(now - n, 1)
        return found


def _known(definition: Definition, since: Cursor | None) -> _Known | None:
    match (since.token or {}).get(_CHANGES) if since is not None else None:
        case [definition.version, int(first), str(until), list(counts), list(checks)]:
            return _Known(first, datetime.fromisoformat(until), list(zip(counts, checks, strict=True)))
        case _:
            return None


def _told(since: Cursor | None, now: datetime) -> dict[str, Any]:
    late = (since.token or {}).get(LATE) if since is not None else None
    return {LATE: late} if late is not None and datetime.fromisoformat(late["at"]) > now - TOLD else {}


def _stretch(at: datetime) -> int:
    """The number of the stretch that an instant lies in, whose changes are not all visible yet if it is a watermark."""
    return (at - EPOCH) // _STRETCH


def _at(stretch: int) -> datetime:
    return EPOCH + stretch * _STRETCH

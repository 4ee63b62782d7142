"""What is on record about one window of one metric: left-out rows, verdicts of checks, versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from fleetgauge.postgres import Connection, Jsonb, only_row, sql
from fleetgauge.rollup.definitions.checks import Check
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.labels import FORMAT
from fleetgauge.rollup.plan.state import State
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.tables import table
from fleetgauge.rollup.store.versions import Version, shares, versions

_LEFT_OUT = """
SELECT reason, sum(count)::bigint, coalesce((SELECT array_agg(key) FROM (SELECT key FROM fleetgauge.left_out AS k,
    unnest(k.keys) AS key WHERE k.metric = %(metric)s AND k.version = %(version)s AND k.reason = l.reason
    AND k.window_start >= %(begin)s AND k.window_start < %(end)s ORDER BY k.window_start, key LIMIT 20) AS first), '{}')
FROM fleetgauge.left_out AS l
WHERE metric = %(metric)s AND version = %(version)s AND window_start >= %(begin)s AND window_start < %(end)s
GROUP BY reason ORDER BY reason
"""


@dataclass(frozen=True)
class LeftOutRows:
    """Rows of the source that are in no number of the window, for one reason; of all its cells."""

    reason: str
    count: int
    keys: tuple[str, ...]
    """What tells some of them, at most 20."""


@dataclass(frozen=True)
class Verdict:
    """What a check says of the window's minutes."""

    check: str
    kind: Literal["fail", "warn"]
    cells: int | None
    """Those that break it: of a `fail` check they keep their older rows. None: not known, for minutes have expired."""
    first: str | None = None
    """One of them."""
    retry_at: datetime | None = None
    """When, by the source watermark, the first of them is tried again unless its source rows change before."""


@dataclass(frozen=True)
class VersionShown:
    """One version of the definition that has tables; instants are aware."""

    version: str
    created_at: datetime
    published_at: datetime | None
    """When the views began to show it; None: never."""
    shows_window: bool
    """Whether the views show the window by it."""
    can_compute: bool
    """Whether its source was whole there."""


def left_out(connection: Connection[Any], definition: Definition, window: Span) -> tuple[LeftOutRows, ...]:
    """By reason."""
    values = {"metric": definition.metric, "version": definition.version, "begin": window[0], "end": window[1]}
    rows = connection.execute(_LEFT_OUT, values).fetchall()
    return tuple(LeftOutRows(reason, count, tuple(keys)) for reason, count, keys in rows)


def verdicts(
    connection: Connection[Any], definition: Definition, state: State, window: Span, where: Mapping[str, str]
) -> tuple[Verdict, ...]:
    """Each check's, of the cells with these dimension values."""
    kept = state.ages.grain(window[0]) == definition.finest
    asked = definition.checks.fail
    found = [_withheld(check, state, window, where) for check in definition.blocking]
    found = [one for n, one in enumerate(found) if n < len(asked) or one.cells]
    found += [
        _warned(connection, definition, check, window, where) if kept else Verdict(check.text, "warn", None)
        for check in definition.checks.warn
    ]
    return tuple(found)


def _withheld(check: Check, state: State, window: Span, where: Mapping[str, str]) -> Verdict:
    cells = [
        cell
        for cell in state.blocked
        if cell.check == check.text
        and window[0] <= cell.window_start < window[1]
        and (not cell.dimensions or where.items() <= dict(cell.dimensions).items())
    ]
    if not cells:
        return Verdict(check.text, "fail", 0)
    return Verdict(check.text, "fail", len(cells), str(cells[0]), min(cell.retry_at for cell in cells))


def _warned(
    connection: Connection[Any], definition: Definition, check: Check, window: Span, where: Mapping[str, str]
) -> Verdict:
    minute = definition.levels[0]
    pairs = sql.SQL(", ").join(
        sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(name)) for name in minute.dimensions
    )
    query = sql.SQL(
        "SELECT count(*), (array_agg(to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI\"Z \"') || of"
        " ORDER BY window_start, of))[1] FROM {table}, LATERAL (SELECT jsonb_build_object({pairs}) AS of) AS _"
        " WHERE window_start >= %(begin)s AND window_start < %(end)s AND of @> %(where)s AND {violated}"
    ).format(table=table(definition, minute), pairs=pairs, violated=check.violated())
    values = {"begin": window[0], "end": window[1], "where": Jsonb(dict(where))}
    count, first = only_row(connection.execute(query, values))
    return Verdict(check.text, "warn", count, first)


def history(
    connection: Connection[Any], definition: Definition, grain: Grain, window: Span
) -> tuple[tuple[VersionShown, ...], Definition, int]:
    """The versions, the latest first; the definition by which the views show the window, else today's; and the format
    of the labels in its tables."""
    known = versions(connection, definition.metric)
    published = [one for one in known if one.published_at is not None]
    shows = _shows(published, grain, window[0])
    found = tuple(
        VersionShown(
            one.version,
            one.created_at,
            one.published_at,
            shows_window=shows is not None and one.version == shows.version,
            can_compute=not any(_holds(low, high, window[0]) for low, high in one.unavailable.get(grain, ())),
        )
        for one in known
    )
    if shows is not None and shows.version != definition.version and shows.definition is not None:
        return found, shows.definition, shows.label_format
    return found, definition, FORMAT


def _shows(published: Sequence[Version], grain: Grain, at: datetime) -> Version | None:
    return next((one.version for one in shares(published, grain) if _holds(one.begin, one.end, at)), None)


def _holds(begin: datetime | None, end: datetime | None, at: datetime) -> bool:
    return (begin is None or begin <= at) and (end is None or at < end)

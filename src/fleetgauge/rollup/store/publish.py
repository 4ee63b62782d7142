"""Point the views of a metric at its versions, without breaking what others have built on them.

What can be done is decided from the catalogue, and then done. Called by `migrate` for each definition, and by each run
at its end, under the metric's lock.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from fleetgauge.postgres import Connection, errors, sql
from fleetgauge.rollup.definitions.definition import Definition, called
from fleetgauge.rollup.definitions.levels import GRAINS, Level
from fleetgauge.rollup.store import catalogue, ranges, views
from fleetgauge.rollup.store.catalogue import (
    Saved,
    ViewState,
    as_writer,
    clear,
    columns_of,
    grant_viewers,
    owned_views,
    say,
)
from fleetgauge.rollup.store.dependents import dependents
from fleetgauge.rollup.store.seams import seams, whole
from fleetgauge.rollup.store.tables import STORE, VIEWS, WRITER
from fleetgauge.rollup.store.version_changes import write_version_changes
from fleetgauge.rollup.store.versions import Version, shares, versions
from fleetgauge.rollup.store.views import Branch, ViewColumn

_FORMAT = 6
"""Rises when views are composed in another way, so that all are made again."""

LOCK_WAITS = "5s"
"""How long one try waits for a lock, and whoever reads what it changes waits behind it."""

_NOTE = "[NULL "
"""Begins what we add to the comment of a column."""


@dataclass(frozen=True)
class Publication:
    """Whether the views show the definition as it is."""

    state: Literal["current", "published", "waiting"]
    """`published`: they did not, and do now."""
    why: str | None = None
    """For what they wait, with what to do; None when they only wait to be filled by a run."""
    dropped: tuple[Saved, ...] = ()
    """Views of the caller's own that had to go; to be made again and restored."""


@dataclass(frozen=True)
class ViewChange:
    """What has to become of one view."""

    view: str
    level: Level
    branches: tuple[Branch, ...]
    before: ViewState
    retyped: tuple[ViewColumn, ...]
    """Columns whose type changes: the view has to be dropped and made again."""


def publication(
    connection: Connection,
    definition: Definition,
    own: Collection[str] | None = None,
    run: Callable[[], int | None] = lambda: None,
    coming: Definition | None = None,
) -> Publication:
    """Make the views show this version, unless it is not filled yet, or others would lose what they have built.

    `own`: views that the caller makes again by itself afterwards, so that they may be dropped; they are given by a
    migration, which makes all views again. With None nothing is done if the views are as they should be. `run` gives
    the number of the run that does it. What windows that were final show otherwise by it is written down. `coming`: a
    version that waits to be filled, whose new columns stand there already. Inside the caller's transaction.
    """
    known = versions(connection, definition.metric)
    now = current_publication(definition, known)
    if now.state == "waiting" and own is not None:
        return _composed_anew(connection, definition, known, own, now)
    if now.state == "waiting" or (now.state == "current" and own is None):
        return now
    changes = [(definition, change) for change in planned(connection, definition, known)]
    if coming is not None:
        changes = list(_announced(connection, changes, coming, known))
    why = refusal(connection, [change for _, change in changes], own)
    if why is not None:
        return Publication("waiting", why)
    dropped: list[Saved] = []
    with as_writer(connection):
        for of, change in changes:
            dropped += _apply(connection, of, change, own or (), _said(known))
        between = seams(connection, definition.metric, _in_order(definition, known))
        ranges.apply(connection, list(ranges.of_metric(definition, between)))
    shown = _is_shown(definition, known)
    if not shown and known[0].published_at is not None:
        write_version_changes(connection, definition, known[0], run())
    connection.execute(
        "UPDATE fleetgauge.metric_version SET shape = %s,"
        " published_at = CASE WHEN %s THEN published_at ELSE clock_timestamp() END WHERE metric = %s AND version = %s",
        [_shape(definition, known), shown, definition.metric, definition.version],
    )
    return Publication("current" if shown and now.state == "current" else "published", dropped=tuple(dropped))


def publication_in_time(connection: Connection, definition: Definition, run: Callable[[], int | None]) -> Publication:
    """The same in a run, which comes again soon: it waits `LOCK_WAITS` at most for who reads the views meanwhile.

    For all who want to read them next wait behind it.
    """
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_WAITS])
            return publication(connection, definition, run=run)
    except errors.LockNotAvailable:
        return Publication(
            "waiting",
            f"an open transaction or a long query holds its views for more than {LOCK_WAITS} (see pg_stat_activity); "
            "end it, the next run tries again",
        )


def _composed_anew(
    connection: Connection, definition: Definition, known: Sequence[Version], own: Collection[str], now: Publication
) -> Publication:
    """What is shown while the definition waits is composed as views are now: readers see no sketch of persons in it."""
    shown = known[0].definition if known and known[0].published_at is not None else None
    if shown is None or shown.version == definition.version:
        return now
    if definition.privacy is not None and definition.privacy.of in shown.measures:  # as of now, not once it is filled
        shown = called(replace(shown, privacy=definition.privacy), shown.version)
    done = publication(connection, shown, own, coming=definition)
    return replace(now, why=now.why or done.why, dropped=done.dropped)


def _announced(
    connection: Connection,
    changes: Sequence[tuple[Definition, ViewChange]],
    coming: Definition,
    known: Sequence[Version],
) -> Iterator[tuple[Definition, ViewChange]]:
    """The same with what a version to come adds: its columns, NULL until it is shown, and its views, of what there is.

    So that `views.sql`, which comes with it, may name them before a run has filled it.
    """
    levels = {level.name: level for level in coming.levels}
    for shown, change in changes:
        level = levels.pop(change.level.name, None)
        there = views.arranged(views.columns(shown, change.level), change.before.columns)
        added = [] if level is None else views.arranged(views.columns(coming, level), there)[len(there) :]
        before = replace(change.before, columns=(*there, *added)) if added else change.before
        yield shown, replace(change, before=before)
    others = [one for one in known if one.version != coming.version]
    for change in planned(connection, coming, others) if levels else ():
        if change.level.name in levels and not change.retyped:
            yield coming, change


def current_publication(definition: Definition, known: Sequence[Version]) -> Publication:
    """How the views stand to the definition; `published` when they have to be made (again). Asks no database."""
    mine = next((one for one in known if one.version == definition.version), None)
    if mine is None:
        return Publication("waiting", "it has no tables; run fleetgauge migrate")
    if _is_shown(definition, known):
        return Publication("current" if mine.shape == _shape(definition, known) else "published")
    if known[0].published_at is not None and (not mine.filled or mine.is_behind(known[0])):
        return Publication("waiting")
    return Publication("published")


def planned(connection: Connection, definition: Definition, known: Sequence[Version]) -> list[ViewChange]:
    """What has to become of each view, if this version were shown now."""
    found = []
    for level in definition.levels:
        before = catalogue.state_of(connection, definition.view(level))
        found.append(
            ViewChange(
                definition.view(level),
                level,
                tuple(branches(connection, definition, level, known)),
                before,
                tuple(views.retyped(views.columns(definition, level), before.columns)),
            )
        )
    return found


def refusal(connection: Connection, changes: Sequence[ViewChange], own: Collection[str] | None) -> str | None:
    """Why the views cannot become so, with what to do about it; None if they can. `own` as in `publication`."""
    for change in changes:
        if change.before.stranger is not None:
            return (
                f"view {VIEWS}.{change.view} belongs to {change.before.stranger}, so it cannot be made to show "
                f"another version; make {WRITER} a member of that role, or say "
                f"ALTER VIEW {VIEWS}.{change.view} OWNER TO {WRITER} (grants stay)"
            )
    names = [change.view for change in changes if change.retyped]
    if not names:
        return None
    told = ", ".join(
        f"{VIEWS}.{change.view}.{column.name} becomes {column.type}" for change in changes for column in change.retyped
    )
    told += ", for which the view must be dropped"
    if found := dependents(connection, names, owned_views(connection) if own is None else own):
        return (
            f"{told}, and these depend on it: {'; '.join(map(str, found))}; drop them, run fleetgauge migrate and make "
            "them again, or give the measure a new name: that adds a column and leaves the old one, NULL from then on"
        )
    if own is None and dependents(connection, names):
        return f"{told}, and with it views of views.sql; run fleetgauge migrate, which makes all of them again"
    return None


def branches(
    connection: Connection, definition: Definition, level: Level, known: Sequence[Version]
) -> Iterator[Branch]:
    """The branches of a level's view. The share of an older version that has no row in it makes none."""
    for share in shares(_in_order(definition, known), level.grain):
        version = share.version.version
        if version == definition.version:
            yield views.own_branch(definition, level, share.begin, share.end)
            continue
        older = share.version.definition
        begin, end = whole(connection, share, level.grain, (older or definition).time_zone)
        unmerged = f"{definition.metric}_{level.grain}__{version}"
        table = f"{definition.metric}_{level.name}__{version}"
        found = _types(connection, table)
        merged = not found
        if merged:
            table, found = unmerged, _types(connection, unmerged)
        if found and _has_rows(connection, table, begin, end):
            ratios = {} if older is None else older.ratios
            yield Branch(version, table, found, begin, end, ratios, merged, share.version.label_format)


def oldest_window(
    connection: Connection, definition: Definition, known: Sequence[Version]
) -> tuple[datetime, datetime] | None:
    """The earliest window, at the finest grain that still has it, that versions other than this one show a row of."""
    found: list[tuple[datetime, datetime]] = []
    for version in _in_order(definition, known):
        if version.version == definition.version:
            continue
        zone = (version.definition or definition).time_zone
        for grain in GRAINS:
            table = f"{definition.metric}_{grain}__{version.version}"
            if _types(connection, table):
                query = sql.SQL(
                    "SELECT start, fleetgauge.window_end(start, {}, {})"
                    " FROM (SELECT min(window_start) AS start FROM {}) AS f WHERE start IS NOT NULL"
                ).format(sql.Literal(grain), sql.Literal(zone), sql.Identifier(STORE, table))
                found += connection.execute(query).fetchall()
    return min(found, default=None)


def missing(definition: Definition, change: ViewChange) -> dict[str, str]:
    """By column, in which windows it is NULL because their version does not measure it."""
    found = {}
    for column in views.arranged(views.columns(definition, change.level), change.before.columns):
        gaps = [
            _stretch(branch, definition.time_zone)
            for branch in change.branches
            if not views.measured(definition, change.level, branch, column)
        ]
        if gaps:
            found[column.name] = ", ".join(gaps)
    return found


def _apply(
    connection: Connection,
    definition: Definition,
    change: ViewChange,
    own: Collection[str],
    said: Collection[str],
) -> list[Saved]:
    """Returns what was dropped besides."""
    columns: Sequence[ViewColumn] = change.before.columns
    saved: list[Saved] = []
    if change.retyped:
        wanted = {column.name: column for column in change.retyped}
        columns = [wanted.get(column.name, column) for column in columns]
        saved = clear(connection, change.view, own)
    connection.execute(views.create_view(definition, change.level, change.branches, columns, change.before.options))
    connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(views.sketches_view(definition, change.level)))
    sketches = views.create_sketches_view(definition, change.level, change.branches)
    if sketches is not None:
        connection.execute(sketches)
    for one in saved[:1]:
        one.restore(connection)
    grant_viewers(connection, change.view)
    _comment(connection, definition, change, said)
    return saved[1:]


def _comment(connection: Connection, definition: Definition, change: ViewChange, said: Collection[str]) -> None:
    """What a reader of the catalogue sees beside the view. What somebody else has written there stays."""
    parts = {name: definition.dimensions[name] for name in change.level.dimensions} | definition.measures
    ours = views.meanings(definition, change.level)
    wanted: dict[str | None, str] = {None: definition.description}
    wanted.update(ours.items())
    wanted |= {name: part.description for name, part in parts.items() if part.description}
    for name, gaps in missing(definition, change).items():
        wanted[name] = f"{wanted.get(name, '')} {_NOTE}{gaps}]".strip()
    there = catalogue.comments(connection, change.view)
    replaced = {"", *said, *ours.values()}
    say(
        connection,
        change.view,
        {
            column: text
            for column, text in wanted.items()
            if text and text != there.get(column, "") and there.get(column, "").partition(_NOTE)[0].strip() in replaced
        },
    )


def _said(known: Sequence[Version]) -> set[str]:
    """Every description that we may have written as a comment."""
    found: set[str] = set()
    for version in known:
        if version.plain is not None:
            found.add(version.plain.get("description", ""))
            for part in ("dimensions", "measures"):
                found |= {one.get("description", "") for one in version.plain.get(part, {}).values()}
            found |= {views.of_column(one.get("column", "")) for one in version.plain.get("dimensions", {}).values()}
            found |= {views.of_rows(one.get("agg", "")) for one in version.plain.get("measures", {}).values()}
            found |= {one.get("label", "") for one in version.plain.get("measures", {}).values()}
    return found


def _stretch(branch: Branch, zone: str) -> str:
    bounds = [
        f"{word} {at.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M%z}"
        for word, at in (("from", branch.begin), ("before", branch.end))
        if at is not None
    ]
    return " ".join([*bounds, f"(version {branch.version})"])


def _in_order(definition: Definition, known: Sequence[Version]) -> list[Version]:
    """The definition's version first, then what was shown before it, the latest first."""
    mine = [one for one in known if one.version == definition.version]
    return [*mine, *(one for one in known if one.published_at is not None and one not in mine)]


def _is_shown(definition: Definition, known: Sequence[Version]) -> bool:
    return bool(known) and known[0].published_at is not None and known[0].version == definition.version


def _shape(definition: Definition, known: Sequence[Version]) -> str:
    plain = definition.plain()
    kept = {
        name: plain.get(name)
        for name in ("measures", "dimensions", "rollups", "provisional_while", "privacy", "description")
    }
    shown = [
        [grain, share.version.version, str(share.begin), str(share.end)]
        for grain in GRAINS
        for share in shares(_in_order(definition, known), grain)
    ]
    text = json.dumps([_FORMAT, kept, shown], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _types(connection: Connection, table: str) -> dict[str, str]:
    return {column.name: column.type for column in columns_of(connection, STORE, table)}


def _has_rows(connection: Connection, table: str, begin: datetime | None, end: datetime | None) -> bool:
    row = connection.execute(
        sql.SQL(
            "SELECT EXISTS (SELECT FROM {} WHERE window_start >= coalesce(%s::timestamptz, '-infinity')"
            " AND window_start < coalesce(%s::timestamptz, 'infinity'))"
        ).format(sql.Identifier(STORE, table)),
        [begin, end],
    ).fetchone()
    return bool(row and row[0])

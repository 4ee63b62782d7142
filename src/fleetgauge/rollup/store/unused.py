"""What nothing shows any more: tables of superseded versions, and what a renamed or deleted metric left behind."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetgauge.errors import Terminal
from fleetgauge.postgres import Connection, errors, sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.store import derived, ranges
from fleetgauge.rollup.store.catalogue import as_writer, drop_views, owned_views
from fleetgauge.rollup.store.dependents import Dependent, dependents
from fleetgauge.rollup.store.publish import branches, current_publication, publication
from fleetgauge.rollup.store.tables import STORE
from fleetgauge.rollup.store.versions import Version, versions

# Partitions go with their table, save those that were detached and then forgotten. Of a version whose definition was
# not kept, a table belongs to the metric with the longest name that its own begins with.
_TABLES = r"""
SELECT c.relname, pg_total_relation_size(c.oid)::bigint + coalesce(
    (SELECT sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits AS i WHERE i.inhparent = c.oid), 0)::bigint
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND c.relname ~ ('^' || %(metric)s || '_(' || %(levels)s || ')__' || %(version)s || '(_[0-9]{4,8})?$')
AND (%(exact)s OR NOT EXISTS (
    SELECT FROM fleetgauge.metric_version AS other WHERE length(other.metric) > length(%(metric)s)
    AND starts_with(c.relname, other.metric || '_')))
ORDER BY c.relname
"""


@dataclass(frozen=True)
class Unused:
    """A version of a metric whose tables nothing shows."""

    metric: str
    version: str
    tables: tuple[str, ...]
    """In schema `store`, with their partitions."""
    size_bytes: int
    kept: str | None = None
    """What still depends on them, so that they stay; None if they may go."""


@dataclass(frozen=True)
class Leftover:
    """A metric that is not defined any more, or a view of ours that no definition makes: it shows the same for ever."""

    name: str
    metric: bool
    """Whether it is a whole metric; else one view."""
    views: tuple[str, ...]
    """Without their schema."""
    tables: tuple[str, ...] = ()
    size_bytes: int = 0


def prune(connection: Connection, definition: Definition) -> list[Unused]:
    """Drop what this metric's views show no row of. Inside the caller's transaction; waits for the metric's lock.

    What is newer than the definition is left alone, for a newer definition may be filling it; and everything, while
    this one waits to be shown.
    """
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('fleetgauge rollup ' || %s, 0))", [definition.metric]
    )
    known = versions(connection, definition.metric)
    mine = next((one for one in known if one.version == definition.version), None)
    if mine is None or current_publication(definition, known).state != "current":
        return []
    shown = {branch.version for level in definition.levels for branch in branches(connection, definition, level, known)}
    old = [one for one in known if one.version not in {*shown, mine.version} and _used(one) < _used(mine)]
    if old:
        publication(connection, definition, own=())  # its views may still name what they show no row of
    return [_drop(connection, definition.metric, one) for one in old]


def leftovers(
    connection: Connection, definitions: Mapping[str, Definition], defined: Collection[str] = ()
) -> list[Leftover]:
    """What no definition makes. `defined`: metrics that have one, though it may not be readable now."""
    there = owned_views(connection)
    ours = {one.view(level) for one in definitions.values() for level in one.levels}
    ours |= set(derived.names([one.views_sql for one in definitions.values() if one.views_sql]))
    metrics = [
        name for (name,) in connection.execute("SELECT DISTINCT metric FROM fleetgauge.metric_version ORDER BY 1")
    ]
    found: list[Leftover] = []
    unread = [name for name in defined if name not in definitions]
    for name in metrics:
        known = versions(connection, name)
        views = [view for view in _views_of(name, known) if view in there and view not in ours]
        if name in definitions:
            continue
        ours |= set(views)
        if name in unread:
            continue
        tables = [table for one in known for table in _tables(connection, name, one)]
        found.append(
            Leftover(name, True, tuple(views), tuple(table for table, _ in tables), sum(size for _, size in tables))
        )
    for view in there:
        if view not in ours and not any(view.startswith(f"{name}_") for name in unread):
            found.append(Leftover(view, False, (view,)))
    return found


def drop(connection: Connection, leftover: Leftover) -> None:
    """Let it go: its views, its tables, what the ledger says of it. Inside the caller's transaction.

    Raises `Terminal`, naming what depends on it, when somebody else would lose something.
    """
    on_views = dependents(connection, leftover.views) + ranges.dependents_beside(connection, leftover.views)
    known = {one.name for one in on_views}
    on_tables = [one for one in _on_tables(connection, leftover.tables, leftover.views) if one.name not in known]
    if on_views or on_tables:
        raise Terminal(
            f"{leftover.name} stays, for these depend on it: {'; '.join(map(str, [*on_views, *on_tables]))}; "
            "drop them, or build them on another view, first"
        )
    with as_writer(connection):
        drop_views(connection, leftover.views)
        for view in leftover.views:
            connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(sql.Identifier(STORE, view)))
        ranges.drop_beside(connection, leftover.views)
        for table in leftover.tables:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(STORE, table)))
    if leftover.metric:
        for table in ("metric_version", "activity", "delay"):
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE metric = %s").format(sql.Identifier("fleetgauge", table)), [leftover.name]
            )


def _views_of(metric: str, known: Iterable[Version]) -> list[str]:
    """The views that any version of the metric has made, those of its `views.sql` included."""
    found = [f"{metric}_{grain}" for grain in ("minute", "hour", "day")]
    for version in known:
        if (one := version.definition) is not None:
            found += [one.view(level) for level in one.levels]
            found += derived.names([one.views_sql] if one.views_sql else [])
    return list(dict.fromkeys(found))


def _used(version: Version) -> datetime:
    return max(version.created_at, version.published_at or version.created_at)


def _drop(connection: Connection, metric: str, version: Version) -> Unused:
    tables = _tables(connection, metric, version)
    found = Unused(metric, version.version, tuple(name for name, _ in tables), sum(size for _, size in tables))
    try:
        with connection.transaction(), as_writer(connection):
            for name, _ in tables:
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(STORE, name)))
    except errors.DependentObjectsStillExist:
        others = _on_tables(connection, found.tables, ())
        return Unused(metric, version.version, found.tables, found.size_bytes, "; ".join(map(str, others)))
    connection.execute(
        "DELETE FROM fleetgauge.metric_version WHERE metric = %s AND version = %s", [metric, version.version]
    )
    return found


def _on_tables(connection: Connection, tables: Collection[str], own: Collection[str]) -> list[Dependent]:
    return dependents(connection, tables, own, schema=STORE) if tables else []


def _tables(connection: Connection, metric: str, version: Version) -> list[tuple[str, int]]:
    one = version.definition
    levels = "[a-z0-9_]+" if one is None else "|".join(level.name for level in one.levels)
    values = {"schema": STORE, "metric": metric, "version": version.version, "levels": levels, "exact": one is not None}
    return connection.execute(_TABLES, values).fetchall()

"""What expires when: each grain's rows go by whole partitions, once they are older than the definition keeps them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from fleetgauge import postgres
from fleetgauge.errors import FleetgaugeError
from fleetgauge.postgres import sql
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.levels import Grain
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.ledger import LedgerWriter
from fleetgauge.rollup.execute.session import lock
from fleetgauge.rollup.operating import restatements, runs
from fleetgauge.rollup.plan.ages import kept_from
from fleetgauge.rollup.store.partitions import PERIOD_END
from fleetgauge.rollup.store.state_reader import read_state
from fleetgauge.rollup.store.tables import STORE
from fleetgauge.rollup.store.versions import versions
from fleetgauge.settings import Settings

_EXPIRED = r"""
SELECT c.relname, i.inhdetachpending FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
AND (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz <= %(kept)s
ORDER BY c.relname
"""
# Detached, but not dropped before the process ended: nobody's child any more. One that has not expired was detached by
# somebody else, and is not ours to drop.
_LEFT = r"""
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind = 'r' AND NOT c.relispartition
AND c.relname ~ ('^' || %(table)s || '_[0-9]{4,8}$')
AND fleetgauge.date_start(period_end, %(zone)s) <= %(kept)s
""".replace("period_end", PERIOD_END.format("substring(c.relname FROM '[0-9]+$')"))


@dataclass(frozen=True)
class Dropped:
    """What a metric's retention did, or with a dry run would do."""

    metric: str
    partitions: tuple[str, ...] = ()
    error: str | None = None


def drop_expired(settings: Settings, definitions: Iterable[Definition], *, dry_run: bool = False) -> list[Dropped]:
    """Expire what is older than each definition keeps, and drop its partitions. Called once a day; blocks.

    Readers of the other partitions go on meanwhile. A metric that fails does not stop the others.
    """
    found = []
    for definition in definitions:
        try:
            found.append(Dropped(definition.metric, _logged(settings, definition, dry_run=dry_run)))
        except FleetgaugeError as error:
            found.append(Dropped(definition.metric, error=str(error)))
    return found


def _logged(settings: Settings, definition: Definition, *, dry_run: bool) -> tuple[str, ...]:
    if dry_run:
        return _drop(settings, definition, dry_run=True)
    with activity.logged(settings, "retention", definition.metric, definition.version) as run:
        dropped = _drop(settings, definition, dry_run=False)
        run.stages = [{"stage": "DropPartitions", "reason": "retention", "tables": list(dropped)}] if dropped else []
    return dropped


def _drop(settings: Settings, definition: Definition, *, dry_run: bool) -> tuple[str, ...]:
    dropped: list[str] = []
    with postgres.metrics(settings.metrics).session("retention", lock_timeout="60s") as connection:
        with connection.transaction(force_rollback=dry_run):
            lock(connection, definition.metric)
            restatements.expire(connection)
            runs.expire(connection)
            now = postgres.only_row(connection.execute("SELECT now()"))[0]
            ledger = LedgerWriter(connection, definition)
            for grain, since in kept_from(definition, now).items():
                if since is not None:
                    ledger.keep_from(grain, since)
            expired = _expired(definition, read_state(connection, definition).ages.kept)
            for version in versions(connection, definition.metric):
                if version.version != definition.version:  # what it shows is kept as long as this definition says
                    older = replace(version.definition or definition, retention=definition.retention)
                    expired += _expired(older, kept_from(older, now), version.version)
        for table, expired_before in expired:
            values = {"schema": STORE, "table": table, "kept": expired_before, "zone": definition.time_zone}
            parent = sql.Identifier(STORE, table)
            for name, pending in connection.execute(_EXPIRED, values).fetchall():
                dropped.append(name)
                if not dry_run:
                    how = sql.SQL("FINALIZE" if pending else "CONCURRENTLY")
                    connection.execute(
                        sql.SQL("ALTER TABLE {} DETACH PARTITION {} {}").format(
                            parent, sql.Identifier(STORE, name), how
                        )
                    )
            for (name,) in connection.execute(_LEFT, values).fetchall():
                if not dry_run:
                    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(STORE, name)))
    return tuple(dropped)


def _expired(
    definition: Definition, kept: Mapping[Grain, datetime | None], version: str | None = None
) -> list[tuple[str, datetime]]:
    """The version's tables, each with the instant before which its partitions expire."""
    found = []
    for level in definition.levels:
        since = kept[level.grain]
        if since is not None:
            found.append((f"{definition.metric}_{level.name}__{version or definition.version}", since))
    return found

"""Runs over sources: what the command line and the DAGs call. Puts the parts together, decides nothing."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from fleetgauge import postgres
from fleetgauge.command_attempts import materialise_commands
from fleetgauge.cost.bill import COST_VIEW
from fleetgauge.cost.sim_steps import keep_steps
from fleetgauge.cost.tariff import load_tariffs
from fleetgauge.cost.tariff_changes import Restatement, restate_tariffs
from fleetgauge.document_sources import event_streams
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.files.plain import nearest
from fleetgauge.observability.logs import about
from fleetgauge.privacy.distinct_key import id_of
from fleetgauge.rollup import (
    COMMANDS,
    Definition,
    DefinitionError,
    Grain,
    RunReport,
    load_definitions,
    raise_failures,
    read_definitions,
    run_metrics,
)
from fleetgauge.rollup.definitions.definition import RECONCILED
from fleetgauge.rollup.definitions.loader import Broken, Loaded, folders
from fleetgauge.rollup.execute import activity
from fleetgauge.rollup.execute.report import raise_worst, severity
from fleetgauge.rollup.execute.run_counts import Watch
from fleetgauge.rollup.operating import backfill as backfills
from fleetgauge.rollup.operating.accept import Accepted, accept_frozen
from fleetgauge.rollup.operating.backfill_record import BackfillOrder, Outline
from fleetgauge.rollup.operating.dimensions import DimensionValues, Expiry, expire_values, list_values
from fleetgauge.rollup.operating.expire import Dropped, drop_expired
from fleetgauge.rollup.operating.metric_views import MetricViews, look_at
from fleetgauge.rollup.operating.preview import MetricPreview, Preview, preview_metrics
from fleetgauge.rollup.operating.reconcile import Reconciliation, reconcile_metrics
from fleetgauge.rollup.operating.restatements import derived_views
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.spans import Span
from fleetgauge.rollup.store.catalogue import owned_views
from fleetgauge.rollup.store.migrate import Migration, pending
from fleetgauge.rollup.store.migrate import migrate as migrate_metrics
from fleetgauge.rollup.store.publish import LOCK_WAITS
from fleetgauge.rollup.store.state_reader import exists
from fleetgauge.rollup.store.unused import Leftover, Unused, drop, leftovers, prune
from fleetgauge.settings import Settings, airflow_run

_log = structlog.get_logger(__name__)

RECONCILED_AT_MOST = timedelta(days=730)
"""How far back the weekly comparison with the sources goes."""


@dataclass(frozen=True)
class Migrated(Migration):
    """What a migration of everything did, or with a dry run would do."""

    tariffs: tuple[Restatement, ...] = ()
    """Prices that changed, with what costs moved by it."""


def metrics_by_source(content: Path) -> dict[str, tuple[str, ...]]:
    """Source → its metrics, both in alphabetical order; of those that can be read, see `broken`. Reads files only."""
    return dict(scheduled(content).metrics_by_source)


@dataclass(frozen=True)
class Scheduled:
    """What DAGs are made of, read once: a DAG file is parsed again and again, on busy machines too."""

    metrics_by_source: Mapping[str, tuple[str, ...]]
    grains: Mapping[str, tuple[Grain, ...]]
    """Of each metric that can be read."""
    broken: tuple[str, ...]
    """The metrics that cannot be read."""


def scheduled(content: Path) -> Scheduled:
    """Reads files only."""
    loaded = read_definitions(content)
    sources = sorted({one.source for one in loaded.valid.values()})
    return Scheduled(
        {source: tuple(_of_source(loaded.valid, source)) for source in sources},
        {name: tuple(one.grains) for name, one in loaded.valid.items()},
        tuple(sorted(loaded.broken)),
    )


def broken(content: Path, source: str | None = None) -> dict[str, Broken]:
    """The metrics that cannot be read, by name; of a source those that read it, or do not say what. Reads files only.

    They stop no other, and whoever works on all metrics names them.
    """
    found = read_definitions(content).broken
    return {name: one for name, one in sorted(found.items()) if source is None or one.source in (None, source)}


def chosen(settings: Settings, metrics: Collection[str] = (), source: str | None = None) -> dict[str, Definition]:
    """The definitions of these metrics (none named: all that can be read), of this source if one is given.

    Reads files only. Raises `Terminal` for a name that is not defined or cannot be read, or a source that no metric
    reads.
    """
    loaded = _read(settings)
    definitions = loaded.valid
    if wrong := [
        problem for name in sorted(set(metrics) & loaded.broken.keys()) for problem in loaded.broken[name].problems
    ]:
        raise DefinitionError(wrong)
    if unknown := sorted(set(metrics) - definitions.keys()):
        known = ", ".join(sorted(definitions)) or "none"
        near = nearest(unknown[0], definitions)
        raise Terminal(f"metric {', '.join(unknown)} is not defined (known: {known}){near or '; see sql/metrics'}")
    found = {name: definition for name, definition in sorted(definitions.items()) if not metrics or name in metrics}
    if source is not None:
        found = _of_source(found, source)
    if source is not None and not found:
        if wrong := [problem for one in loaded.broken.values() if one.source == source for problem in one.problems]:
            raise DefinitionError(wrong)
        known = ", ".join(sorted({definition.source for definition in definitions.values()}))
        raise Terminal(f"no metric reads from source {source!r} (sources: {known}); see sql/metrics")
    return found


def run(
    settings: Settings,
    source: str,
    grain: Grain,
    interval: Span | None = None,
    metrics: Collection[str] = (),
) -> list[RunReport]:
    """`runs` of one source, and afterwards one error that names all metrics that failed or are blocked."""
    with about(airflow_run=airflow_run()):
        reports = _runs(settings, grain, interval, metrics, source)
    raise_failures(reports)
    return reports


def runs(
    settings: Settings,
    grain: Grain,
    interval: Span | None = None,
    metrics: Collection[str] = (),
    source: str | None = None,
    watch: Watch | None = None,
) -> list[RunReport]:
    """Bring metrics up to date at a grain; recompute `interval` (aware, end exclusive) in any case.

    A minute run takes up what changed since the last one and carries it into the hours and days above. For the source
    `commands` it first materialises what ingest has finished. `metrics` and `source` narrow it to some. `watch` is told
    of progress. Blocks until done. One metric's failure does not stop the others: give the reports to `raise_failures`.
    A metric whose definition cannot be read has a report that says so.
    """
    unread = {} if metrics else broken(settings.content, source)
    reports = _runs(settings, grain, interval, metrics, source, watch)
    told = [RunReport(name, "", grain, error=str(one), severity="terminal") for name, one in unread.items()]
    return [*reports, *told]


def _runs(
    settings: Settings,
    grain: Grain,
    interval: Span | None,
    metrics: Collection[str],
    source: str | None,
    watch: Watch | None = None,
) -> list[RunReport]:
    definitions = chosen(settings, metrics, source)
    reports = [
        report
        for name in sorted({definition.source for definition in definitions.values()})
        for report in _runs_of(settings, name, list(_of_source(definitions, name).values()), grain, interval, watch)
    ]
    for report in reports:  # before anything is raised: what did succeed belongs in the task's log
        _log.info("run", **report.to_dict())
    return reports


def _runs_of(
    settings: Settings,
    source: str,
    definitions: list[Definition],
    grain: Grain,
    interval: Span | None,
    watch: Watch | None,
) -> list[RunReport]:
    """The runs of one source; what fails before the first of them is told by all their reports."""
    try:
        watermark = materialise_commands(settings) if source == COMMANDS and grain == "minute" else None
        streams = event_streams(settings.content, definitions)
    except FleetgaugeError as error:
        return [RunReport(d.metric, d.version, grain, error=str(error), severity=severity(error)) for d in definitions]
    reports = run_metrics(settings, definitions, grain, interval, watermark, streams=streams, watch=watch)
    keep_steps(settings, (one.finest for one in definitions))
    return reports


def reconcile(
    settings: Settings,
    span: Span,
    metrics: Collection[str] = (),
    source: str | None = None,
    *,
    dry_run: bool = False,
    anew: bool = False,
    accept_losses: bool = False,
) -> list[Reconciliation]:
    """Compare the hours of `span` (aware) with their source and restate those that differ, unless it is a dry run.

    One that was interrupted goes on where it stood, unless `anew`. Hours of which the source has lost most facts stay
    as they are, unless `accept_losses`. Blocks. One metric's failure does not stop the others: give the reports to
    `raise_unreconciled`.
    """
    definitions = chosen(settings, metrics, source).values()
    streams = event_streams(settings.content, definitions)
    reports = reconcile_metrics(
        settings, definitions, span, dry_run=dry_run, anew=anew, accept_losses=accept_losses, streams=streams
    )
    for report in reports:
        _log.info("reconciled", **report.to_dict())
    return reports


def reconciled_span(now: datetime, *, everything: bool) -> Span:
    """What a scheduled comparison looks at: the last 35 days, or all that sources keep, two years at most."""
    return now - (RECONCILED_AT_MOST if everything else RECONCILED), now


def raise_unreconciled(reports: Iterable[Reconciliation]) -> None:
    """Raise one error for all metrics that could not be compared; nothing if all could."""
    raise_worst([(r.severity or "stop", f"metric {r.metric}: {r.error}") for r in reports if r.error is not None])


def backfill(
    settings: Settings, order: BackfillOrder, metrics: Collection[str] = (), source: str | None = None
) -> Iterator[backfills.Done | backfills.ReplicaBehind]:
    """Compute a span anew, whatever the ledger says; see `backfill_metrics`. Nothing happens until it is iterated."""
    definitions = chosen(settings, metrics, source).values()
    return backfills.backfill_metrics(settings, definitions, order, event_streams(settings.content, definitions))


def outline_backfill(
    settings: Settings, order: BackfillOrder, metrics: Collection[str] = (), source: str | None = None
) -> list[Outline]:
    """What `backfill` would do."""
    definitions = chosen(settings, metrics, source).values()
    return backfills.outline_backfill(settings, definitions, order, event_streams(settings.content, definitions))


def dimension_values(settings: Settings, metric: str | None = None) -> list[DimensionValues]:
    """Values of each dimension of one metric, or of all."""
    return list_values(settings, chosen(settings, [metric] if metric else ()).values())


def expire_dimension_values(
    settings: Settings,
    metric: str,
    dimension: str,
    values: Collection[str],
    unused_for: timedelta | None,
    *,
    dry_run: bool = False,
) -> Expiry:
    """Let values go, and compute the overflow anew; see `expire_values`. Blocks."""
    (definition,) = chosen(settings, [metric]).values()
    streams = event_streams(settings.content, [definition])
    return expire_values(settings, definition, dimension, values, unused_for, streams, dry_run=dry_run)


def preview(
    settings: Settings,
    grain: Grain = "minute",
    interval: Span | None = None,
    metrics: Collection[str] = (),
    source: str | None = None,
) -> tuple[MetricPreview, ...]:
    """What `runs` of the same arguments would do. Changes nothing; blocks for some questions to each server."""
    definitions = chosen(settings, metrics, source).values()
    streams = event_streams(settings.content, definitions)
    unread = {} if metrics else broken(settings.content, source)
    told = [MetricPreview(name, "", error=str(one), severity="terminal") for name, one in unread.items()]
    return (*preview_metrics(settings, definitions, RunRequest(grain, interval), streams), *told)


def plan(settings: Settings, metrics: Collection[str] = (), source: str | None = None) -> Preview:
    """What `migrate` and the next runs would do. Changes nothing; blocks for some questions to each server."""
    definitions = chosen(settings, metrics, source)
    found = preview(settings, metrics=metrics, source=source)
    left = undefined(settings) if not metrics and source is None else ()
    if settings.metrics.owner_url is None:
        return Preview(None, (), found, left)
    waiting = pending(settings, definitions)
    return Preview(waiting.revisions, waiting.created, found, left)


def describe(settings: Settings, metric: str) -> tuple[Definition, MetricViews]:
    """A metric's views as they are. Raises `Terminal` for a name that is not defined."""
    definition = chosen(settings, [metric])[metric]
    with postgres.metrics(settings.metrics).session("describe") as connection:
        return definition, look_at(connection, definition, owned_views(connection))


def undefined(settings: Settings) -> tuple[Leftover, ...]:
    """Metrics and views that no definition makes any more; none before the first migration."""
    with postgres.metrics(settings.metrics).session("plan") as connection:
        if not exists(connection, "fleetgauge.metric_version"):
            return ()
        return tuple(leftovers(connection, _read(settings).valid, folders(settings.content)))


def drop_partitions(settings: Settings, *, dry_run: bool = False) -> list[Dropped]:
    """Expire the metrics' rows that are older than each definition keeps them. One's failure stops no other."""
    done = drop_expired(settings, _read(settings).valid.values(), dry_run=dry_run)
    return [*done, *(Dropped(name, error=str(one)) for name, one in broken(settings.content).items())]


def accept_blocked(settings: Settings, metric: str, reason: str, *, dry_run: bool = False) -> Accepted:
    """Let rows whose source is gone stay for good; see `accept_frozen`."""
    return accept_frozen(settings, chosen(settings, [metric])[metric], reason, dry_run=dry_run)


def prune_versions(settings: Settings, *, dry_run: bool = False) -> list[Unused]:
    """Drop the tables of versions that no view shows a row of; called once a day, and by hand. Blocks."""
    found: list[Unused] = []
    with postgres.metrics(settings.metrics).session("prune", lock_timeout="60s") as connection:
        for definition in _read(settings).valid.values():
            with connection.transaction(force_rollback=dry_run):
                gone = prune(connection, definition)
                for one in (one for one in gone if one.kept is None):
                    activity.record_dropped(connection, settings, "metrics prune", one.metric, one.tables, one.version)
            found += gone
    return found


def drop_leftover(settings: Settings, name: str, *, dry_run: bool = False) -> Leftover:
    """Drop a metric that is not defined any more, or of a view that no definition makes.

    Raises `Terminal` when there is none of that name, and when something depends on it, naming that.
    """
    definitions = load_definitions(settings.content, key_id(settings))
    with postgres.metrics(settings.metrics).session("drop", lock_timeout="60s") as connection:
        known = {one.name: one for one in leftovers(connection, definitions, folders(settings.content))}
        if name not in known:
            why = "is defined; remove its folder first" if name in definitions else "is neither"
            raise Terminal(
                f"{name} {why}; what may go are metrics and views that no definition makes: "
                f"{', '.join(known) or 'there are none'}"
            )
        with connection.transaction(force_rollback=dry_run):
            drop(connection, known[name])
            gone = (*known[name].views, *known[name].tables)
            activity.record_dropped(connection, settings, "metrics drop", name, gone)
    return known[name]


def migrate(settings: Settings, *, dry_run: bool = False) -> Migrated:
    """Bring the metrics database up to date: schema, metric tables, views, prices. Safe to repeat; blocks until done.

    Bad prices are told before anything is changed. Raises `Terminal` or `Transient`, as migrating the metrics does.
    """
    load_tariffs(settings.content)
    definitions = _read(settings).valid
    record = partial(activity.record_within, settings, "migrate")
    migration = migrate_metrics(settings, definitions, dry_run=dry_run, record=record)
    if dry_run and migration.revisions:  # no table of prices to compare with yet, or an older one
        return Migrated(**vars(migration))
    return Migrated(**vars(migration), tariffs=restate_prices(settings, dry_run=dry_run, command="migrate"))


def restate_prices(
    settings: Settings, *, dry_run: bool = False, command: activity.Command = "tariffs restate"
) -> tuple[Restatement, ...]:
    """Apply `sql/tariffs` as it is now; what costs move by it. Blocks. Raises `TariffError` before anything changes."""
    definitions = _read(settings).valid
    waits = {"lock_timeout": LOCK_WAITS} if dry_run else {}
    with (
        postgres.owner(settings.metrics).session("tariffs", **waits) as owner,
        owner.transaction(force_rollback=dry_run),
    ):
        priced = next((name for name, one in definitions.items() if COST_VIEW in derived_views(one)), "tariff")
        stages = [{"stage": "ChangePrices", "reason": "tariff"}]
        run = partial(activity.record_within, settings, command, owner, priced, None, stages)
        return tuple(restate_tariffs(owner, settings.content, run))


def key_id(settings: Settings) -> str | None:
    """Id of the key of fingerprints; None if none is set."""
    return id_of(settings.rollup.distinct_key)


def _read(settings: Settings) -> Loaded:
    return read_definitions(settings.content, key_id(settings))


def _of_source(definitions: Mapping[str, Definition], source: str) -> dict[str, Definition]:
    return {name: definition for name, definition in sorted(definitions.items()) if definition.source == source}

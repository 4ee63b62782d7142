"""`fleetgauge plan`: what would happen, before it does."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from fleetgauge.cli.output import configure_logging, print_json, utc
from fleetgauge.cli.selection import AsJson, Metrics, OfSource

if TYPE_CHECKING:
    from datetime import datetime

    from fleetgauge.rollup.operating.metric_views import MetricViews
    from fleetgauge.rollup.operating.preview import MetricPreview

_STAGES_SHOWN = 30


def plan(metrics: Metrics = None, source: OfSource = None, as_json: AsJson = False) -> None:
    """Show what `migrate` and the next runs would do: tables, the plan of each run, its cost, warnings, dashboards.

    Changes nothing. Exits with 78 when a source no longer has what a definition asks for.

    \b
    Examples:
      fleetgauge plan rental
      fleetgauge plan --source operations --json
    """
    from fleetgauge import pipeline, settings

    configure_logging(quiet=True)
    found = pipeline.plan(settings.load(), metrics or (), source)
    if as_json:
        print_json(found.to_dict())
    else:
        if found.revisions is None:
            typer.echo("schema: not looked at, since metrics.owner_url is not set")
        else:
            typer.echo(f"schema: {'migrations ' + ', '.join(found.revisions) if found.revisions else 'up to date'}")
        if found.tables:
            typer.echo(f"new tables: {', '.join(found.tables)}")
        for one in found.metrics:
            typer.echo(summary(one))
        for left in found.leftovers:
            gone = "is not defined any more, and its views show the same for ever"
            said = gone if left.metric else "is a view that no definition makes"
            typer.echo(f"{left.name} {said}; fleetgauge metrics drop {left.name}")
        typer.echo("nothing was changed")
    raise_errors(found.metrics)


def raise_errors(found: "Iterable[MetricPreview]") -> None:
    """One error for all metrics whose source cannot be read."""
    from fleetgauge.rollup.execute.report import raise_worst

    raise_worst([(one.severity or "stop", f"metric {one.metric}: {one.error}") for one in found if one.error])


def summary(one: "MetricPreview") -> str:
    """One metric for people; `run --dry-run` says it too."""
    states = {
        "new": "new",
        "current": "current",
        "waiting": f"built beside {one.shown}, and shown once a minute run has filled it",
    }
    if not one.version:
        return f"{one.metric}: cannot be read\n  error: {one.error}"
    lines = [f"{one.metric} (version {one.version}): {states[one.state]}"]
    lines += [f"  + {name}" for name in one.added]
    lines += [f"  - {name}" for name in one.removed]
    if one.state == "waiting" and not one.added and not one.removed:
        lines.append("  ~ the same columns; query, zone, predicates or kinds have changed")
    if one.error is not None:
        lines.append(f"  error: {one.error}")
    lines += [f"  {line}" for line in _work(one)]
    lines += [f"  {line}" for line in (views(one.views) if one.views else [])]
    lines += [f"  warning: {warning}" for warning in one.warnings]
    if one.dashboards and one.state != "current":
        lines.append(f"  dashboards that read it: {', '.join(one.dashboards)}")
    return "\n".join(lines)


def views(one: "MetricViews") -> list[str]:
    """What becomes of a metric's views, and of what others have built on them."""
    found = [
        f"stays: {kept.grain}s {_between(kept.begin, kept.end)} from version {kept.version}; "
        "this one cannot compute them"
        for kept in one.kept
    ]
    found += [f"NULL: {column} {gaps}" for column, gaps in (one.null or {}).items()]
    found += [f"depends on its views: {what}" for what in one.dependents]
    found += [f"granted: {what}" for what in one.grants]
    if one.refused is not None:
        found.append(f"the views will stay as they are: {one.refused}")
    return found


def _between(begin: "datetime | None", end: "datetime | None") -> str:
    return " ".join(part for part in (begin and f"from {utc(begin)}", end and f"before {utc(end)}") if part)


def _work(one: "MetricPreview") -> list[str]:
    from fleetgauge.rollup.plan.describe import lines

    if one.plan is None:
        return []
    found = lines(one.plan)
    if len(found) > _STAGES_SHOWN:
        found = [*found[:_STAGES_SHOWN], f"… and {len(found) - _STAGES_SHOWN} more stages; see --json"]
    if one.minutes:
        reads = "" if one.facts is None else f", reading about {one.facts} rows of the source"
        found.append(f"in all {one.minutes} minutes, in {one.hours} hours and {one.days} days{reads}")
    return found

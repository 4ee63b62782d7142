"""`fleetgauge plan`: what would happen, before it does."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json, utc

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.plan import MetricPlan


def plan(
    metrics: Annotated[list[str] | None, typer.Argument(help="Metrics; all by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show what `migrate` and the next passes would do: tables, windows, cost, warnings, boards. Changes nothing.

    Exits with 78 when a source no longer has what a definition asks for.
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.rollup.passes.report import raise_worst

    configure_logging(quiet=True)
    found = pipeline.plan(settings.load(), metrics or ())
    if as_json:
        print_json(asdict(found))
    else:
        if found.revisions is None:
            typer.echo("schema: not looked at, since metrics.owner_url is not set")
        else:
            typer.echo(f"schema: {'migrations ' + ', '.join(found.revisions) if found.revisions else 'up to date'}")
        if found.tables:
            typer.echo(f"new tables: {', '.join(found.tables)}")
        for one in found.metrics:
            typer.echo(_told(one))
        typer.echo("nothing was changed")
    raise_worst([(one.severity or "stop", f"metric {one.metric}: {one.error}") for one in found.metrics if one.error])


def _told(one: "MetricPlan") -> str:
    states = {
        "new": "new",
        "current": "current",
        "waiting": f"built beside {one.shown}, and shown once a minute run has filled it",
    }
    lines = [f"{one.metric} (version {one.version}): {states[one.state]}"]
    lines += [f"  + {name}" for name in one.added]
    lines += [f"  - {name}" for name in one.removed]
    if one.state == "waiting" and not one.added and not one.removed:
        lines.append("  ~ the same columns; query, zone, predicates or kinds have changed")
    if one.error is not None:
        lines.append(f"  error: {one.error}")
    elif one.minutes:
        work = f"  to compute: {one.minutes} minutes, in {one.hours} hours and {one.days} days, from {utc(one.since)}"
        lines.append(work + ("" if one.facts is None else f"; about {one.facts} rows of the source"))
    else:
        lines.append("  to compute: nothing beside what changes")
    lines += [f"  warning: {warning}" for warning in one.warnings]
    if one.boards and one.state != "current":
        lines.append(f"  boards that read it: {', '.join(one.boards)}")
    return "\n".join(lines)

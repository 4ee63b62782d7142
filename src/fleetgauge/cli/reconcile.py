"""`fleetgauge reconcile`: compare the tables with their sources."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, instant, print_json, utc

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.reconcile import Reconciliation


def reconcile(
    metrics: Annotated[list[str] | None, typer.Argument(help="Metrics; all by default.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Compare the last so many days.")] = 35,
    begin: Annotated[
        str | None, typer.Option("--from", help="Instead: from this instant (with its offset) …", show_default=False)
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="… up to this one, exclusive.", show_default=False)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare only; exits with 1 when something differs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compare counts, sums and durations by hour and dimension with the source; compute hours that differ anew.

    Finds what no change column tells of, such as deleted rows. The fleetgauge_reconcile DAG does it every day.
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.errors import Terminal

    configure_logging(quiet=True)
    if (begin is None) != (end is None):
        raise Terminal("an interval has two ends: give both --from and --to")
    now = datetime.now(UTC)
    span = (now - timedelta(days=days), now)
    if begin is not None and end is not None:
        span = (instant("--from", begin).astimezone(UTC), instant("--to", end).astimezone(UTC))
    if span[0] >= span[1]:
        raise Terminal("--from must be before --to")
    reports = pipeline.reconcile(settings.load(), span, metrics or (), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "metrics": [report.to_dict() for report in reports]})
    else:
        for report in reports:
            typer.echo(_told(report))
    pipeline.raise_unreconciled(reports)
    if dry_run and any(report.different for report in reports):
        raise typer.Exit(1)


def _told(report: "Reconciliation") -> str:
    if report.error is not None:
        return f"{report.metric}: failed after {report.hours} hours"
    line = f"{report.metric}: {report.hours} hours compared, {report.different} differ"
    if report.different:
        line += " and were computed anew" if report.restated else "; nothing was changed (--dry-run)"
    for one in report.differences:
        where = " ".join(f"{name}={value}" for name, value in one.dimensions.items())
        line += f"\n  {utc(one.window_start)} {where}: {one.measure} is {one.stored}, the source says {one.source}"
    return line

"""`fleetgauge reconcile`: compare the tables with their sources."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json, utc
from fleetgauge.cli.selection import AsJson, From, Metrics, OfSource, To

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.reconcile import Reconciliation


def reconcile(
    metrics: Metrics = None,
    source: OfSource = None,
    days: Annotated[int, typer.Option(min=1, max=36_525, help="Compare the last so many days.")] = 35,
    begin: From = None,
    end: To = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Compare, print the plan, change nothing; exits with 1 if something differs."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also what a comparison that was interrupted has compared already.")
    ] = False,
    accept_losses: Annotated[
        bool,
        typer.Option("--accept-losses", help="Hours of which the source has lost most facts too: they were deleted."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare every measure by hour and dimension with the source; compute hours that differ anew.

    Finds what no change column tells of, such as deleted rows. Final hours of which the source holds less than half are
    not computed anew, but told, unless --accept-losses. Interrupted, the same command goes on where it stood.
    The fleetgauge_reconcile DAG does it every day.

    \b
    Examples:
      fleetgauge reconcile rental --days 3 --dry-run
      fleetgauge reconcile --source operations --from 2026-11-01 --to 2026-11-08
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.selection import span

    configure_logging(quiet=True)
    loaded = settings.load()
    now = datetime.now(UTC)
    stretch = span(begin, end, pipeline.chosen(loaded, metrics or (), source).values())
    stretch = stretch or (now - timedelta(days=days), now)
    reports = pipeline.reconcile(
        loaded, stretch, metrics or (), source, dry_run=dry_run, anew=again, accept_losses=accept_losses
    )
    if as_json:
        print_json({"dry_run": dry_run, "metrics": [report.to_dict() for report in reports]})
    else:
        for report in reports:
            typer.echo(_summary(report))
    pipeline.raise_unreconciled(reports)
    if dry_run and any(report.different for report in reports):
        raise typer.Exit(1)


def _summary(report: "Reconciliation") -> str:
    from fleetgauge.rollup.plan.describe import lines

    if report.error is not None:
        return f"{report.metric}: failed after {report.hours} hours; the next comparison goes on there"
    line = f"{report.metric}: {report.hours} hours compared, {report.different} differ"
    if report.resumed:
        line += f" ({report.resumed} more by the interrupted comparison that this one goes on with)"
    if report.different:
        line += " and were computed anew" if report.restated else "; nothing was changed (--dry-run)"
    for one in report.differences:
        where = " ".join(f"{name}={value}" for name, value in one.dimensions.items())
        here, there = ("nothing" if value is None else value for value in (one.stored, one.source))
        line += f"\n  {utc(one.window_start)} {where}: {one.measure} is {here}, the source says {there}"
    if report.repeated is not None and report.repeated.found:
        twice = report.repeated
        line += f"\n  of {twice.sampled} events of {twice.day:%Y-%m-%d} that were looked at, {twice.found} are stored "
        line += f"under another day too, such as {twice.example}"
    for reason, n in report.not_compared.items():
        some = [utc(one.window_start) for one in report.skipped if one.reason == reason][:3]
        line += f"\n  {n} hours not compared: {reason}" + (f" (first {', '.join(some)})" if some else "")
    if not report.restated:
        line += "".join(f"\n  would {told}" for planned in report.plans for told in lines(planned))
    return line

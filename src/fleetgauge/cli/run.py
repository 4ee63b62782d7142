"""`fleetgauge run`: one pass now, as Airflow does on schedule."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from fleetgauge.rollup import PassReport

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


def run(
    source: Annotated[str | None, typer.Option(help="All metrics that read this source.", show_default=False)] = None,
    metric: Annotated[str | None, typer.Option(help="This metric alone.", show_default=False)] = None,
    grain: Annotated[Literal["minute", "hour", "day"], typer.Option(help="Grain of the pass.")] = "minute",
    begin: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=_FORMATS, help="Recompute from here on (UTC unless it says).", show_default=False
        ),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=_FORMATS, help="… up to here, exclusive.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show where the chosen metrics stand, run nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Do what is missing or changed; recompute the interval besides, if one is given."""
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.freshness import show
    from fleetgauge.cli.output import configure_logging, print_json
    from fleetgauge.errors import Terminal
    from fleetgauge.rollup import raise_failures
    from fleetgauge.rollup.operating.freshness import freshness

    configure_logging()
    if (source is None) == (metric is None):
        raise Terminal("say what to run: either --source NAME or --metric NAME")
    if (begin is None) != (end is None):
        raise Terminal("an interval has two ends: give both --from and --to")
    interval = None if begin is None or end is None else (_utc(begin), _utc(end))
    if interval is not None and interval[0] >= interval[1]:
        raise Terminal("--from must be before --to")
    loaded = settings.load()
    metrics = () if metric is None else (metric,)
    definitions = pipeline.chosen(loaded.content, metrics, source)
    if dry_run:
        found = freshness(loaded, definitions.values())
        show([one for one in found if one.grain == grain], as_json=as_json)
        return
    if metric is not None:
        source = definitions[metric].source
    assert source is not None
    reports = pipeline.passes(loaded, source, grain, interval, metrics)
    if as_json:  # in any case: what did succeed is worth knowing when something failed
        print_json([r.to_dict() for r in reports])
    else:
        for report in reports:
            typer.echo(_line(report))
    raise_failures(reports)


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _line(report: "PassReport") -> str:
    if report.error is not None:
        return f"{report.metric}: failed after {report.windows} windows and {report.cells} touched cells"
    if report.deferred:
        return f"{report.metric}: deferred, {report.deferred}"
    closed = report.closed_until.get(report.grain)
    return (
        f"{report.metric}: {report.windows} windows and {report.cells} touched cells computed, "
        f"{report.rows} rows written, {report.seconds:.1f} s ({report.source_seconds:.1f} s on the source); "
        f"{report.grain} final until {closed.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        if closed
        else f"{report.metric}: {report.windows} windows computed, none final yet"
    )

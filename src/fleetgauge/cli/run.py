"""`fleetgauge run`: bring metrics up to date now, as Airflow does on schedule."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fleetgauge.cli.selection import AsJson, DryRun, From, Metrics, OfSource, To
from fleetgauge.errors import Terminal

if TYPE_CHECKING:
    from fleetgauge.rollup import RunReport
    from fleetgauge.rollup.execute.run_counts import Progress, Watch

_LONG_S = 2 * 86_400
"""Event time to compute in a run, from which on its progress is shown."""
_EVERY_S = 5.0


def run(
    metrics: Metrics = None,
    source: OfSource = None,
    grain: Annotated[Literal["minute", "hour", "day"], typer.Option(help="Grain of the run.")] = "minute",
    begin: From = None,
    end: To = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Run again and again until told to stop (SIGTERM or Ctrl-C).")
    ] = False,
    every: Annotated[
        float,
        typer.Option(
            "--interval", min=0.2, max=3600, help="With --follow: seconds from one round of its metrics to the next."
        ),
    ] = 2.0,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="With --follow: port of /metrics, /healthz and /readyz; by default the first free from 9400 on.",
            show_default=False,
        ),
    ] = None,
    http_host: Annotated[str, typer.Option(help="With --follow: address to serve them on.")] = "127.0.0.1",
) -> None:
    """Do what is missing or changed; compute a span anew besides, if one is given.

    With --follow the same runs go on in a loop, for numbers that are seconds old: one process for each source, beside
    Airflow's runs or instead of its minute runs. New and changed definitions are taken up.

    \b
    Examples:
      fleetgauge run rental
      fleetgauge run --follow
      fleetgauge run --follow --source operations --interval 5
      fleetgauge run --source operations --dry-run
      fleetgauge run rental --from 2026-11-20 --to 2026-11-21
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli import plan as planned
    from fleetgauge.cli.output import configure_logging, print_json
    from fleetgauge.cli.selection import span
    from fleetgauge.rollup import raise_failures

    if follow:
        if dry_run or as_json or begin is not None or end is not None or grain != "minute":
            raise Terminal("--follow goes on for ever at the minute; leave --from, --to, --grain, --dry-run and --json")
        _follow(metrics or (), source, every, http_port, http_host)
        return
    configure_logging(quiet=dry_run)
    loaded = settings.load()
    interval = span(begin, end, pipeline.chosen(loaded, metrics or (), source).values())
    if dry_run:
        found = pipeline.preview(loaded, grain, interval, metrics or (), source)
        if as_json:
            print_json([one.to_dict() for one in found])
        else:
            for one in found:
                typer.echo(planned.summary(one))
            typer.echo("nothing was changed (--dry-run)")
        planned.raise_errors(found)
        return
    with _watching() as watch:
        reports = pipeline.runs(loaded, grain, interval, metrics or (), source, watch)
    if as_json:  # in any case: what did succeed is worth knowing when something failed
        print_json([r.to_dict() for r in reports])
    else:
        for report in reports:
            typer.echo(_line(report))
    raise_failures(reports)


def _follow(metrics: Collection[str], source: str | None, every: float, port: int | None, host: str) -> None:
    from fleetgauge import following, pipeline, settings
    from fleetgauge.cli.output import configure_logging
    from fleetgauge.following_sources import Sources
    from fleetgauge.observability.status_server import Http

    configure_logging()
    loaded = settings.load()
    sources = {one.source for one in pipeline.chosen(loaded, metrics, source).values()}
    if source is None and metrics and len(sources) > 1:
        raise Terminal(f"these metrics read from {', '.join(sorted(sources))}; give one --source, or no metric")
    if source is not None or metrics:
        following.follow(loaded, source or sources.pop(), metrics, every, Http(host, port))
        return
    if port:
        raise Terminal("--http-port is one process's; give --source too, or leave the ports to be found")
    chosen = [*([] if port is None else ["--http-port", str(port)]), "--http-host", host]
    if code := Sources(loaded, ["--interval", f"{every:g}", *chosen]).run():
        raise typer.Exit(code)


@contextmanager
def _watching() -> "Iterator[Watch]":
    """Tells of a first fill and of other long work; a common run is over before there is anything to tell."""
    from fleetgauge.cli.progress import Step, telling

    with telling(every_s=_EVERY_S) as (tell, _):

        def watch(progress: "Progress") -> None:
            if progress.total.total_seconds() >= _LONG_S:
                said = f"{progress.rows} rows written"
                tell(Step(progress.metric, progress.at, progress.done, progress.total, said))

        yield watch


def _line(report: "RunReport") -> str:
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

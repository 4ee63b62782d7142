"""`fleetgauge backfill`: compute a stretch of the past anew."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fleetgauge.cli.output import brief, configure_logging, duration, moment, print_json, print_table, utc

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.backfill import Done, Waiting
    from fleetgauge.rollup.operating.backfill_record import Outline, Request
    from fleetgauge.settings import Settings

_INTERRUPTED = 130


def backfill(
    metrics: Annotated[list[str] | None, typer.Argument(help="Metrics to compute anew.")] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from", help="Date or instant; without an offset, local time of the metric.", show_default=False
        ),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="… up to here, exclusive.", show_default=False)] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the request.", show_default=False)] = "",
    grain: Annotated[
        Literal["minute", "hour", "day"],
        typer.Option(help="minute: from the source, and all above. hour, day: from the grain below, and all above."),
    ] = "minute",
    backwards: Annotated[bool, typer.Option("--run-backwards", help="Newest day first.")] = False,
    max_lag: Annotated[
        str, typer.Option(help="Wait while the source's heartbeat is further behind than this; 0s: never wait.")
    ] = "60s",
    listed: Annotated[bool, typer.Option("--list", help="Show the latest backfills, and do nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be computed, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compute a span anew whatever the ledger says, a local day at a time.

    Interrupted by Ctrl-C or a crash, the same command goes on where it stood. What is frozen stays as it is.
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.errors import Terminal
    from fleetgauge.rollup.operating.backfill_record import Request

    configure_logging(quiet=True)
    loaded = settings.load()
    if listed:
        _list(loaded, as_json=as_json)
        return
    if not metrics or begin is None or end is None:
        raise Terminal("say what to compute anew: fleetgauge backfill METRIC… --from DATE --to DATE --reason TEXT")
    lag = duration("--max-lag", max_lag)
    request = Request(
        moment("--from", begin),
        moment("--to", end),
        grain,
        reason,
        _who(),
        backwards,
        lag or None,
    )
    if dry_run:
        outlines = pipeline.outline_backfill(loaded, request, metrics)
        if as_json:
            print_json([asdict(outline) for outline in outlines])
        else:
            for outline in outlines:
                typer.echo(_outlined(outline))
            typer.echo("nothing was changed (--dry-run)")
        return
    try:
        _work(loaded, request, metrics, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where this one stood", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _who() -> str:
    """The account and machine that ask."""
    import getpass
    import socket

    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        account = "unknown"
    return f"{account}@{socket.gethostname()}"


def _work(settings: "Settings", request: "Request", metrics: list[str], *, as_json: bool) -> None:
    from fleetgauge import pipeline
    from fleetgauge.rollup.operating.backfill import Done

    done: list[dict[str, Any]] = []
    try:
        for step in _told(pipeline.backfill(settings, request, metrics)):
            if isinstance(step, Done):
                done.append({**asdict(step), "left": step.left.total_seconds()})
    finally:  # in any case: what is done stays done
        if as_json:
            print_json(done)


def _told(steps: "Iterator[Done | Waiting]") -> "Iterator[Done | Waiting]":
    """The same, while people are told of it on stderr: a bar on a terminal, else a line a piece."""
    if not sys.stderr.isatty():
        yield from _lines(steps)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from fleetgauge.rollup.operating.backfill import Done

    parts = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn()
    with Progress(*parts, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}
        for step in steps:
            if step.metric not in tasks:
                tasks[step.metric] = bars.add_task(step.metric, total=None, said="")
            task = tasks[step.metric]
            if isinstance(step, Done):
                bars.advance(task, _seconds(step))
                total = bars.tasks[task].completed + step.left.total_seconds()
                bars.update(task, total=total, said=f"{utc(step.piece[0])}: {step.rows} rows")
            else:
                bars.update(task, said=f"waiting: the replica is {brief(step.lag)} behind")
            yield step


def _lines(steps: "Iterator[Done | Waiting]") -> "Iterator[Done | Waiting]":
    from fleetgauge.rollup.operating.backfill import Done

    began, covered, waited = time.monotonic(), dict[str, float](), False
    for step in steps:
        if isinstance(step, Done):
            covered[step.metric] = covered.get(step.metric, 0.0) + _seconds(step)
            spent = time.monotonic() - began
            eta = timedelta(seconds=spent * step.left.total_seconds() / max(1.0, covered[step.metric]))
            rest = f"{brief(step.left)} left, about {brief(eta)}" if step.left else "done"
            typer.echo(
                f"{step.metric}: {utc(step.piece[0])} to {utc(step.piece[1])}: {step.windows} windows, "
                f"{step.rows} rows, {step.seconds:.1f} s; {rest}",
                err=True,
            )
            if not step.left:
                began = time.monotonic()
            waited = False
        elif not waited:
            typer.echo(f"{step.metric}: waiting, since the replica is {brief(step.lag)} behind", err=True)
            waited = True
        yield step


def _seconds(step: "Done") -> float:
    return (step.piece[1] - step.piece[0]).total_seconds()


def _outlined(outline: "Outline") -> str:
    days = len(outline.pieces)
    line = f"{outline.metric} (version {outline.version}): {days} piece(s)"
    if outline.pieces:
        line += f", {utc(outline.pieces[0][0])} to {utc(outline.pieces[-1][1])}"
    if outline.facts is not None:
        line += f", about {outline.facts} rows of the source"
    for name, spans in (("done already", outline.done), ("frozen, stays as it is", outline.frozen)):
        for begin, end in spans:
            line += f"\n  {name}: {utc(begin)} to {utc(end)}"
    return line


def _list(settings: "Settings", *, as_json: bool) -> None:
    from fleetgauge.rollup.operating.backfill_record import requests

    found = requests(settings)
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "metric", "grain", "from", "to", "status", "done", "requested", "who", "reason"),
        [
            (
                one["id"],
                one["metric"],
                one["grain"],
                utc(one["begin"]),
                utc(one["end"]),
                one["status"],
                f"{100 * one['done_s'] / one['span_s']:.0f} %",
                utc(one["requested_at"]),
                one["who"],
                one["reason"],
            )
            for one in found
        ],
    )

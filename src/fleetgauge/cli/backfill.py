"""`fleetgauge backfill`: compute a stretch of the past anew."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fleetgauge.cli.output import brief, configure_logging, duration, print_json, print_table, utc
from fleetgauge.cli.progress import Step, telling
from fleetgauge.cli.selection import AsJson, DryRun, From, Metrics, OfSource, To

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.backfill import Done
    from fleetgauge.rollup.operating.backfill_record import BackfillOrder, Outline
    from fleetgauge.settings import Settings

_INTERRUPTED = 130


def backfill(
    metrics: Metrics = None,
    source: OfSource = None,
    begin: From = None,
    end: To = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the order.", show_default=False)] = "",
    grain: Annotated[
        Literal["minute", "hour", "day"],
        typer.Option(help="minute: from the source, and all above. hour, day: from the grain below, and all above."),
    ] = "minute",
    backwards: Annotated[bool, typer.Option("--run-backwards", help="Newest day first.")] = False,
    max_lag: Annotated[
        str, typer.Option(help="Wait while the source's heartbeat is further behind than this; 0s: never wait.")
    ] = "60s",
    listed: Annotated[bool, typer.Option("--list", help="Show the latest backfills, and do nothing.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compute a span anew whatever the ledger says, a local day at a time.

    Interrupted by Ctrl-C or a crash, the same command goes on where it stood. What is frozen stays as it is.

    \b
    Example:
      fleetgauge backfill rental --from 2026-11-20 --to 2026-11-22 --reason "fares were corrected"
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.selection import span
    from fleetgauge.errors import Terminal
    from fleetgauge.rollup.operating.backfill_record import BackfillOrder

    configure_logging(quiet=True)
    loaded = settings.load()
    if listed:
        _list(loaded, as_json=as_json)
        return
    stretch = span(begin, end, pipeline.chosen(loaded, metrics or (), source).values())
    if stretch is None:
        raise Terminal("say what to compute anew: fleetgauge backfill METRIC… --from DATE --to DATE --reason TEXT")
    lag = duration("--max-lag", max_lag)
    order = BackfillOrder(*stretch, grain, reason, _who(), backwards, lag or None)
    if dry_run:
        outlines = pipeline.outline_backfill(loaded, order, metrics or (), source)
        if as_json:
            print_json([outline.to_dict() for outline in outlines])
        else:
            for outline in outlines:
                typer.echo(_outlined(outline))
            typer.echo("nothing was changed (--dry-run)")
        return
    try:
        _work(loaded, order, metrics or [], source, as_json=as_json)
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


def _work(
    settings: "Settings", order: "BackfillOrder", metrics: list[str], source: str | None, *, as_json: bool
) -> None:
    from fleetgauge import pipeline
    from fleetgauge.rollup.operating.backfill import Done

    done: list[dict[str, Any]] = []
    try:
        with telling() as (tell, remark):
            covered: dict[str, timedelta] = {}
            waiting = False
            for step in pipeline.backfill(settings, order, metrics, source):
                if isinstance(step, Done):
                    done.append({**asdict(step), "left": step.left.total_seconds()})
                    covered[step.metric] = covered.get(step.metric, timedelta()) + step.piece[1] - step.piece[0]
                    tell(_step(step, covered[step.metric]))
                    waiting = False
                elif not waiting:
                    remark(step.metric, f"waiting, since the replica is {brief(step.lag)} behind")
                    waiting = True
    finally:  # in any case: what is done stays done
        if as_json:
            print_json(done)


def _step(step: "Done", covered: timedelta) -> Step:
    said = f"{step.windows} windows, {step.rows} rows, {step.seconds:.1f} s"
    return Step(step.metric, step.piece[1], covered, covered + step.left, said)


def _outlined(outline: "Outline") -> str:
    from fleetgauge.rollup.plan.describe import lines

    days = len(outline.pieces)
    line = f"{outline.metric} (version {outline.version}): {days} piece(s)"
    if outline.pieces:
        line += f", {utc(outline.pieces[0][0])} to {utc(outline.pieces[-1][1])}"
    if outline.facts is not None:
        line += f", about {outline.facts} rows of the source"
    for planned in outline.plans:
        for told in lines(planned):
            line += f"\n  {told}"
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

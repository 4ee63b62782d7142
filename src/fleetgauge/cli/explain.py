"""`fleetgauge explain`: how a number came about."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fleetgauge.cli.output import print_json, print_table, utc
from fleetgauge.cli.runs import reasons
from fleetgauge.cli.selection import AsJson, Metric

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.explain import Explanation


def explain(
    metric: Metric,
    window: Annotated[
        str, typer.Argument(metavar="WINDOW", help="Any time in it; without an offset, in the metric's time zone.")
    ],
    where: Annotated[
        list[str] | None, typer.Argument(metavar="DIM=VALUE", help="Values of dimensions.", show_default=False)
    ] = None,
    grain: Annotated[Literal["minute", "hour", "day"], typer.Option(help="Grain of the window.")] = "hour",
    as_json: AsJson = False,
) -> None:
    """Show how a number came about: value, source rows and their query, left-out rows, checks, changes, runs, versions.

    \b
    Example:
      fleetgauge explain rental 2026-11-21 zone=seongsu --grain day
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.selection import instant
    from fleetgauge.document_sources import event_streams
    from fleetgauge.errors import Terminal
    from fleetgauge.rollup.operating.explain import explain as read

    loaded = settings.load()
    definition = pipeline.chosen(loaded, [metric])[metric]
    values: dict[str, str] = {}
    for one in where or ():
        name, equals, value = one.partition("=")
        if not equals:
            raise Terminal(f"{one!r} names no value of a dimension; write it like zone=seongsu")
        values[name] = value
    at = instant("WINDOW", window, [definition])
    found = read(loaded, definition, at, grain, values, event_streams(loaded.content, [definition]))
    if as_json:
        print_json(found.to_dict())
        return
    typer.echo(f"{metric} by {grain}: {utc(found.begin)} to {utc(found.end)}")
    computed = "" if found.computed == found.version else f"; runs compute {found.computed}"
    typer.echo(f"version {found.version}{computed}")
    typer.echo("final" if found.waits_for is None else f"not final; waits for {found.waits_for}")
    print_table(
        ("where", "measure", "value"),
        [(_cell(v.dimensions), v.measure, "-" if v.value is None else v.value) for v in found.values],
    )
    typer.echo(f"{found.source_rows.count} rows of source {found.source}; this shows them:")
    typer.echo(found.source_rows.query)
    for line in _lines(found):
        typer.echo(line)


def _lines(found: "Explanation") -> Iterator[str]:
    """What is on record about it, a line each."""
    for lost in found.left_out:
        keys = ", ".join(lost.keys) + (", …" if lost.count > len(lost.keys) else "")
        yield f"left out: {lost.count} row(s), {lost.reason}: {keys}"
    for one in found.checks:
        if one.cells is None:
            said = "not known, for its minutes have expired"
        elif not one.cells:
            said = "holds"
        else:
            said = f"broken in {one.cells} cell(s), first {one.first}"
            if one.kind == "fail":
                said += f"; they keep their older rows, and are tried again at {utc(one.retry_at)}"
        yield f"check {one.check!r} ({one.kind}): {said}"
    for change in found.restatements:
        cell = f"{change.cells} cells" if change.dimensions is None else _cell(change.dimensions)
        by = "" if change.run_id is None else f", run {change.run_id}"
        became = f"{change.measure} was {change.before}, became {change.after} ({change.reason}{by})"
        yield f"{utc(change.restated_at)} {cell}: {became}"
    for run in found.runs:
        ended = run.outcome if run.ended_at is None else f"{run.outcome} at {utc(run.ended_at)}"
        yield f"written by run {run.id}: {run.command}, {reasons(run)}, {ended}"
    if not found.runs:
        yield "the run that wrote it is not in the log any more, or no run did"
    for version in found.versions:
        shows = ", shows this window" if version.shows_window else ""
        whole = "" if version.can_compute else ", cannot compute this window: its source was not whole there"
        published = "never shown" if version.published_at is None else f"shown since {utc(version.published_at)}"
        yield f"version {version.version}: made {utc(version.created_at)}, {published}{shows}{whole}"


def _cell(dimensions: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in dimensions.items())

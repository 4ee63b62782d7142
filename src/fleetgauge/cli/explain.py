"""`fleetgauge explain`: how a number came about."""

from collections.abc import Mapping
from typing import Annotated, Literal

import typer

from fleetgauge.cli.output import print_json, print_table, utc
from fleetgauge.cli.selection import AsJson, Metric


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
    """Show how a number came about: value, source rows and the query that shows them, changes, whether it is final.

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
    typer.echo(f"version {found.version}" + ("" if found.shown == found.version else f"; views show {found.shown}"))
    typer.echo("final" if found.waits_for is None else f"not final; waits for {found.waits_for}")
    print_table(
        ("where", "measure", "value"),
        [(_cell(v.dimensions), v.measure, "-" if v.value is None else v.value) for v in found.values],
    )
    typer.echo(f"{found.source_rows.count} rows of source {found.source}; this shows them:")
    typer.echo(found.source_rows.query)
    for change in found.restatements:
        place = f"{change.cells} cells" if change.dimensions is None else _cell(change.dimensions)
        became = f"{change.measure} was {change.before}, became {change.after} ({change.reason})"
        typer.echo(f"{utc(change.restated_at)} {place}: {became}")


def _cell(dimensions: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in dimensions.items())

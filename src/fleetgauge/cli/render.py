"""`fleetgauge render`: what a metric asks, as text."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from fleetgauge.cli.output import print_json
from fleetgauge.cli.selection import AsJson, Metric


def render(
    metric: Metric,
    what: Annotated[
        Literal["windows", "cells", "touched", "totals", "tables", "views"],
        typer.Option(
            help="windows: the rows of a stretch; cells: of single cells; touched: what has changed; totals: what "
            "reconcile compares; tables, views: the DDL."
        ),
    ] = "windows",
    grain: Annotated[
        Literal["minute", "hour", "day"],
        typer.Option(help="How long a stretch; windows of hours and days are made from the level below."),
    ] = "minute",
    as_json: AsJson = False,
) -> None:
    """Show the SQL that would run, or for documents the bodies of the searches. Asks no server.

    \b
    Examples:
      fleetgauge render rental
      fleetgauge render rental --what touched
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.rollup.operating.render import render as text_of

    definition = pipeline.chosen(settings.load(), [metric])[metric]
    text = text_of(definition, what, grain, datetime.now(UTC))
    if as_json:
        print_json({"metric": metric, "version": definition.version, "what": what, "grain": grain, "text": text})
    else:
        typer.echo(text)

"""`fleetgauge show`: the latest numbers of a metric."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import typer

from fleetgauge.cli.output import duration, print_json, print_table


def show(
    metric: Annotated[str, typer.Argument(help="Metric.")],
    last: Annotated[str, typer.Option(help="How far back: a number and s, m, h, d or y.")] = "2h",
    grain: Annotated[Literal["minute", "hour", "day"], typer.Option(help="Grain of the rows.")] = "minute",
    by: Annotated[
        str | None,
        typer.Option(
            help="Dimensions to keep apart, with commas between; '' for none, by default all.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many rows.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show the latest rows. Sketches are read as p50, p95 and p99, and as counts; `…` marks what may still change."""
    from fleetgauge import pipeline, settings
    from fleetgauge.rollup.execute.report import plain
    from fleetgauge.rollup.operating.show import show as read

    loaded = settings.load()
    definition = pipeline.chosen(loaded.content, [metric])[metric]
    dimensions = None if by is None else [name.strip() for name in by.split(",") if name.strip()]
    found = read(loaded, definition, grain, duration("--last", last), dimensions, limit)
    if as_json:
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        print_json({"view": found.view, "waiting": found.waiting, "rows": plain(rows)})
        return
    headings = (*found.columns[:-1], "")
    print_table(headings, [(*map(_text, row[:-1]), "…" if row[-1] else "") for row in found.rows])
    if found.waiting is not None:
        typer.echo(f"waiting: {found.waiting}")
    if not found.rows:
        typer.echo(f"no row of {found.view} begins within {last}; see fleetgauge freshness {metric}")
    elif any(row[-1] for row in found.rows):
        typer.echo("… provisional: may still change")
    if len(found.rows) == limit:
        typer.echo(f"the newest {limit} rows; more with --limit, fewer with --by")


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%MZ}"
        case float():
            return f"{value:.4g}"
        case Decimal():
            return f"{value.normalize():f}"
    return str(value)

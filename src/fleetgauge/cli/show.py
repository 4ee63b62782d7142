"""`fleetgauge show`: the latest numbers of a metric."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import typer

from fleetgauge.cli.output import duration, print_json, print_table
from fleetgauge.cli.selection import AsJson, From, Metric, To

_LAST = "2h"


def show(
    metric: Metric,
    last: Annotated[
        str | None,
        typer.Option(
            help=f"How far back: a number and s, m, h, d or y; by default {_LAST}. Or --from and --to.",
            show_default=False,
        ),
    ] = None,
    begin: From = None,
    end: To = None,
    grain: Annotated[Literal["minute", "hour", "day"], typer.Option(help="Grain of the rows.")] = "minute",
    by: Annotated[
        str | None,
        typer.Option(
            help="Dimensions to split by, with commas between; '' for none, by default all.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many rows.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the latest rows, in the metric's time zone; `…` marks what may still change.

    Sketches are read as p50, p95 and p99, and as counts. --from and --to choose the windows that begin between them.

    \b
    Examples:
      fleetgauge show rental --last 1d --grain hour --by zone
      fleetgauge show rental --from 2026-11-20 --to 2026-11-22 --grain day
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.selection import span
    from fleetgauge.errors import Terminal
    from fleetgauge.rollup.execute.report import plain
    from fleetgauge.rollup.operating.show import show as read

    loaded = settings.load()
    definition = pipeline.chosen(loaded, [metric])[metric]
    dimensions = None if by is None else [name.strip() for name in by.split(",") if name.strip()]
    between = span(begin, end, [definition])
    if between and last is not None:
        raise Terminal("--last ends now, and --from and --to say otherwise; give one or the other")
    found = read(loaded, definition, grain, between or duration("--last", last or _LAST), dimensions, limit)
    if as_json:
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        left_out = [{"reason": reason, "rows": count} for reason, count in found.left_out]
        print_json({"view": found.view, "waiting": found.waiting, "left_out": left_out, "rows": plain(rows)})
        return
    first = 1 if grain == "day" else 0  # of days, the date says it all
    units = {name: f"{name} ({unit})" for name, unit in found.units.items() if unit != "ratio"}
    headings = (*(units.get(name, name) for name in found.columns[first:-1]), "")
    print_table(headings, [(*map(_text, row[first:-1]), "…" if row[-1] else "") for row in found.rows])
    if found.waiting is not None:
        typer.echo(f"waiting: {found.waiting}")
    told = "between --from and --to" if between else f"within {last or _LAST}"
    if not found.rows:
        typer.echo(f"no row of {found.view} begins {told}; see fleetgauge freshness {metric}")
    elif any(row[-1] for row in found.rows):
        typer.echo("… provisional: may still change")
    for reason, count in found.left_out:
        typer.echo(f"left out: {count} row(s) of the source, since {reason}; see fleetgauge doctor")
    if len(found.rows) == limit:
        typer.echo(f"the newest {limit} rows; more with --limit, fewer with --by")


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return value.isoformat(timespec="minutes")  # in the metric's zone
        case date():
            return value.isoformat()
        case float():
            return f"{value:.4g}"
        case Decimal():
            return f"{value.normalize():f}"
    return str(value)

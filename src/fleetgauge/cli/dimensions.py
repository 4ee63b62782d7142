"""`fleetgauge dimensions`: distinct values, and room for others."""

from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, duration, print_json, print_table, utc
from fleetgauge.cli.selection import AsJson, DryRun, Metric, OneMetric

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.dimensions import Expiry

app = typer.Typer(no_args_is_help=True, help="Dimensions: the distinct values, and room for others.")

_INTERRUPTED = 130


@app.command("ls")
def ls(
    metric: OneMetric = None,
    as_json: AsJson = False,
) -> None:
    """List each dimension's values with its limit, and the latest window that has a row of each.

    \b
    Example:
      fleetgauge dimensions ls telemetry
    """
    from fleetgauge import pipeline, settings

    found = pipeline.dimension_values(settings.load(), metric)
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(
        ("metric", "dimension", "values", "value", "admitted", "last seen"),
        [
            (
                of.metric,
                of.dimension,
                f"{len(of.values)} of {of.limit}",
                one.value,
                utc(one.admitted_at),
                utc(one.last_seen),
            )
            for of in found
            for one in of.values
        ],
    )


@app.command("expire")
def expire(
    metric: Metric,
    dimension: Annotated[str, typer.Argument(metavar="DIMENSION", help="The dimension.")],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="VALUE", help="Only these values.", show_default=False)
    ] = None,
    unused_for: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only values that no row has had for so long: 30d.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Expire values, so that others get rows of their own; compute anew what was counted together for want of room.

    Rows of a value that expired stay. Windows whose source is not whole any more, and those that show expired
    values, stay as they are, and are told. Interrupted, the same command goes on.

    \b
    Example:
      fleetgauge dimensions expire telemetry firmware --unused-for 30d --dry-run
    """
    from fleetgauge import pipeline, settings

    configure_logging(quiet=True)
    stretch = None if unused_for is None else duration("--unused-for", unused_for)
    try:
        found = pipeline.expire_dimension_values(
            settings.load(), metric, dimension, values or (), stretch, dry_run=dry_run
        )
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where this one stood", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(_summary(found))


def _summary(found: "Expiry") -> str:
    from fleetgauge.rollup.plan.describe import lines

    would = "would expire" if found.dry_run else "expired"
    left = found.values - len(found.expired)
    line = f"{found.metric}.{found.dimension}: {len(found.expired)} of {found.values} values {would}"
    line += f", {left} of {found.limit} stay"
    line += "".join(f"\n  {value}" for value in found.expired)
    if left >= found.limit:
        line += "\n  there is no room, so nothing is computed anew"
    for planned in found.plans:
        line += "".join(f"\n  {told}" for told in lines(planned))
    for why, spans in (("source is not whole any more", found.frozen), ("shows expired values", found.kept)):
        line += "".join(f"\n  overflow stays, {why}: {utc(begin)} to {utc(end)}" for begin, end in spans)
    if found.dry_run:
        return f"{line}\nnothing was changed (--dry-run)"
    return f"{line}\n{found.windows} minutes were computed anew; {found.restated} cells of final ones changed"

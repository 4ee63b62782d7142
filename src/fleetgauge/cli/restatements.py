"""`fleetgauge restatements`: what changed after it was final."""

from typing import Annotated

import typer

from fleetgauge.cli.output import print_json, print_table, utc
from fleetgauge.cli.selection import AsJson, From, Metric, To


def restatements(
    metric: Metric,
    begin: From = None,
    end: To = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The latest so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List values that changed though their window was final: before, after, when and why; the latest first.

    --from and --to choose windows, not when they changed. Costs that moved by another price are listed with the metric
    whose views show them. Analysts read the same in metrics.restatement; `fleetgauge runs` tells more of each run.

    \b
    Example:
      fleetgauge restatements rental --from 2026-11-01 --to 2026-12-01
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.selection import span
    from fleetgauge.rollup.operating.restatements import restated

    loaded = settings.load()
    (definition,) = pipeline.chosen(loaded, [metric]).values()
    found = restated(loaded, definition, span(begin, end, [definition]), limit)
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(
        ("restated at", "view", "window", "where", "measure", "before", "after", "change", "reason", "run"),
        [
            (
                utc(one.restated_at),
                f"{one.metric}_{one.level}",
                utc(one.window_start),
                f"{one.cells} cells"
                if one.dimensions is None
                else " ".join(f"{name}={value}" for name, value in one.dimensions.items()),
                one.measure,
                "-" if one.before is None else one.before,
                "-" if one.after is None else one.after,
                "-" if one.change is None else f"{one.change.normalize():+f}",
                one.reason,
                "-" if one.run_id is None else one.run_id,
            )
            for one in found
        ],
    )
    if len(found) == limit:
        typer.echo(f"the latest {limit} are shown; --limit shows more", err=True)

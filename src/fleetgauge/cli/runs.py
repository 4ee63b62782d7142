"""`fleetgauge runs`: what ran, and how it ended."""

from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import brief, print_json, print_table, utc
from fleetgauge.cli.selection import AsJson, OneMetric

if TYPE_CHECKING:
    from fleetgauge.rollup.operating.runs import LoggedRun


def runs(
    metric: OneMetric = None,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="The latest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List runs, the latest first: run, backfill, reconcile, retention and whatever else wrote a metric's tables.

    --json tells the stages of each, and where it ran. Analysts read the same in metrics.run.

    \b
    Examples:
      fleetgauge runs rental --last 20
      fleetgauge runs --json
    """
    from fleetgauge import settings
    from fleetgauge.rollup.operating.runs import list_runs

    found = list_runs(settings.load(), metric, last)
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(
        ("run", "metric", "command", "started", "took", "outcome", "windows", "cells", "rows", "restated", "why"),
        [
            (
                one.id,
                one.metric,
                one.command if one.grain is None else f"{one.command} ({one.grain})",
                utc(one.started_at),
                "-" if one.ended_at is None else brief(one.ended_at - one.started_at),
                one.outcome if one.error_type is None else f"{one.outcome} ({one.error_type})",
                one.windows,
                one.cells,
                one.rows,
                one.restated,
                reasons(one),
            )
            for one in found
        ],
    )


def reasons(run: "LoggedRun") -> str:
    """Why it wrote what it wrote: the reasons of its stages."""
    housekeeping = {"Advance", "Publish", "NotePlaces"}
    return ", ".join(dict.fromkeys(one["reason"] for one in run.stages if one["stage"] not in housekeeping)) or "-"

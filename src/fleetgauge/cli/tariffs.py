"""`fleetgauge tariffs`: the prices of traffic, and what a correction of them restates."""

from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json, print_table, utc
from fleetgauge.cli.selection import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetgauge.cost.tariff_changes import Prices, Restatement

app = typer.Typer(help="Prices of mobile traffic.", no_args_is_help=True)


@app.callback()
def tariffs() -> None:
    """Prices of mobile traffic."""


def restate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would move, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Apply sql/tariffs as it is now, and print what costs move by it, by carrier and month.

    `fleetgauge migrate` does the same among all else. What moved is kept in fleetgauge.tariff_change, days that were
    final in metrics.restatement too.

    \b
    Examples:
      fleetgauge tariffs restate --dry-run
      fleetgauge tariffs restate --json
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cost.tariff_changes import by_month
    from fleetgauge.rollup.execute.report import plain

    configure_logging()
    found = pipeline.restate_prices(settings.load(), dry_run=dry_run)
    moved = by_month(found)
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "changes": plain([asdict(one.change) for one in found]),
                "months": plain([asdict(one) | {"difference": one.difference} for one in moved]),
            }
        )
        return
    if not found:
        typer.echo("nothing to do: the prices are those of sql/tariffs")
        return
    for one in found:
        typer.echo(told_change(one))
    print_table(
        ("carrier", "month", "currency", "days", "before", "after", "difference", "unpriced before", "unpriced after"),
        [
            (
                one.carrier,
                f"{one.month:%Y-%m}",
                one.currency,
                one.days,
                f"{one.before.normalize():f}",
                f"{one.after.normalize():f}",
                f"{one.difference.normalize():+f}",
                one.unpriced_before,
                one.unpriced_after,
            )
            for one in moved
        ],
    )
    if not moved:
        typer.echo("no day moves: no message falls into these prices")
    if dry_run:
        typer.echo("nothing was changed (--dry-run)")


def told_changes(found: "Sequence[Restatement]") -> list[str]:
    """Lines for a migration: each change of a price, and which days it restates by how much."""
    lines = []
    for one in found:
        lines.append(told_change(one))
        if not one.days:
            lines.append("  restates no day: no message falls into it")
            continue
        moved = one.after - one.before
        lines.append(
            f"  restates {len(one.days)} day(s), {one.days[0].date} to {one.days[-1].date}: "
            f"{one.before.normalize():f} -> {one.after.normalize():f} {one.change.currency} ({moved.normalize():+f})"
        )
        counts = defaultdict[str, int](int)
        for day in one.days:
            counts["before"] += day.unpriced_before
            counts["after"] += day.unpriced_after
        if counts["before"] != counts["after"]:
            lines.append(f"  messages without a price on these days: {counts['before']} -> {counts['after']}")
    return lines


def told_change(one: "Restatement") -> str:
    """Which price changed from when on."""
    change = one.change
    until = "" if change.end is None else f" until {utc(change.end)}"
    of = " ".join(filter(None, (change.carrier, change.price_class)))
    return f"price of {of} from {utc(change.begin)}{until}: {_said(change.before)} -> {_said(change.after)}"


def _said(prices: "Prices | None") -> str:
    return "no tariff" if prices is None else str(prices)

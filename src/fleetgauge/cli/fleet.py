"""`fleetgauge fleet`: vehicles that may stop while somebody rides them."""

from datetime import date
from typing import Annotated, Any

import typer

from fleetgauge.cli.output import configure_logging, duration, print_json, print_table
from fleetgauge.cli.selection import AsJson, DryRun
from fleetgauge.errors import Terminal

app = typer.Typer(
    no_args_is_help=True, help="Vehicles that may stop while somebody rides them, so that they get repaired."
)

Day = Annotated[
    str | None,
    typer.Option(
        "--date", metavar="DATE", help="This day, in the zone of sql/fleet/suspects.yaml.", show_default=False
    ),
]


@app.command("suspects")
def suspects(
    on: Day = None,
    last: Annotated[
        str | None,
        typer.Option("--last", metavar="TIME", help="Suspects of any day of the last so many: 7d.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the suspects, the surest first, with what speaks for and against each.

    Without --date as of the last day that was judged. A score adds up two weeks, or the days since the last repair.

    \b
    Examples:
      fleetgauge fleet suspects
      fleetgauge fleet suspects --last 7d --json
    """
    from fleetgauge import settings
    from fleetgauge.suspects import suspects as find

    found = find(settings.load(), _day("--date", on), None if last is None else duration("--last", last))
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(
        ("vehicle", "score", "probability", "days", "last", "for the most part because"),
        [
            (one.vehicle, f"{one.score:+.1f}", f"{one.probability:.0%}", one.days, one.last, _strongest(one.reasons))
            for one in found
        ],
    )


@app.command("run")
def run(
    on: Day = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Judge the days of the last two weeks that are new or have changed since; with --date that day in any case.

    A day is judged once trips and telemetry are complete up to its end. Its result replaces an older one.

    \b
    Example:
      fleetgauge fleet run --dry-run
    """
    from fleetgauge import settings
    from fleetgauge.suspects import run as run_days

    configure_logging(quiet=True)
    day = _day("--date", on)
    reports = run_days(settings.load(), None if day is None else [day], dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "days": [one.to_dict() for one in reports]})
        return
    for one in reports:
        told = f"{one.date} {one.state}: {one.why}"
        if one.state == "judged":
            told += f"; {one.trips} trips ({one.unheard} unheard), {one.vehicles} vehicles stood for long in one"
        typer.echo(told)
    if not reports:
        typer.echo("nothing to judge: all days of the last two weeks are as they were")


@app.command("repaired")
def repaired(
    vehicle: Annotated[str, typer.Argument(metavar="VEHICLE", help="Id of its device.", show_default=False)],
    on: Annotated[str, typer.Option("--on", metavar="DATE", help="The day of the repair.", show_default=False)],
    found: Annotated[
        str, typer.Option("--found", metavar="true|false", help="Whether there was a fault.", show_default=False)
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write down that a mechanic looked at a vehicle, and whether there was a fault. The same day again replaces it.

    What spoke against it up to that day counts no more. metrics.suspect_precision tells how often the list was right.

    \b
    Example:
      fleetgauge fleet repaired sc-00042 --on 2026-11-27 --found true
    """
    from fleetgauge import settings
    from fleetgauge.suspects import repaired as mark

    if found not in ("true", "false"):
        raise Terminal(f"--found {found!r} is neither true nor false; say whether there was a fault")
    day = _day("--on", on)
    if day is None:
        raise Terminal("--on is missing; give the day of the repair")
    one = mark(settings.load(), vehicle, day, found=found == "true", dry_run=dry_run)
    if as_json:
        fields: dict[str, Any] = {"dry_run": dry_run, **vars(one)}
        print_json(fields)
        return
    score = "nothing had spoken for or against it" if one.score is None else f"its score was {one.score:+.1f}"
    verb = "would be marked" if dry_run else "marked"
    typer.echo(f"{one.vehicle} {verb}: {'a fault' if one.found else 'no fault'} on {one.repaired_on}; {score}")


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise Terminal(f"{option} {text!r} is not a date; write it like 2026-11-27") from None


def _strongest(reasons: list[str]) -> str:
    """Of lines such as `2026-11-27 +4.5 fault code …` the weightiest."""
    return max(reasons, key=lambda line: float(line.split()[1]), default="")

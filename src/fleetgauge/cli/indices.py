"""`fleetgauge indices`: install index templates with a login that may, so that consumers need not."""

from typing import Annotated

import typer

from fleetgauge.cli.selection import AsJson, Consumers


def indices(
    names: Consumers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be installed, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Install index templates, and add new fields to the days that exist. Safe to repeat.

    Consumers do it themselves at every start if their login may; run this first where it may not.

    \b
    Example:
      fleetgauge indices --dry-run
    """
    from dataclasses import asdict

    from fleetgauge import settings
    from fleetgauge.cli.output import configure_logging, print_json
    from fleetgauge.ingest.operate.install import run

    configure_logging()
    outcomes = run(settings.load(), names or (), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "consumers": [asdict(outcome) for outcome in outcomes]})
        return
    for outcome in outcomes:
        verb = ("would be installed" if dry_run else "installed") if outcome.changed else "up to date"
        typer.echo(f"{outcome.consumer}: template and fields of {outcome.index}-*: {verb}")

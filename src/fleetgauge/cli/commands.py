"""`fleetgauge commands`: what is materialised of command events."""

from dataclasses import asdict
from typing import Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json
from fleetgauge.cli.selection import AsJson

app = typer.Typer(help="Command events and attempts in the metrics database.", no_args_is_help=True)


@app.callback()
def commands() -> None:
    """Command events and attempts in the metrics database."""


@app.command()
def rebuild(
    from_empty: Annotated[
        bool,
        typer.Option(
            "--from-empty", help="Forget everything first, also what Elasticsearch no longer keeps. Begins anew."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read again, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read every stored command event again, and make the attempts anew. Blocks until done; runs wait meanwhile.

    It merges into what is there, so nothing is missing meanwhile. Broken off, it is taken up where it stood: by the
    same command, or by the next run.

    \b
    Example:
      fleetgauge commands rebuild --dry-run
    """
    from fleetgauge import command_attempts, settings

    configure_logging()
    found = command_attempts.rebuild_commands(settings.load(), from_empty=from_empty, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(found)})
        return
    verb = "would be read again" if dry_run else "was read again"
    for one in found.sources:
        at = (
            "from the beginning" if one.partition is None else f"from partition {one.partition}, offset {one.offset} on"
        )
        typer.echo(f"{one.topic} as {one.group} has stored it: {verb}, {at}")
    if not found.sources:
        typer.echo("no command event has been materialised yet; the next run begins at the first")
    typer.echo(f"before: {found.events} events, {found.attempts} attempts")
    if found.events_after is not None:
        typer.echo(f"after: {found.events_after} events, {found.attempts_after} attempts")

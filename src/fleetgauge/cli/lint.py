"""`fleetgauge lint`: check the content without any server."""

import typer

from fleetgauge.cli.selection import AsJson


def lint(as_json: AsJson = False) -> None:
    """Check contracts, consumers, metrics and tariffs; lists all problems at once and exits with 78 if there is one.

    Each begins with file and line.

    \b
    Examples:
      fleetgauge lint
      fleetgauge --config fleetgauge.toml lint --json
    """
    from fleetgauge import settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.errors import Terminal
    from fleetgauge.lint import check

    found = check(settings.load().content)
    if as_json:
        print_json(
            {
                "contracts": found.contracts,
                "consumers": found.consumers,
                "metrics": list(found.time_zones),
                "time_zones": found.time_zones,
                "problems": found.problems,
            }
        )
    elif found.problems:
        typer.echo("\n".join(found.problems))
    else:
        shown = [f"{name} (days of {zone})" for name, zone in found.time_zones.items()]
        typer.echo(
            f"{len(found.contracts)} contracts, {len(found.consumers)} consumers, {len(shown)} metrics, no problem: "
            f"{', '.join([*found.contracts, *shown])}"
        )
    if found.problems:
        raise typer.Exit(Terminal.exit_code)

"""`fleetgauge lint`: check the content without any server."""

from typing import Annotated

import typer


def lint(as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False) -> None:
    """Check every metric definition and tariff; lists all problems at once and exits with 78 if there is one."""
    from fleetgauge import settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.commands.tariff import TariffError, load_tariffs
    from fleetgauge.rollup import DefinitionError, load_definitions

    found: list[str] = []
    problems: tuple[str, ...] = ()
    content = settings.load().content
    try:
        found = sorted(load_definitions(content))
    except DefinitionError as error:
        problems = tuple(error.problems)
    try:
        load_tariffs(content)
    except TariffError as error:
        problems += tuple(error.problems)
    if as_json:
        print_json({"metrics": found, "problems": problems})
    elif problems:
        typer.echo("\n".join(problems))
    else:
        typer.echo(f"{len(found)} metrics, no problem: {', '.join(found)}")
    if problems:
        raise typer.Exit(DefinitionError.exit_code)

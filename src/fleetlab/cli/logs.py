"""`fleetlab logs`"""

from typing import Annotated

import typer

from fleetlab.cli.options import HomeOption, service
from fleetlab.stack import Stack
from fleetlab.stack.processes import last_lines


def logs(
    name: Annotated[str, typer.Argument(metavar="SERVICE", help="postgres, kafka, elasticsearch or airflow.")],
    home: HomeOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
) -> None:
    """Show where a service logs, and the last lines."""
    for path in Stack(home).logs(service(name)).values():
        typer.echo(f"==> {path}" if path.is_file() else f"==> {path} (not written yet)")
        if path.is_file():
            typer.echo(last_lines(path, lines))

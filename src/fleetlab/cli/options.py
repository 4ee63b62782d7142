"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from fleetlab.stack import SERVICES, Service

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder that holds all of the stack; by default .lab in the checkout.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def service(name: str) -> Service:
    """A known service, or a usage error."""
    for known in SERVICES:
        if name == known:
            return known
    raise typer.BadParameter(f"there is no service {name!r}; the services are {', '.join(sorted(SERVICES))}")

"""Options that several commands share."""

import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fleetlab.stack import SERVICES, Service

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder that holds all of the stack; by default .lab in the checkout.", show_default=False
    ),
]
JdkOption = Annotated[
    Path | None,
    typer.Option("--jdk", help="Folder of the JDK to use; by default the best one found.", show_default=False),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="SWITCH",
        help="An unkindness that the company is spared, such as wrong_clocks; `all` for a tidy one. Can be repeated.",
        show_default=False,
    ),
]
AgeingOption = Annotated[
    float | None,
    typer.Option(help="Share of vehicles that stop while riding (docs/sudden-stops.md).", show_default=False),
]
DecoysOption = Annotated[
    float | None,
    typer.Option(help="Factor on how often something else looks like a sudden stop; 1.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def end_on_sigterm() -> None:
    """From now on SIGTERM ends the command as Ctrl-C does, so that what it started is stopped too."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def service(name: str) -> Service:
    """A known service, or a usage error."""
    for known in SERVICES:
        if name == known:
            return known
    raise typer.BadParameter(f"there is no service {name!r}; the services are {', '.join(sorted(SERVICES))}")

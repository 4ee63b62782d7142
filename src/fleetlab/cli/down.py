"""`fleetlab down`"""

from typing import Annotated

import typer

from fleetlab.cli.options import HomeOption
from fleetlab.stack import Stack


def down(
    home: HomeOption = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete data, logs and passwords as well.")] = False,
) -> None:
    """Stop the servers, also after a crash. The data stays for the next `up`."""
    Stack(home).down(wipe=wipe)
    typer.echo("stopped and deleted" if wipe else "stopped; the data stays (delete it with --wipe)")

"""`fleetlab status`"""

import dataclasses
import json

import typer

from fleetlab.cli.options import HomeOption, JsonOption
from fleetlab.stack import Stack


def status(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Show what runs, where, and how much memory it takes. Exit code 1 if something that was started does not run."""
    stack = Stack(home)
    found = stack.status()
    if json_:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    else:
        for one in found:
            memory = f"{one.memory_bytes / 1e6:6.0f} MB" if one.memory_bytes else ""
            typer.echo(f"{one.service:<14} {one.detail:<6} {memory:>10}  {one.address or ''}".rstrip())
    saved = stack.state()
    if saved is not None and any(one.service in saved.services and not one.running for one in found):
        raise typer.Exit(1)

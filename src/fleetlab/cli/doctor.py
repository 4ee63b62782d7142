"""`fleetlab doctor`"""

import dataclasses
import json

import typer

from fleetlab.cli.options import HomeOption, JsonOption
from fleetlab.stack.machine import check_machine


def doctor(home: HomeOption = None, json_: JsonOption = False) -> None:
    """Check whether this machine can run the stack. Exit code 1 if something is missing."""
    checks = check_machine(home)
    if json_:
        typer.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            typer.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)

"""`fleetlab demo`"""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetlab.cli.options import HomeOption, JdkOption, WithoutOption, end_on_sigterm


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running and print their addresses.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON too.", show_default=False)
    ] = None,
    vehicles: Annotated[int | None, typer.Option(help="Scooters of the company.", show_default=False)] = None,
    days: Annotated[int | None, typer.Option(help="Days before the live stretch.", show_default=False)] = None,
    rate: Annotated[float | None, typer.Option(help="Rentals per vehicle and day.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed is another company.", show_default=False)] = None,
    live_seconds: Annotated[int, typer.Option(help="Length of the live stretch.")] = 90,
    jdk: JdkOption = None,
    unkindness: WithoutOption = None,
    home: HomeOption = None,
) -> None:
    """Run the whole pipeline on real servers and compare every number with the truth. Exit code 1 if one differs."""
    from rich.console import Console

    from fleetlab.demo.report import draw
    from fleetlab.demo.run import Demo, DemoOptions
    from fleetlab.simulator import Scale
    from fleetlab.simulator.unkind import without
    from fleetlab.stack.layout import project_root

    asked: dict[str, Any] = {"vehicles": vehicles, "days": days, "rate": rate, "seed": seed}
    base = Scale(live_seconds=live_seconds, unkind=without(unkindness or []))
    scale = replace(base, **{k: v for k, v in asked.items() if v is not None})
    if json_file is not None and not os.access(json_file.parent, os.W_OK):
        raise typer.BadParameter(f"{json_file.parent} is not a folder that can be written to", param_hint="--json")
    console = Console(width=None if sys.stdout.isatty() else 160)
    end_on_sigterm()
    run = Demo(DemoOptions(scale=scale, home=home, keep=keep, jdk=jdk), console)
    report = run.run()
    installing = project_root() / ".venv" / ".install-seconds"
    if installing.is_file():
        report.seconds["install (once, before)"] = float(installing.read_text(encoding="ascii"))
    draw(report, console)
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(report) | {"ok": report.ok}, indent=2, default=str))
    state = run.state()
    if keep and state is not None:
        from fleetlab.cli.up import describe

        console.print(describe(state), markup=False, highlight=False)
    typer.echo(f"What it comes to, as a page to open in a browser: {run.page.resolve().as_uri()}")
    if not report.ok:
        typer.echo("fleetlab: a number differs from the truth; see the table above", err=True)
        raise typer.Exit(1)

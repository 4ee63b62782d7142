"""`fleetgauge doctor`: whether what the rollup needs is there."""

from dataclasses import asdict
from typing import Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json


def doctor(
    sql: Annotated[
        bool,
        typer.Option(
            "--sql", help="Print what the production DBA has to run: login, heartbeat, the indexes that are missing."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Look at the metrics database, each replica, Kafka and Elasticsearch; exits with 78 when something must be mended.

    Also says where each setting comes from, never what it is.
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.errors import Terminal

    configure_logging(quiet=True)
    loaded = settings.load()
    if sql:
        text = pipeline.for_production(loaded)
        if as_json:
            print_json({"sql": text})
        else:
            typer.echo(text, nl=False)
        return
    origins = settings.origins()
    failed = False
    found = []
    if not as_json:
        for key, where in sorted(origins.items()):
            typer.echo(f"setting {key}: from {where}")
    for finding in pipeline.examine(loaded):
        failed |= finding.status == "fail"
        found.append(finding)
        if not as_json:  # at once: a server that does not answer takes its time
            remedy = f"; {finding.remedy}" if finding.remedy and finding.status != "ok" else ""
            typer.echo(f"{finding.status:4} {finding.about}: {finding.said}{remedy}")
    if as_json:
        print_json({"settings": origins, "findings": [asdict(finding) for finding in found]})
    if failed:
        raise typer.Exit(Terminal.exit_code)

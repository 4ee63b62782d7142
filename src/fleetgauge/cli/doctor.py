"""`fleetgauge doctor`: whether what the rollup needs is there."""

import logging
from dataclasses import asdict
from typing import Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json
from fleetgauge.cli.selection import AsJson


def doctor(
    sql: Annotated[
        bool,
        typer.Option(
            "--sql", help="Print what the production DBA has to run: login, heartbeat, the indexes that are missing."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at the metrics database, each replica, Kafka and Elasticsearch; exits with 78 when something must be mended.

    Also says where each setting comes from, never what it is.

    \b
    Examples:
      fleetgauge doctor
      fleetgauge doctor --sql > for-production.sql
    """
    from fleetgauge import diagnosis, settings
    from fleetgauge.errors import Terminal

    configure_logging(quiet=True)
    # It tells of each of its many tries; the finding says once what came of them.
    for name in ("kafka", "kafka.net.selector"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    loaded = settings.load()
    if sql:
        text = diagnosis.for_production(loaded)
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
    for finding in diagnosis.examine(loaded):
        failed |= finding.status == "fail"
        found.append(finding)
        if not as_json:  # at once: a server that does not answer takes its time
            remedy = f"; {finding.remedy}" if finding.remedy and finding.status != "ok" else ""
            typer.echo(f"{finding.status:4} {finding.about}: {finding.said}{remedy}")
    if as_json:
        print_json({"settings": origins, "findings": [asdict(finding) for finding in found]})
    if failed:
        raise typer.Exit(Terminal.exit_code)

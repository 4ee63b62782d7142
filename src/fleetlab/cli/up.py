"""`fleetlab up`"""

import dataclasses
import json
import sys
from typing import Annotated

import typer

from fleetlab.cli.options import HomeOption, JdkOption, JsonOption, end_on_sigterm, service
from fleetlab.stack import CORE, ConsoleProgress, Stack, StackState
from fleetlab.stack.monitoring import programs


def up(
    services: Annotated[
        list[str] | None,
        typer.Argument(
            help="postgres, kafka, elasticsearch, airflow, prometheus, alertmanager, grafana, mariadb; "
            "by default all but the last, of the three before it those that are installed.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port", metavar="NAME=NUMBER", help="Fix a port, such as kafka=19092; free ones otherwise. Repeatable."
        ),
    ] = None,
    jdk: JdkOption = None,
    json_: JsonOption = False,
) -> None:
    """Start the servers; harmless if they are up. What is up stays up until `fleetlab down`."""
    wanted = {service(name) for name in services or [*CORE, *programs()]}
    ports = dict(_port(text) for text in port or [])
    end_on_sigterm()
    state = Stack(home).up(wanted, progress=ConsoleProgress(sys.stderr), asked_ports=ports, jdk=jdk)
    if json_:
        typer.echo(json.dumps(dataclasses.asdict(state), indent=2))
    else:
        typer.echo(describe(state))


def describe(state: StackState) -> str:
    """The addresses of a running stack, for people; passwords only where one must type them."""
    lines = []
    if state.postgres:
        lines += [f"production   {state.postgres.primary} (primary), {state.postgres.replica} (replica)"]
        lines += [f"metrics      {state.postgres.metrics}"]
    if state.mariadb:
        lines += [f"mariadb      {state.mariadb.primary} (primary), {state.mariadb.replica} (replica)"]
    if state.kafka:
        lines.append(f"kafka        {state.kafka.bootstrap}  (version {state.kafka.version})")
    if state.elasticsearch:
        lines.append(f"elastic      {state.elasticsearch.url}  (version {state.elasticsearch.version})")
    if state.airflow:
        login = f"{state.airflow.username} / {state.airflow.password}"
        lines.append(f"airflow      {state.airflow.url}  (log in as {login})")
    for name, part in (("prometheus", state.prometheus), ("alerts", state.alertmanager)):
        if part:
            lines.append(f"{name:<13}{part.url}")
    if state.grafana:
        login = f"{state.grafana.username} / {state.grafana.password}"
        lines.append(f"grafana      {state.grafana.url}  (dashboards; no login to look, {login} to change)")
    lines.append(f"settings     export FLEETGAUGE_CONFIG={state.config}")
    return "\n".join(lines)


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise typer.BadParameter(f"{text!r} is not NAME=NUMBER, such as kafka=19092", param_hint="--port")
    return name, int(number)

"""The command `fleetlab`: the laboratory's servers, simulator and demo.

To add a command: write it in a module of its own, import it here and register it in one line.
"""

import sys

import typer

from fleetgauge.errors import FleetgaugeError, Terminal
from fleetlab.cli.demo import demo
from fleetlab.cli.doctor import doctor
from fleetlab.cli.down import down
from fleetlab.cli.logs import logs
from fleetlab.cli.simulate import simulate
from fleetlab.cli.status import status
from fleetlab.cli.truth import app as truth
from fleetlab.cli.up import up

app = typer.Typer(
    help="Real Postgres, Kafka, Elasticsearch and Airflow on this machine, without Docker and without root.",
    epilog="Exit codes: 0 done, 1 not as it should be (status, doctor), 2 wrong usage, 70 stopped before harm, "
    "75 may work when tried again, 78 something must be changed first, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(up)
app.command()(down)
app.command()(status)
app.command()(logs)
app.command()(doctor)
app.command()(demo)
app.command()(simulate)
app.add_typer(truth, name="truth")


def main() -> None:
    """Entry point: every error on purpose is one message on stderr and its exit code."""
    try:
        app()
    except FleetgaugeError as error:
        typer.echo(f"fleetlab: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(f"fleetlab: the system refused: {error}; check the rights and the free space there", err=True)
        sys.exit(Terminal.exit_code)

"""The root of the command line. To add a command: write `cli/<command>.py`, import it here, add one line at the end.

A command file imports its engine *inside* the function: `fleetgauge consume` must not pay for SQLAlchemy, and
is installed without it: everything but `consume`, `dlq`, `top`, `indices` and `contracts` needs the extra [rollup].
"""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from fleetgauge.cli import (
    backfill,
    commands,
    consume,
    contracts,
    dimensions,
    dlq,
    doctor,
    erase,
    explain,
    export,
    export_focus,
    exporter,
    fleet,
    freshness,
    indices,
    lint,
    metrics,
    migrate,
    plan,
    reconcile,
    render,
    report,
    restatements,
    retention,
    run,
    runs,
    show,
    tariffs,
    test,
    top,
    whatif,
)
from fleetgauge.cli.extras import missing
from fleetgauge.errors import FleetgaugeError

app = typer.Typer(
    name="fleetgauge",
    help="Fleet telemetry and business data into service metrics.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def root(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="TOML file with the addresses; stands in for FLEETGAUGE_CONFIG.", show_default=False
        ),
    ] = None,
) -> None:
    """Fleet telemetry and business data into service metrics."""
    if config is not None:
        from fleetgauge import settings

        settings.load(config)  # checks it and points every later `settings.load()` at it


# COMMANDS
app.command("consume")(consume.consume)
app.command("migrate")(migrate.migrate)
app.command("run")(run.run)
app.command("backfill")(backfill.backfill)
app.command("reconcile")(reconcile.reconcile)
app.command("runs")(runs.runs)
app.command("explain")(explain.explain)
app.command("restatements")(restatements.restatements)
app.command("freshness")(freshness.freshness)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("plan")(plan.plan)
app.command("render")(render.render)
app.command("doctor")(doctor.doctor)
app.command("exporter")(exporter.exporter)
app.add_typer(export.app, name="export")
export.app.command("focus")(export_focus.focus)
app.command("lint")(lint.lint)
app.command("test")(test.test)
app.add_typer(metrics.app, name="metrics")
app.add_typer(dimensions.app, name="dimensions")
app.add_typer(commands.app, name="commands")
app.add_typer(tariffs.app, name="tariffs")
tariffs.app.command("restate")(tariffs.restate)
app.command("whatif")(whatif.whatif)
app.add_typer(fleet.app, name="fleet")
app.command("top")(top.top)
app.add_typer(dlq.app, name="dlq")
app.add_typer(contracts.app, name="contracts")
app.command("retention")(retention.retention)
app.command("erase")(erase.erase)
app.command("indices")(indices.indices)


@cache
def _command() -> Callable[[], object]:
    """What Typer makes of all of the above; once for a process, which may call `main` often."""
    return get_command(app)


def main() -> None:
    """Entry point: an error raised on purpose is one line on stderr and its own exit code, never a traceback."""
    try:
        try:
            _command()()
        except ModuleNotFoundError as error:
            raise missing(error) or error from None
    except FleetgaugeError as error:
        _tell(error)
        sys.exit(error.exit_code)


def _tell(error: FleetgaugeError) -> None:
    from fleetgauge import settings
    from fleetgauge.cli.output import configure_logging
    from fleetgauge.observability import errors_sentry

    if settings.log_format() == "json":
        import structlog

        if not structlog.is_configured():
            configure_logging()
        structlog.get_logger("fleetgauge").error("ended", error=str(error), exit_code=error.exit_code)
    else:
        print(f"fleetgauge: {error}", file=sys.stderr)  # noqa: T201
    errors_sentry.flush()

"""`fleetgauge migrate`: bring the metrics database up to date."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fleetgauge.rollup.store.migrate import Migration


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Create or update ledger, functions, roles, metric tables, views and prices. Safe to repeat.

    Nothing that others have built on a view is dropped. Exits with 78 when a view cannot be changed therefore, and says
    what to do; all else is done.
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.cli.output import configure_logging, print_json
    from fleetgauge.rollup.passes.report import raise_worst

    configure_logging()
    done = pipeline.migrate(settings.load(), dry_run=dry_run)
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "revisions": done.revisions,
                "created": done.created,
                "published": done.published,
                "waiting": done.waiting,
                "refused": done.refused,
            }
        )
    else:
        _tell(done, dry_run=dry_run)
    raise_worst(
        [("terminal", f"the views of {metric} stay as they are: {why}") for metric, why in done.refused.items()]
    )


def _tell(done: "Migration", *, dry_run: bool) -> None:
    for what, names in (
        ("migrations", done.revisions),
        ("new tables", done.created),
        ("views of", done.published),
        ("still shown in an older version until a minute run has filled the new one", done.waiting),
    ):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")
    if done == type(done)():
        typer.echo("nothing to do: the metrics database is up to date")
    elif dry_run:
        typer.echo("nothing was changed (--dry-run)")

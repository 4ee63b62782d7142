"""`fleetgauge migrate`: bring the metrics database up to date."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json
from fleetgauge.cli.selection import AsJson
from fleetgauge.cli.tariffs import told_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetgauge.pipeline import Migrated
    from fleetgauge.rollup.definitions.loader import Broken


def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do it in a transaction that is rolled back, and say what it did.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create or update ledger, functions, roles, metric tables, views and prices. Safe to repeat.

    Nothing that others have built on a view is dropped. Exits with 78 when a view cannot be changed therefore, and says
    what to do; all else is done. A dry run holds locks on the views for some seconds, and gives up (75) if it has to
    wait for one longer than 5 s; fleetgauge plan only reads.

    \b
    Examples:
      fleetgauge migrate --dry-run
      fleetgauge migrate
    """
    from fleetgauge import pipeline, settings
    from fleetgauge.rollup.execute.report import plain, raise_worst

    configure_logging()
    loaded = settings.load()
    done = pipeline.migrate(loaded, dry_run=dry_run)
    unread = pipeline.broken(loaded.content)
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "revisions": done.revisions,
                "created": done.created,
                "published": done.published,
                "waiting": done.waiting,
                "refused": done.refused,
                "tariffs": plain([asdict(one) for one in done.tariffs]),
            }
        )
    else:
        _tell(done, dry_run=dry_run)
    _complain(unread)
    raise_worst(
        [("terminal", f"the views of {metric} stay as they are: {why}") for metric, why in done.refused.items()]
    )


def _tell(done: "Migrated", *, dry_run: bool) -> None:
    for what, names in (
        ("migrations", done.revisions),
        ("new tables", done.created),
        ("views of", done.published),
        ("still shown in an older version until a minute run has filled the new one", done.waiting),
    ):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")
    for line in told_changes(done.tariffs):
        typer.echo(line)
    if done == type(done)():
        typer.echo("nothing to do: the metrics database is up to date")
    elif dry_run:
        typer.echo("nothing was changed (--dry-run)")


def _complain(unread: "Mapping[str, Broken]") -> None:
    """The others are migrated; these are named, and the exit code says so."""
    from fleetgauge.rollup import DefinitionError

    if unread:
        raise DefinitionError([problem for one in unread.values() for problem in one.problems])

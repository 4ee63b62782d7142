"""`fleetgauge migrate`: bring the metrics database up to date."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json, utc
from fleetgauge.cli.selection import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetgauge.commands.tariff_changes import Prices, Restatement
    from fleetgauge.pipeline import Migrated
    from fleetgauge.rollup.definitions.loader import Broken


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create or update ledger, functions, roles, metric tables, views and prices. Safe to repeat.

    Nothing that others have built on a view is dropped. Exits with 78 when a view cannot be changed therefore, and says
    what to do; all else is done.

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


def _price(one: "Restatement") -> str:
    change = one.change
    until = "" if change.end is None else f" until {utc(change.end)}"
    words = [
        f"price of {change.carrier} from {utc(change.begin)}{until}: {_said(change.before)} -> {_said(change.after)}"
    ]
    if one.days:
        moved = one.after_krw - one.before_krw
        words.append(
            f"  restates {len(one.days)} day(s), {one.days[0].date} to {one.days[-1].date}: "
            f"{one.before_krw.normalize():f} -> {one.after_krw.normalize():f} KRW ({moved.normalize():+f})"
        )
        before, after = (sum(getattr(day, name) for day in one.days) for name in ("unpriced_before", "unpriced_after"))
        if before != after:
            words.append(f"  messages without a price on these days: {before} -> {after}")
    else:
        words.append("  restates no day: no message falls into it")
    return "\n".join(words)


def _said(prices: "Prices | None") -> str:
    if prices is None:
        return "no tariff"
    overhead, step, price, _ = prices
    return f"{price.normalize():f} KRW a step of {step} bytes, {overhead} more bytes a message"


def _tell(done: "Migrated", *, dry_run: bool) -> None:
    for what, names in (
        ("migrations", done.revisions),
        ("new tables", done.created),
        ("views of", done.published),
        ("still shown in an older version until a minute run has filled the new one", done.waiting),
    ):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")
    for one in done.tariffs:
        typer.echo(_price(one))
    if done == type(done)():
        typer.echo("nothing to do: the metrics database is up to date")
    elif dry_run:
        typer.echo("nothing was changed (--dry-run)")


def _complain(unread: "Mapping[str, Broken]") -> None:
    """The others are migrated; these are named, and the exit code says so."""
    from fleetgauge.rollup import DefinitionError

    if unread:
        raise DefinitionError([problem for one in unread.values() for problem in one.problems])

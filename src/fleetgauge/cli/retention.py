"""`fleetgauge retention`: delete what is older than it is kept, daily indices and partitions of metrics."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fleetgauge.cli.selection import AsJson, Consumers

if TYPE_CHECKING:
    from fleetgauge.ingest.operate.field_retention import FieldOutcome
    from fleetgauge.ingest.operate.index_retention import Day, RetentionOutcome
    from fleetgauge.rollup.operating.expire import Dropped


def retention(
    names: Consumers = None,
    only: Annotated[
        Literal["indices", "partitions"] | None, typer.Option(help="This kind alone.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete expired daily indices, each by its exact name, fields of documents, and partitions of metrics.

    Safe to repeat and to interrupt.

    With consumers named: their indices alone.

    \b
    Examples:
      fleetgauge retention --dry-run
      fleetgauge retention device-events
    """
    from fleetgauge import command_attempts, pipeline, settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.errors import Terminal, Transient
    from fleetgauge.ingest.operate import field_retention
    from fleetgauge.ingest.operate.index_retention import run

    loaded = settings.load()
    if only is not None and names:
        raise Terminal("consumers have indices only; leave --only out")
    outcomes = [] if only == "partitions" else run(loaded, names or (), dry_run=dry_run)
    fields = [] if only == "partitions" else field_retention.run(loaded, names or (), dry_run=dry_run)
    dropped = [] if only == "indices" or names else pipeline.drop_partitions(loaded, dry_run=dry_run)
    commands = None if only == "indices" or names else command_attempts.drop_command_months(loaded, dry_run=dry_run)
    if as_json:
        consumers = [_plain(outcome) for outcome in outcomes]
        print_json(
            {
                "dry_run": dry_run,
                "consumers": consumers,
                "fields": [{**asdict(one), "error": one.error and str(one.error)} for one in fields],
                "metrics": [asdict(one) for one in dropped],
                "commands": commands and list(commands.months),
            }
        )
    else:
        verb = "would be deleted" if dry_run else "deleted"
        for outcome in outcomes:
            typer.echo(_line(outcome, verb))
        for gone in fields:
            typer.echo(_gone(gone, dry_run=dry_run))
        if not outcomes and only != "partitions":
            typer.echo("no consumer declares a retention: no index is ever deleted")
        for one in dropped:
            typer.echo(_dropped(one, verb))
        if commands is not None:
            typer.echo(f"command events and attempts: months {verb}: {', '.join(commands.months) or 'none'}")
    for error in (*(one.error for one in outcomes), *(one.error for one in fields)):
        if error is not None:
            raise error
    if failed := [f"metric {one.metric}: {one.error}" for one in dropped if one.error is not None]:
        raise Transient("; ".join(failed))


def _plain(outcome: "RetentionOutcome") -> dict[str, Any]:
    return {
        "consumer": outcome.consumer,
        "retention_days": None if outcome.retention is None else outcome.retention.total_seconds() / 86_400,
        "deleted": [
            {"index": day.index, "documents": day.documents, "size_bytes": day.size_bytes} for day in outcome.deleted
        ],
        "kept": outcome.kept,
        "error": None if outcome.error is None else str(outcome.error),
    }


def _line(outcome: "RetentionOutcome", verb: str) -> str:
    if outcome.retention is None:
        return f"{outcome.error}"
    failed = "" if outcome.error is None else f"; {outcome.error}"
    days = ", ".join(_day(day) for day in outcome.deleted) or "none"
    return f"{outcome.consumer}: keeps {outcome.retention.days} days; {verb}: {days}; kept: {outcome.kept}{failed}"


def _gone(one: "FieldOutcome", *, dry_run: bool) -> str:
    if one.error is not None:
        return f"{one.consumer}: {one.error}"
    verb = "would be taken out of" if dry_run else "taken out of"
    days = ", ".join(f"{day.index} ({', '.join(day.fields)}; {day.documents} documents)" for day in one.days)
    return f"{one.consumer}: fields {verb}: {days or 'no day'}"


def _dropped(one: "Dropped", verb: str) -> str:
    if one.error is not None:
        return f"{one.metric}: {one.error}"
    return f"{one.metric}: partitions {verb}: {', '.join(one.partitions) or 'none'}"


def _day(day: "Day") -> str:
    return f"{day.index} ({day.documents} documents, {day.size_bytes / 2**20:.1f} MiB)"

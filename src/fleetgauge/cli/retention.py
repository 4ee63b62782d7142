"""`fleetgauge retention`: delete the days that are older than their consumer keeps them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fleetgauge.ingest.retention import Day, Outcome


def retention(
    names: Annotated[list[str] | None, typer.Argument(help="Consumers; by default all that declare one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Delete expired daily indices, each by its exact name. Safe to repeat and to interrupt."""
    from fleetgauge import settings
    from fleetgauge.cli.output import print_json
    from fleetgauge.ingest.retention import run

    outcomes = run(settings.load(), names or (), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "consumers": [_plain(outcome) for outcome in outcomes]})
    else:
        for outcome in outcomes:
            typer.echo(_line(outcome, "would be deleted" if dry_run else "deleted"))
        if not outcomes:
            typer.echo("no consumer declares a retention: nothing is ever deleted")
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error


def _plain(outcome: "Outcome") -> dict[str, Any]:
    return {
        "consumer": outcome.consumer,
        "retention_days": None if outcome.retention is None else outcome.retention.total_seconds() / 86_400,
        "deleted": [
            {"index": day.index, "documents": day.documents, "size_bytes": day.size_bytes} for day in outcome.deleted
        ],
        "kept": outcome.kept,
        "error": None if outcome.error is None else str(outcome.error),
    }


def _line(outcome: "Outcome", verb: str) -> str:
    if outcome.retention is None:
        return f"{outcome.error}"
    failed = "" if outcome.error is None else f"; {outcome.error}"
    days = ", ".join(_day(day) for day in outcome.deleted) or "none"
    return f"{outcome.consumer}: keeps {outcome.retention.days} days; {verb}: {days}; kept: {outcome.kept}{failed}"


def _day(day: "Day") -> str:
    return f"{day.index} ({day.documents} documents, {day.size_bytes / 2**20:.1f} MiB)"

"""`fleetgauge dlq limit` and `dlq accept`: where a dead-letter limit was reached, and that it may go on."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import configure_logging, instant, print_json, print_table
from fleetgauge.cli.selection import AsJson
from fleetgauge.cli.selection import Consumer as ConsumerName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetgauge.ingest.consumer import Consumer
    from fleetgauge.ingest.deadletters.acceptance import LimitState
    from fleetgauge.settings import Settings


def limit(name: ConsumerName, as_json: AsJson = False) -> None:
    """Show by partition whether the dead-letter limit was reached, what is quarantined, and what is accepted.

    \b
    Example:
      fleetgauge dlq limit device-events
    """
    from fleetgauge.ingest.deadletters.acceptance import limit_states

    settings, consumer = _start(name)
    found = limit_states(settings.kafka, consumer)
    if as_json:
        print_json({"consumer": consumer.name, "partitions": [_plain(one) for one in found]})
        return
    _print(consumer, found)


def accept(
    name: ConsumerName,
    error_type: Annotated[
        str, typer.Option("--type", help="Error type of the records, as `dlq limit` shows it, for example contract.")
    ],
    count: Annotated[
        int, typer.Option("--for", min=0, help="At most so many records of each partition; 0 only ends the stop.")
    ],
    value: Annotated[
        str, typer.Option(help="Only records of this value of what dead_letters goes by.", show_default=False)
    ] = "",
    until: Annotated[
        str | None,
        typer.Option(
            help="Not after this instant (ISO 8601, with its offset); by default 24 h from now, at most 7 days."
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks later.", show_default=False)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be accepted, and do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a stopped consumer dead-letter again: records of one error type, so many, for so long.

    Ends the stops and quarantines that the type (and the value) speaks of; what is accepted does not count towards
    the limit. Then start the consumer again.

    \b
    Example:
      fleetgauge dlq accept device-events --type contract --for 5000 --reason "firmware 2.4.1"
    """
    from datetime import UTC, datetime, timedelta

    from fleetgauge.ingest.deadletters.acceptance import AcceptanceRequest
    from fleetgauge.ingest.deadletters.acceptance import accept as grant

    settings, consumer = _start(name)
    end = datetime.now(UTC) + timedelta(days=1) if until is None else instant("--until", until)
    request = AcceptanceRequest(error_type, count, end, value, reason[:200])
    before = grant(settings.kafka, consumer, request, dry_run=dry_run)
    ended = [one.partition for one in before if one.error_type == error_type and value in ("", one.value)]
    if as_json:
        print_json(
            {
                "consumer": consumer.name,
                "dry_run": dry_run,
                "accepted": asdict(request),
                "ended_in_partitions": ended,
                "partitions": [_plain(one) for one in before],
            }
        )
        return
    _print(consumer, before)
    verb = "would be accepted" if dry_run else "accepted"
    of = f" of {consumer.dead_letters.by} {value}" if value else ""
    stops = f"ends the stop of partition {', '.join(map(str, ended))}" if ended else "no partition was stopped by that"
    typer.echo(
        f"{consumer.name}: {verb}: up to {count} records{of} a partition with {error_type}, until "
        f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}; {stops}"
    )


def _start(name: str) -> "tuple[Settings, Consumer]":
    from fleetgauge import settings
    from fleetgauge.ingest.consumer import load_consumer

    configure_logging()
    loaded = settings.load()
    return loaded, load_consumer(loaded.content, name)


def _plain(one: "LimitState") -> dict[str, object]:
    import msgspec

    return {**asdict(one), "accepted": [msgspec.to_builtins(acceptance) for acceptance in one.accepted]}


def _print(consumer: "Consumer", found: "Sequence[LimitState]") -> None:
    from datetime import UTC, datetime

    if not found:
        typer.echo(f"{consumer.name}: the group has not committed anything yet")
        return
    rows = []
    for one in found:
        quarantined = ", ".join(f"{value} ({count})" for value, count in one.quarantined.items())
        accepted = ", ".join(
            f"{a.reason}{f' of {a.value}' if a.value else ''}: {one.used.get(a.id, 0)} of {a.count} until "
            f"{datetime.fromtimestamp(a.until_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}"
            for a in one.accepted
        )
        state = f"stopped: {one.halted}, the last was {one.error_type}" if one.halted else "goes on"
        rows.append((one.partition, one.committed, state, quarantined, accepted))
    print_table(("partition", "committed", "dead letters", "quarantined", "accepted"), rows)

"""`fleetgauge consume`: run consumers as a service."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli import completion
from fleetgauge.cli.output import configure_logging, instant

if TYPE_CHECKING:
    from fleetgauge.ingest.read.rewind import RewindPlan


def consume(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="CONSUMER",
            help="Consumers declared in consumers/, for example device-events.",
            show_default=False,
            autocompletion=completion.consumers,
        ),
    ],
    until_caught_up: Annotated[
        bool,
        typer.Option("--until-caught-up", help="End once everything that is in the topic now is stored and committed."),
    ] = False,
    from_time: Annotated[
        str | None,
        typer.Option(
            help="Read again what was appended to the topic at or after this instant (ISO 8601, with its offset). "
            "Done once: a restart with the same instant goes on.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --from-time: say from where, and do nothing.")
    ] = False,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of /metrics, /healthz and /readyz; 0: any free one; by default the first free from 9400 on.",
            show_default=False,
        ),
    ] = None,
    http_host: Annotated[str, typer.Option(help="Address to serve them on.")] = "127.0.0.1",
    json: Annotated[bool, typer.Option("--json", help="At the end, one JSON object a line for each consumer.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log details.")] = False,
) -> None:
    """Load events from Kafka into Elasticsearch until told to stop (SIGTERM or Ctrl-C: drain, commit, leave).

    Several consumers share the process and its /metrics; give one that needs a processor core a process of its own.

    \b
    Examples:
      fleetgauge consume device-events
      fleetgauge consume device-events --until-caught-up --json
      fleetgauge consume device-events --from-time 2026-11-21T14:00:00+09:00 --dry-run
    """
    import gc
    from json import dumps

    from fleetgauge import settings
    from fleetgauge.errors import Terminal
    from fleetgauge.ingest.consumer import load_consumer
    from fleetgauge.ingest.operate.launch import consume_all
    from fleetgauge.ingest.operate.service import ConsumeOptions
    from fleetgauge.ingest.read import rewind as rewind
    from fleetgauge.observability.status_server import Http

    configure_logging(verbose=verbose)
    config = settings.load()
    declared = [load_consumer(config.content, name) for name in names]
    if len({one.name for one in declared}) < len(declared):
        raise Terminal(f"a consumer is named twice in {' '.join(names)}; name each once")
    back = rewind.Rewind(instant("--from-time", from_time)) if from_time is not None else None
    if dry_run:
        if back is None:
            raise Terminal("--dry-run shows what --from-time would do; give both, or neither")
        for one in declared:
            plan = rewind.plan(config.kafka, one, back)
            typer.echo(dumps(asdict(plan), default=str) if json else _described(plan))
        return
    # Records come and go by the thousand and form no cycles; looking for some costs a tenth of all processor time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    options = ConsumeOptions(until_caught_up=until_caught_up, rewind=back)
    for summary in consume_all(declared, config, options, Http(http_host, http_port)):
        if json:
            typer.echo(dumps(asdict(summary)))
        else:
            events = ", ".join(f"{count} {kind}" for kind, count in summary.events.items())
            typer.echo(f"{summary.consumer}: {events or 'nothing'} in {summary.seconds:.1f} s")


def _described(plan: "RewindPlan") -> str:
    lines = [f"{plan.consumer}: from {plan.since.isoformat()}"]
    for part in plan.partitions:
        line = f"  partition {part.partition}: offset {part.start} of {part.begin} to {part.end}, {part.again} again"
        if part.nothing_left:
            line += "; everything has been deleted by the topic's retention"
        elif part.available_from is not None:
            line += f"; older than {part.available_from.isoformat()} has been deleted by the topic's retention"
        lines.append(line)
    if plan.applied:
        lines.append("  a run with this instant has been rewound already and would go on")
    elif plan.members:
        lines.append(f"  {plan.members} members of the group are running: stop them first")
    return "\n".join([*lines, "  nothing was changed (--dry-run)"])

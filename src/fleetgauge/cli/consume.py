"""`fleetgauge consume`: run one consumer as a service."""

from dataclasses import asdict
from typing import Annotated

import typer

from fleetgauge.cli.output import configure_logging, print_json


def consume(
    name: Annotated[str, typer.Argument(help="A consumer declared in consumers/, for example device-events.")],
    until_caught_up: Annotated[
        bool,
        typer.Option("--until-caught-up", help="End once everything that is in the topic now is stored and committed."),
    ] = False,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of /metrics, /healthz and /readyz; 0 takes a free one.")
    ] = 0,
    http_host: Annotated[str, typer.Option(help="Address to serve them on.")] = "127.0.0.1",
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON at the end.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log details.")] = False,
) -> None:
    """Load events from Kafka into Elasticsearch until told to stop (SIGTERM or Ctrl-C: drain, commit, leave)."""
    import gc

    from fleetgauge import settings
    from fleetgauge.ingest.consumer import load_consumer
    from fleetgauge.ingest.run import Http, consume
    from fleetgauge.ingest.service import Options

    # Records come and go by the thousand and form no cycles; looking for some costs a tenth of all processor time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    configure_logging(verbose=verbose)
    config = settings.load()
    declared = load_consumer(config.content, name)
    summary = consume(declared, config, Options(until_caught_up=until_caught_up), Http(http_host, http_port))
    if json:
        print_json(asdict(summary))
    else:
        events = ", ".join(f"{count} {kind}" for kind, count in summary.events.items())
        typer.echo(f"{summary.consumer}: {events} in {summary.seconds:.1f} s")

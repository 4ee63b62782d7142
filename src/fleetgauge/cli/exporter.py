"""`fleetgauge exporter`: the rollup's state for Prometheus, as a service."""

from typing import Annotated

import typer

from fleetgauge.cli.output import configure_logging


def exporter(
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of /metrics and /healthz; 0: any free one.")
    ] = 9187,
    http_host: Annotated[str, typer.Option(help="Address to serve them on.")] = "127.0.0.1",
    once: Annotated[bool, typer.Option("--once", help="Print what a scrape would give, and end.")] = False,
) -> None:
    """Serve lag, pending and blocked windows, and what runs did, until told to stop (SIGTERM or Ctrl-C).

    Everything is read from the metrics database at each scrape. While that is away, fleetgauge_exporter_up is 0.

    \b
    Examples:
      fleetgauge exporter
      fleetgauge exporter --once
    """
    import signal
    import threading

    import structlog
    from prometheus_client import CollectorRegistry, generate_latest

    from fleetgauge import pipeline, settings, suspects
    from fleetgauge.commands.health import CommandsCollector
    from fleetgauge.ingest.operate.limit_exports import LimitCollector
    from fleetgauge.observability.status_server import Http, StatusServer
    from fleetgauge.rollup import COMMANDS
    from fleetgauge.rollup.operating.business_exports import BusinessCollector
    from fleetgauge.rollup.operating.exports import RollupCollector
    from fleetgauge.rollup.operating.statement_exports import StatementsCollector

    configure_logging()
    loaded = settings.load()
    registry = CollectorRegistry()
    definitions = pipeline.chosen(loaded)
    registry.register(RollupCollector(loaded, definitions, pipeline.broken(loaded.content)))
    registry.register(BusinessCollector(loaded, definitions))
    if any(one.source == COMMANDS for one in definitions.values()):
        registry.register(CommandsCollector(loaded))
    if (of_suspects := suspects.collector(loaded)) is not None:
        registry.register(of_suspects)
    limits = LimitCollector(loaded)
    registry.register(limits)
    statements = StatementsCollector(loaded)
    registry.register(statements)
    if once:
        limits.refresh()
        typer.echo(generate_latest(registry).decode(), nl=False)
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    limits.watch(stop)
    statements.watch(stop)
    server = StatusServer(Http(http_host, http_port), registry, {"exporter": lambda: None}, {"exporter": lambda: None})
    structlog.get_logger(__name__).info("serving", host=http_host, port=server.port)
    try:
        while not stop.is_set():
            stop.wait(0.5)  # a signal that comes in the moment before this thread blocks is handled when it wakes
    finally:
        server.close()

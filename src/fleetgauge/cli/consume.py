"""`fleetgauge consume`: run one consumer as a service."""

from typing import Annotated

import typer


def consume(
    name: Annotated[str, typer.Argument(help="A consumer declared in consumers/, for example device_events.")],
) -> None:
    """Load events from Kafka into Elasticsearch until told to stop."""
    from fleetgauge.errors import Terminal

    raise Terminal(f"consumer {name} cannot run yet; the ingest engine is being built")

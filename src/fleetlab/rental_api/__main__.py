"""`python -m fleetlab.rental_api HOME`: the service for servers that are up, with riders who use it."""

import logging
import socket
import threading
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvicorn
from sqlalchemy import create_engine

from fleetgauge.errors import Transient
from fleetgauge.observability import logs
from fleetlab.rental_api.rider_load import ride_on
from fleetlab.rental_api.service_app import create_app
from fleetlab.stack import Stack

log = structlog.get_logger(__name__)

PORTS = range(9430, 9440)


def listening(wanted: int = 0) -> socket.socket:
    """The wanted port, on loopback; 0: the first free one of `PORTS`, else any."""
    for port in (wanted,) if wanted else (*PORTS, 0):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("127.0.0.1", port))
        except OSError:
            made.close()
            continue
        made.listen(128)
        return made
    raise Transient(f"port {wanted} of 127.0.0.1 is taken; stop what listens there, or choose another")


def main(
    home: Annotated[Path, typer.Argument(help="Of a laboratory that is up.")],
    per_s: Annotated[float, typer.Option(min=0, help="Requests of riders per second; 0: none.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Of the requests.")] = 1,
    http_port: Annotated[int, typer.Option(min=0, help="Where to serve; 0: the first free port from 9430 on.")] = 0,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    logs.configure("rental-api", "json")
    state = Stack(home).state()
    if state is None:
        raise typer.BadParameter(f"no servers run in {home}; start them with fleetlab up")
    url = state.need_postgres().primary_app_url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, pool_size=5, max_overflow=5, connect_args={"application_name": "rental-api"})
    with listening(http_port) as bound:
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        app = create_app(engine, lambda: address, seed)
        log.info("serving", address=address, metrics=f"{address}/metrics")
        stop = threading.Event()
        riders = threading.Thread(target=ride_on, args=(address, stop), kwargs={"per_s": per_s, "seed": seed})
        if per_s:
            riders.start()
        try:
            config = uvicorn.Config(app, log_config=None, access_log=False, log_level=logging.WARNING)
            uvicorn.Server(config).run([bound])
        finally:
            stop.set()
            if per_s:
                riders.join(10)
            engine.dispose()


if __name__ == "__main__":
    typer.run(main)

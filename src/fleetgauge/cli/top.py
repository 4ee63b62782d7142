"""`fleetgauge top`: what the consumers are doing now."""

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fleetgauge.cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleetgauge.ingest.operate.scrape import Row

_HEADINGS = (
    "consumer",
    "process",
    "state",
    "events/s",
    "lag",
    "lag s",
    "ok",
    "duplicate",
    "poison",
    "partitions",
    "paused",
    "retries",
    "in flight",
    "collisions",
    "missed",
)
_NOBODY = "no consumer serves /metrics here; name one with --url"


def top(
    urls: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            help="The /metrics of a process. Repeatable; by default ports 9400 to 9419 of this machine.",
            show_default=False,
        ),
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once (twice, an interval apart, for the rates).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Like --once, as one JSON document.")] = False,
) -> None:
    """Show events per second, lag, classes, pauses and retries by consumer and process, until Ctrl-C.

    \b
    Examples:
      fleetgauge top
      fleetgauge top --url http://127.0.0.1:9400/metrics --once
    """
    from fleetgauge.ingest.operate import scrape as engine
    from fleetgauge.observability.status_server import PORTS

    addresses = urls or [f"http://127.0.0.1:{port}/metrics" for port in PORTS]
    before: engine.Look = engine.look(addresses)

    def look() -> "Sequence[Row]":
        nonlocal before
        time.sleep(interval)
        now = engine.look(addresses)
        shown = engine.rows(before, now, hide_down=urls is None)
        before = now
        return shown

    try:
        if as_json:
            print_json([asdict(row) for row in look()])
        elif once:
            _print(look())
        elif sys.stdout.isatty():
            _live(engine.rows({}, before, hide_down=urls is None), look)
        else:
            while True:
                _print(look())
                sys.stdout.flush()
    except KeyboardInterrupt:
        return


def _print(shown: "Sequence[Row]") -> None:
    if shown:
        print_table(_HEADINGS, [_cells(row) for row in shown])
    else:
        typer.echo(_NOBODY)


def _live(first: "Sequence[Row]", look: "Callable[[], Sequence[Row]]") -> None:
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from fleetgauge.ingest.operate.scrape import total_rate

    def drawn(shown: "Sequence[Row]") -> Table:
        title = f"{total_rate(shown):,.0f} events/s" if shown else _NOBODY
        table = Table(*_HEADINGS, title=title, box=None, pad_edge=False)
        for row in shown:
            style = "" if row.state == "ok" and not row.collisions and not row.missed else "yellow"
            table.add_row(*(Text(cell) for cell in _cells(row)), style=style)
        return table

    with Live(drawn(first), auto_refresh=False, screen=True) as live:
        while True:
            live.update(drawn(look()), refresh=True)


def _cells(row: "Row") -> tuple[str, ...]:
    process = row.url.removeprefix("http://").removesuffix("/metrics")
    if not row.consumer:
        return ("-", process, row.state, *[""] * (len(_HEADINGS) - 3))
    return (
        row.consumer,
        process,
        row.state,
        "-" if row.events_per_second is None else f"{row.events_per_second:,.0f}",
        f"{row.lag_records:,.0f}",
        f"{row.lag_seconds:,.1f}",
        *(f"{row.events.get(kind, 0):,.0f}" for kind in ("ok", "duplicate", "poison")),
        str(row.assigned),
        str(row.paused),
        str(row.retry_depth),
        f"{row.in_flight_bytes / 1024 / 1024:.1f} MiB",
        str(row.collisions),
        str(row.missed),
    )

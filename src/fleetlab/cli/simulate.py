"""`fleetlab simulate`"""

import json
import sys
import threading
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fleetgauge.errors import Terminal
from fleetlab.cli.options import AgeingOption, DecoysOption, HomeOption, JsonOption, WithoutOption
from fleetlab.stack import Stack


def simulate(
    vehicles: Annotated[int | None, typer.Option(help="Scooters on the street; 900.", show_default=False)] = None,
    days: Annotated[int | None, typer.Option(help="Days of history; 3.", show_default=False)] = None,
    rate: Annotated[float | None, typer.Option(help="Rentals a vehicle and day; 2.5.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another city; the same seed and start, the same bytes.")] = 1,
    live_seconds: Annotated[int, typer.Option(help="Seconds that are played live afterwards.")] = 0,
    live_factor: Annotated[
        float | None, typer.Option(help="How much busier they are than usual; 10.", show_default=False)
    ] = None,
    start: Annotated[
        datetime | None, typer.Option(help="Where the history ends and the live stretch begins (UTC); by default now.")
    ] = None,
    unkindness: WithoutOption = None,
    ageing: AgeingOption = None,
    decoys: DecoysOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Fill an empty stack with a scooter company: its database, its events, and the truth to compare with.

    The truth is the file truth.sqlite in the stack's folder.
    """
    # Here and not above: every other command would pay for kafka and SQLAlchemy.
    from fleetlab.simulator import Heartbeat, Scale, Timeline, Truth, load_backlog, run_live
    from fleetlab.simulator.stops import Stops
    from fleetlab.simulator.truth import TRUTH_FILE
    from fleetlab.simulator.unkind import without

    asked: dict[str, Any] = {"vehicles": vehicles, "days": days, "rate": rate, "live_factor": live_factor}
    wanted = {k: v for k, v in {"ageing": ageing, "decoys": decoys}.items() if v is not None}
    stops = Stops(**wanted) if wanted else None
    scale = replace(
        Scale(seed=seed, live_seconds=live_seconds, unkind=without(unkindness or []), stops=stops),
        **{k: v for k, v in asked.items() if v is not None},
    )
    state = Stack(home).state()
    if state is None:
        raise Terminal("no stack is up; run `fleetlab up postgres kafka` first")
    postgres, kafka = state.need_postgres(), state.need_kafka()
    truth_path = Path(state.home) / TRUTH_FILE
    console = Console(stderr=True, highlight=False)
    plan = Timeline.ending(scale, start.replace(tzinfo=UTC) if start else datetime.now(UTC))
    with Heartbeat(postgres.primary_app_url):
        loaded = load_backlog(
            plan,
            primary_url=postgres.primary_app_url,
            dba_url=postgres.primary_admin_url,
            kafka_bootstrap=kafka.bootstrap,
            truth_path=truth_path,
            progress=lambda stage, done, total: console.print(f"{stage}: {done} of {total}"),
        )
        console.print(f"{loaded.records} records, {loaded.rows} rows in {loaded.seconds:.1f} s")
        live = None
        if live_seconds:
            console.print(f"live until {plan.end:%H:%M:%S} UTC; Ctrl-C ends it earlier")
            stop = threading.Event()
            try:
                live = run_live(
                    plan,
                    primary_url=postgres.primary_app_url,
                    kafka_bootstrap=kafka.bootstrap,
                    truth_path=truth_path,
                    stop=stop,
                )
            except KeyboardInterrupt:
                console.print("ended; what was sent until now is in the truth")
    truth = Truth(truth_path)
    commands, rentals = truth.command_counts().get(()), truth.rental_counts().get(())
    summary = {
        "truth": str(truth_path),
        "backlog": asdict(loaded),
        "live": asdict(live) if live else None,
        "events": truth.event_counts(),
        "duplicates": truth.duplicates(),
        "broken": truth.faults(),
        "commands": commands.requested if commands else 0,
        "failure_rate": commands.failure_rate if commands else None,
        "rentals": rentals.started if rentals else 0,
        "sudden_stops": len(truth.sudden_stops()),
    }
    truth.close()
    if json_:
        json.dump(summary, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    for name, value in summary.items():
        typer.echo(f"{name:<14} {value}")

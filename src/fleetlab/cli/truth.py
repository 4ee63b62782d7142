"""`fleetlab truth suspects`"""

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from fleetlab.cli.options import JsonOption

app = typer.Typer(help="What a simulated company was made of, from its seed alone; no server is needed.")

START = datetime(2026, 11, 2)  # noqa: DTZ001 (as typer gives them)
"""Where a timeline begins unless told otherwise (UTC), so that the same seed is the same company tomorrow."""


@app.callback()
def truth() -> None:
    """What a simulated company was made of, from its seed alone; no server is needed."""


@app.command()
def suspects(
    seed: Annotated[int, typer.Option(help="Which company.")] = 1,
    days: Annotated[int, typer.Option(help="Days of history.")] = 7,
    vehicles: Annotated[int, typer.Option(help="Scooters on the street.")] = 2_000,
    rate: Annotated[float, typer.Option(help="Rentals a vehicle and day.")] = 2.5,
    ageing: Annotated[float, typer.Option(help="Share of vehicles that stop while riding.")] = 0.005,
    decoys: Annotated[float, typer.Option(help="Factor on how often something else looks like a sudden stop.")] = 1.0,
    start: Annotated[datetime, typer.Option(help="Where the history begins (UTC).")] = START,
    json_: JsonOption = False,
) -> None:
    """Which vehicles stop while riding, when, and how often something else looks like it.

    `fleetlab simulate` of the same seed, size, `--ageing`, `--decoys`, and `--start` where this history ends, plays
    the same company. Example: fleetlab truth suspects --seed 101 --decoys 2 --json
    """
    from fleetlab.simulator import Scale, Timeline
    from fleetlab.simulator.stops import Stops

    scale = Scale(vehicles, days, rate, seed, live_seconds=0, stops=Stops(ageing, decoys))
    plan = Timeline(scale, start.replace(tzinfo=start.tzinfo or UTC))
    looks = Counter(kind for r in plan.trips.rentals if r.course is not None for kind in r.course.decoys())
    ageing_ones = [v for v in plan.world.vehicles if v.ageing]
    found: dict[str, list[dict[str, str]]] = {v.code: [] for v in ageing_ones}
    for rental in plan.trips.rentals:
        if rental.stopped_ms is not None and rental.stopped_ms <= plan.end_ms:
            found[rental.vehicle.code].append(
                {"trip": rental.id, "stopped_at": _shown(rental.stopped_ms), "trip_ended_at": _shown(rental.ended_ms)}
            )
    answer: dict[str, Any] = {
        "seed": seed,
        "start": plan.start.isoformat(),
        "end": plan.end.isoformat(),
        "vehicles": vehicles,
        "ageing": ageing,
        "decoys": decoys,
        "rides": len(plan.trips.rentals),
        "suspects": [{"vehicle": code, "stops": stops} for code, stops in found.items() if stops],
        "ageing_without_a_stop": [code for code, stops in found.items() if not stops],
        "looks_like_a_stop": dict(sorted(looks.items())),
    }
    if json_:
        json.dump(answer, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    for one in answer["suspects"]:
        typer.echo(f"{one['vehicle']}  {len(one['stops'])} stops, first {one['stops'][0]['stopped_at']}")
    typer.echo(
        f"{len(answer['suspects'])} of {vehicles} vehicles stopped while riding, "
        f"{len(answer['ageing_without_a_stop'])} more age and have not yet; {len(plan.trips.rentals)} rides"
    )


def _shown(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")

"""`python -m bench.suspects`: precision and recall on simulated companies, with and without twice as many decoys."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.suspects.company import Size
from bench.suspects.evaluate import Verdict, best_plain_rule, gather, judged


def main(
    first: Annotated[int, typer.Option(help="The first seed; the method was tuned on seeds below 101.")] = 101,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    vehicles: Annotated[int, typer.Option(help="Of each company.")] = 2_000,
    days: Annotated[int, typer.Option(help="Of each company.")] = 7,
    ageing: Annotated[float, typer.Option(help="Share of vehicles that stop while riding.")] = 0.005,
    decoys: Annotated[
        list[float] | None, typer.Option(help="Factors on the decoys; 1 and 2.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """Simulate each seed, judge it as the daily run would, and compare with who was planted."""
    told: list[dict[str, Any]] = []
    for factor in decoys or [1.0, 2.0]:
        size = Size(vehicles, days, ageing, factor)
        with ProcessPoolExecutor(workers) as pool:
            companies = list(pool.map(partial(gather, size=size), range(first, first + seeds)))
        verdict, plain = judged(companies), best_plain_rule(companies)
        typer.echo(f"decoys x {factor:g}, seeds {first} to {first + seeds - 1}, {vehicles} vehicles, {days} days:")
        typer.echo(f"  method      {_shown(verdict)}")
        typer.echo(f"  plain rule  {_shown(plain.verdict)}  ({plain.what} of {plain.minutes} minutes or more)")
        told.append(
            {"size": asdict(size), "method": _figures(verdict), "plain_rule": asdict(plain) | _figures(plain.verdict)}
        )
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=2))


def _shown(verdict: Verdict) -> str:
    return (
        f"precision {verdict.precision:.3f}  recall {verdict.recall:.3f}"
        f"  ({verdict.right} right, {verdict.wrong} wrong, {verdict.missed} missed)"
    )


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "precision": verdict.precision, "recall": verdict.recall}


if __name__ == "__main__":
    typer.run(main)

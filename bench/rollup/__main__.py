"""`python -m bench.rollup`: the rollup tables of docs/measured.md, measured anew."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from bench.rollup import changes, dashboards, documents, runs
from bench.rollup.lab import laboratory


def main(
    rows: Annotated[
        list[int] | None, typer.Option(help="Rentals; repeat it. 300,000 and 3,000,000 by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Sets of changes, and runs of each kind.")] = 3,
    only: Annotated[
        str,
        typer.Option(help="a fleetgauge, b full SQL, c pandas, d dbt, e documents, r runs, q queries of dashboards."),
    ] = "abcderq",
    seed: Annotated[int, typer.Option(help="Of rentals and changes.")] = 1,
    scattered: Annotated[bool, typer.Option(help="Rentals lie in no order of time; by default as they began.")] = False,
    statements: Annotated[int, typer.Option(help="Show so many statements of each run, those that touch most.")] = 0,
    home: Annotated[Path | None, typer.Option(help="A running laboratory to use; else one is started.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """Cost of a change beside the alternatives, runs, and queries of dashboards; one run on one machine."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    lines: list[str] = []
    bars: dict[str, bool] = {}
    figures: dict[str, Any] = {"seed": seed, "scattered": scattered}
    with laboratory(home) as servers:
        postgres = servers.need_postgres()
        if wanted := "".join(letter for letter in "abcd" if letter in only):
            typer.echo(f"seed {seed}")
            sizes = rows or [300_000, 3_000_000]
            lanes = [
                lane
                for size in sizes
                for lane in changes.measure(
                    postgres, size, rounds, wanted, seed, scattered=scattered, statements=statements
                )
            ]
            _add(changes.report(sorted(lanes, key=lambda lane: (lane.letter, lane.rows))), lines, bars)
            figures["changes"] = [lane.figures() for lane in lanes]
        if "r" in only:
            measured = runs.measure(postgres, rounds)
            _add(runs.report(measured), lines, bars)
            figures["runs"] = [asdict(run) for run in measured]
        if "q" in only:
            medians = dashboards.measure(postgres)
            _add(dashboards.report(medians), lines, bars)
            figures["queries"] = medians
    if "e" in only:  # a laboratory of its own: Kafka and Elasticsearch are no company for the others
        with laboratory(home, ("postgres", "kafka", "elasticsearch")) as servers:
            run = documents.measure(servers, rounds)
        _add(runs.report([run]), lines, bars)
        figures["documents"] = asdict(run)
    figures["bars"] = bars
    typer.echo("\n".join(["", *lines, *(f"{'holds ' if held else 'BROKEN'}  {bar}" for bar, held in bars.items())]))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2))


def _add(report: tuple[list[str], dict[str, bool]], lines: list[str], bars: dict[str, bool]) -> None:
    lines += [*report[0], ""]
    bars |= report[1]


if __name__ == "__main__":
    typer.run(main)

"""The cost of 100 changed rows: does it follow the change or the size of the table?"""

import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from bench.rollup.contenders import DBT, Contender, Dbt, Fleetgauge, FullSql, Pandas
from bench.rollup.lab import Databases, databases
from bench.rollup.measure import Cost, measured
from bench.rollup.workload import CHANGED, SCHEMA, change, fill, truth, wrong
from fleetlab.stack import PostgresState

BUFFERS = 35_000
"""What a run may touch at the largest size."""
GROWTH = 1.5
"""What the buffers may grow by from the smallest size to the largest."""


@dataclass
class Lane:
    """What one contender did at one size."""

    rows: int
    letter: str
    title: str
    costs: list[Cost] = field(default_factory=list)
    wrong: list[dict[str, int]] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Of a field of the costs."""
        return float(statistics.median(getattr(cost, name) for cost in self.costs))

    def figures(self) -> dict[str, Any]:
        """Plain values."""
        rounds = [
            {"ms": c.ms, "buffers": c.buffers, "cpu_s": c.cpu_s, "wrong": w}
            for c, w in zip(self.costs, self.wrong, strict=True)
        ]
        return {"rows": self.rows, "contender": self.title, "rounds": rounds}


def measure(
    postgres: PostgresState, rows: int, rounds: int, only: str, seed: int, *, scattered: bool, statements: int
) -> list[Lane]:
    """All contenders at one size, on the same changes; minutes at 3,000,000 rows."""
    with (
        tempfile.TemporaryDirectory(prefix="fleetgauge-bench-dbt-") as folder,
        databases(postgres, f"bench_{rows}", SCHEMA) as found,
    ):
        fill(found, rows, seed, scattered=scattered)
        known: dict[str, Contender] = {
            "a": Fleetgauge(found),
            "b": FullSql(found),
            "c": Pandas(found),
            "d": Dbt(found, Path(folder)),
        }
        if "d" in only and not DBT.exists():
            typer.echo("dbt could not be installed into .venv-bench-dbt; going on without it")
            only = only.replace("d", "")
        contenders = {letter: contender for letter, contender in known.items() if letter in only}
        lanes = {letter: Lane(rows, letter, contender.title) for letter, contender in contenders.items()}
        for letter, contender in contenders.items():
            typer.echo(f"  {rows} rows: ({letter}) {contender.title} computes everything once")
            contender.prepare()
        for number in range(rounds):
            _round(found, contenders, lanes, seed + number, statements)
        return list(lanes.values())


def _round(
    found: Databases, contenders: dict[str, Contender], lanes: dict[str, Lane], seed: int, statements: int
) -> None:
    # Fleetgauge comes last here and first below, or minutes that went by meanwhile would be part of its run.
    for contender in reversed(contenders.values()):
        contender.settle()
    change(found, next(iter(lanes.values())).rows, seed)
    for letter, contender in contenders.items():
        found.beat()
        with measured(found, contender.logins) as cost:
            contender.run()
        lanes[letter].costs.append(cost)
    truth(found)
    for letter, contender in contenders.items():
        lane, cost = lanes[letter], lanes[letter].costs[-1]
        lane.wrong.append(wrong(found, contender.tables()))
        typer.echo(f"  {lane.rows} rows, changes of seed {seed}: {_line(lane)}")
        for one in cost.statements[:statements]:
            typer.echo(f"      {one.server:8}{one.calls:4} calls {one.buffers:9} buffers  {one.text[:140]}")


def report(lanes: list[Lane]) -> tuple[list[str], dict[str, bool]]:
    """Lines for people, and which bars hold. The bars need two sizes."""
    lines = [f"{CHANGED} rows changed, medians{'':16} rows        ms   buffers  client CPU  wrong minutes/hours/days"]
    for lane in lanes:
        worst = {grain: max(w[grain] for w in lane.wrong) for grain in lane.wrong[0]}
        lines.append(
            f"({lane.letter}) {lane.title:34}{lane.rows:9}{lane.median('ms'):10.0f}{lane.median('buffers'):10.0f}"
            f"{lane.median('cpu_s'):10.2f} s  {'/'.join(map(str, worst.values()))}"
        )
    ours = sorted((lane for lane in lanes if lane.letter == "a"), key=lambda lane: lane.rows)
    bars: dict[str, bool] = {}
    if ours:
        bars["0 windows wrong"] = not any(any(w.values()) for lane in ours for w in lane.wrong)
        least, most = ours[0], ours[-1]
        bars[f"≤ {BUFFERS} buffers at {most.rows} rows"] = most.median("buffers") <= BUFFERS
        if least is not most:
            growth = most.median("buffers") / least.median("buffers")
            bars[f"buffers grow ≤ {GROWTH} from {least.rows} to {most.rows} rows: {growth:.2f}"] = growth <= GROWTH
    return lines, bars


def _line(lane: Lane) -> str:
    cost, missed = lane.costs[-1], "/".join(map(str, lane.wrong[-1].values()))
    return f"({lane.letter}) {cost.ms:8.0f} ms {cost.buffers:9} buffers, wrong {missed}"

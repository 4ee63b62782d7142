"""`python -m bench.isolation`: what dashboards cost production, with and without the aggregates."""

import json
import logging
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import structlog
import typer

from bench.isolation.pin import busy, pinned
from bench.isolation.production import Load, Pgbench
from bench.isolation.viewers import DEFINITION, ON_AGGREGATES, ON_PRODUCTION, VIEWERS, Seen, rolling_up, viewers
from bench.rollup.lab import Databases, databases, laboratory
from bench.rollup.workload import SCHEMA, fill
from fleetgauge.rollup import raise_failures, run_metrics
from fleetgauge.rollup.store.migrate import migrate
from fleetlab.simulator import Heartbeat

SHARE = 0.3
"""Of what the primary can do at most."""
THROUGHPUT = 0.97
LATENCY = 1.2
QUIET_PERCENT = 10.0
MEMORY = Path("/dev/shm")
"""Where the servers' files lie, if the system has it: production and the metrics database would not share a disk."""

PHASES = {
    "idle": "nobody looks",
    "busy": f"{VIEWERS} processes that only count, other core",
    "a": f"{VIEWERS} viewers on production's tables",
    "b": f"{VIEWERS} viewers on the aggregates, runs beside",
}


@dataclass(frozen=True)
class Round:
    """One phase of one round."""

    phase: str
    load: Load
    dashboards: int
    """Opened to the end."""
    dashboard_s: float | None
    runs: int


def main(
    rows: Annotated[int, typer.Option(help="Rentals of 180 days.")] = 300_000,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each phase runs, taking turns.")] = 3,
    seconds: Annotated[float, typer.Option(min=2, help="Length of a phase.")] = 30,
    only: Annotated[str, typer.Option(help="Phases beside idle: a, b.")] = "ab",
    seed: Annotated[int, typer.Option(help="Of the rentals.")] = 1,
    home: Annotated[Path | None, typer.Option(help="A running laboratory to use; else one is started.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """pgbench on the primary at 30 % of its maximum, on a core of its own, while twenty people open a dashboard."""
    others = psutil.cpu_percent(2.0)
    if others > QUIET_PERCENT:
        typer.echo(
            f"other work takes {others:.0f} % of this machine and will move to the primary's core: judge nothing"
        )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with (
        tempfile.TemporaryDirectory(prefix="fleetgauge-bench-pgbench-") as folder,
        laboratory(home, folder=MEMORY if MEMORY.is_dir() else None) as servers,
        databases(servers.need_postgres(), "bench_isolation", SCHEMA) as found,
    ):
        _prepare(found, rows, seed)
        with pinned(servers.need_postgres()) as cores, Heartbeat(found.url("primary", "scooter_app")):
            pgbench = Pgbench(found, cores.production, Path(folder))
            pgbench.prepare(rows)
            most = pgbench.most(seconds)
            typer.echo(f"{rows} rentals; primary and pgbench on core {cores.production}: at most {most:.0f} per second")
            runs = []
            for number in range(rounds):
                for phase in ("idle", "busy", *(p for p in "ab" if p in only)):
                    runs.append(_run(found, pgbench, phase, SHARE * most, seconds))
                    load = runs[-1].load
                    typer.echo(f"  round {number + 1} {phase:5}{load.per_s:8.1f}/s  p99 {load.p99_ms:9.2f} ms")
    lines, bars = _report(runs)
    typer.echo("\n".join([*lines, *(f"{'holds ' if held else 'BROKEN'}  {bar}" for bar, held in bars.items())]))
    if json_file is not None:
        figures = {"rows": rows, "most_per_s": most, "runs": [asdict(run) for run in runs], "bars": bars}
        json_file.write_text(json.dumps(figures, indent=2))


def _prepare(found: Databases, rows: int, seed: int) -> None:
    fill(found, rows, seed)
    found.primary.execute("GRANT SELECT, UPDATE ON rentals TO scooter_app")
    migrate(found.settings, {DEFINITION.metric: DEFINITION})
    raise_failures(run_metrics(found.settings, [DEFINITION], "minute"))
    found.metrics.execute("VACUUM (ANALYZE)")


def _run(found: Databases, pgbench: Pgbench, phase: str, rate: float, seconds: float) -> Round:
    with _audience(found, phase) as seen:
        load = pgbench.at(rate, seconds)
        dashboards = list(seen.opened)
    return Round(phase, load, len(dashboards), statistics.median(dashboards) if dashboards else None, seen.runs)


@contextmanager
def _audience(found: Databases, phase: str) -> Iterator[Seen]:
    if phase == "a":
        with viewers(found.url("primary", "postgres"), ON_PRODUCTION) as seen:
            yield seen
    elif phase == "busy":
        with busy(VIEWERS):
            yield Seen()
    elif phase == "b":
        with viewers(found.url("metrics", "grafana"), ON_AGGREGATES) as seen, rolling_up(found, seen):
            yield seen
    else:
        yield Seen()


def _report(runs: list[Round]) -> tuple[list[str], dict[str, bool]]:
    lines = [f"{'medians':50} per s    of idle   p99 ms    × idle   dashboards  seconds each  runs"]
    bars: dict[str, bool] = {}
    of = {phase: [run for run in runs if run.phase == phase] for phase in PHASES}
    idle, control = _median(of["idle"]), _median(of["busy"])
    for phase, found in of.items():
        if not found:
            continue
        load = _median(found)
        share, slower = load.per_s / idle.per_s, load.p99_ms / idle.p99_ms
        dashboards = [run.dashboard_s for run in found if run.dashboard_s is not None]
        lines.append(
            f"{phase:5}{PHASES[phase]:44}{load.per_s:8.1f}{share:10.3f}{load.p99_ms:9.2f}{slower:10.2f}"
            f"{statistics.median(run.dashboards for run in found):9.0f}"
            f"{statistics.median(dashboards) if dashboards else 0:12.2f}"
            f"{sum(run.runs for run in found):9}"
        )
        if phase == "b":
            bars[f"(b) throughput ≥ {THROUGHPUT} of idle"] = share >= THROUGHPUT
            bars[f"(b) p99 ≤ {LATENCY} × idle"] = slower <= LATENCY
            # Two virtual cores are not quite two machines: this is what the pipeline itself is to blame for.
            bars[f"(b) p99 ≤ {LATENCY} × that of the control"] = load.p99_ms <= LATENCY * control.p99_ms
        if phase == "a":
            bars["(a) hurts: less throughput or a longer p99 than (b) may have"] = (
                share < THROUGHPUT or slower > LATENCY
            )
    return lines, bars


def _median(runs: list[Round]) -> Load:
    return Load(statistics.median(r.load.per_s for r in runs), statistics.median(r.load.p99_ms for r in runs))


if __name__ == "__main__":
    typer.run(main)

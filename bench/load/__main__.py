"""`python -m bench.load`: dashboards' queries by many viewers, and the pipeline at several rates."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from dashboards.queries import panel_queries, settled

from bench.ingest.contenders import Field
from bench.ingest.workload import produce
from bench.load.company import company
from bench.load.stream_rates import at_rate
from bench.rollup.lab import ROOT
from fleetgauge import settings
from fleetlab.stack import StackState, layout
from fleetlab.stack.processes import Processes

USERS = (75, 150, 300)
PER_SECOND = (30, 50)
RATES = {386: 1, 2_000: 1, 35_000: 2}
"""Events per second → consumer processes."""
CONNECTIONS = 8
"""As Grafana's data source may open (dashboards/provisioning/datasources)."""
SPANS = (timedelta(hours=1), timedelta(days=1), timedelta(days=30), timedelta(days=180))


def main(
    seconds: Annotated[float, typer.Option(min=5, help="Length of a row.")] = 30,
    only: Annotated[str, typer.Option(help="d: dashboards, p: pipeline.")] = "dp",
    vehicles: Annotated[int, typer.Option(help="Size of the company.")] = 300,
    days: Annotated[int, typer.Option(help="Days of its history.")] = 3,
    home: Annotated[Path | None, typer.Option(help="Folder of a laboratory that keeps running.")] = None,
    seed: Annotated[int, typer.Option(help="Which panels, over which ranges; 0: any.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """Prints both tables; each row with the machine's load when it began."""
    seed = seed or random.SystemRandom().randrange(10**6)
    typer.echo(f"seed {seed}")
    figures: dict[str, list[dict[str, Any]]] = {"dashboards": [], "pipeline": []}
    with company(home, vehicles, days) as state, tempfile.TemporaryDirectory(prefix="fleetgauge-bench-") as made:
        folder = Path(made)
        if "d" in only:
            _dashboards(state, folder, seconds, seed, figures["dashboards"])
        if "p" in only:
            _pipeline(state, folder, seconds, figures["pipeline"])
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2))
    if any(row["errors"] for row in figures["dashboards"]):
        raise typer.Exit(1)


def _dashboards(state: StackState, folder: Path, seconds: float, seed: int, figures: list[dict[str, Any]]) -> None:
    url = state.need_postgres().grafana_url
    panels = list(_panels(url))
    typer.echo(f"{len(panels)} panels' queries, over an hour to half a year, through {CONNECTIONS} connections")
    typer.echo("users  asked/s  answered/s  p50 ms  p95 ms  p99 ms  errors  load")
    for users in USERS:
        for per_second in PER_SECOND:
            order = {
                "url": url,
                "connections": CONNECTIONS,
                "users": users,
                "per_second": per_second,
                "seconds": seconds,
                "seed": seed,
                "panels": panels,
            }
            file = folder / "order.json"
            file.write_text(json.dumps(order))
            load = os.getloadavg()[0]
            done = subprocess.run(
                [sys.executable, "-m", "bench.load.panel_users", str(file)], capture_output=True, text=True, cwd=ROOT
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            row = json.loads(done.stdout.splitlines()[-1]) | {"users": users, "asked": per_second, "load": load}
            figures.append(row)
            typer.echo(
                f"{users:5} {per_second:8} {row['per_second']:11.1f} {row['p50']:7.0f} {row['p95']:7.0f} "
                f"{row['p99']:7.0f} {row['errors']:7} {load:5.1f}  {row['first_error'][:80]}"
            )


def _panels(url: str) -> Iterator[tuple[str, str]]:
    """Every panel of every hand-written dashboard that reads the metrics database, as Grafana would ask it."""
    until = datetime.now(UTC)
    with psycopg.connect(url, autocommit=True) as viewer:

        def ask(sql: str) -> str:
            row = viewer.execute(sql).fetchone()
            return "" if row is None or row[0] is None else str(row[0])

        for path in sorted((ROOT / "dashboards" / "generated").glob("fleetgauge-*.json")):
            dashboard = json.loads(path.read_text("utf-8"))
            for span in SPANS:
                chosen = settled(dashboard, {}, until - span, until, ask)
                for query in panel_queries(dashboard, chosen, until - span, until):
                    yield path.stem, query.sql


def _pipeline(state: StackState, folder: Path, seconds: float, figures: list[dict[str, Any]]) -> None:
    loaded = settings.load(Path(state.config))
    workload = produce(loaded, 20_000)
    field = Field(loaded.model_copy(update={"content": folder}), Path(state.config), workload, folder)
    server = list(Processes(layout.find(Path(state.home))).family("elasticsearch"))
    typer.echo(
        "asked/s  appended/s  stored/s  lag p95  behind at the end  consumers: cores  Elasticsearch: cores  load"
    )
    for rate, processes in RATES.items():
        load = os.getloadavg()[0]
        row = at_rate(field, rate, seconds, processes, server)
        figures.append(asdict(row) | {"load": load})
        typer.echo(
            f"{rate:7} {row.appended:11.0f} {row.stored:9.0f}  ≤ {row.lag_p95_s:4g} s {row.behind:18} "
            f"{row.consumer_cores:12.2f} ({processes}) {row.server_cores:17.2f} {load:9.1f}"
        )


if __name__ == "__main__":
    typer.run(main)

"""`python -m bench.panels`: processor time of every query of every dashboard, over an hour to half a year."""

import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from dashboards.queries import DashboardQuery, dashboard_queries, settled

from bench.load.company import company
from bench.panels.half_year import repeat
from bench.rollup.lab import ROOT
from fleetgauge import settings
from fleetlab.stack import StackState

LIMIT_MS = 100
SPANS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "30d": timedelta(days=30), "180d": timedelta(days=180)}


@dataclass(frozen=True)
class Timed:
    """What a query takes of its session's processor, warm; milliseconds."""

    median: float
    least: float
    planning: float
    """Of the median, what EXPLAIN takes; what a session plans once in a function is not in it."""
    rows: int
    dashboard: str
    span: str
    kind: str
    name: str


def main(
    only: Annotated[str, typer.Option(help="Part of the dashboards' uids.")] = "",
    span: Annotated[str, typer.Option(help="1h, 1d, 30d or 180d alone.")] = "",
    home: Annotated[Path | None, typer.Option(help="Folder of a laboratory that keeps running.")] = None,
    filled: Annotated[bool, typer.Option(help="Its half year is there already.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """Prints what takes more than half of the bar; fails where something takes more than it."""
    with company(home, vehicles=300, days=2) as state:
        if not filled:
            repeat(state.need_postgres(), settings.load(Path(state.config)))
        found = sorted(_timed(state, only, [span] if span else [*SPANS]), key=lambda one: -one.median)
    above = sum(one.median > LIMIT_MS for one in found)
    typer.echo(f"{len(found)} queries, {above} above {LIMIT_MS} ms; load {os.getloadavg()[0]:.1f}")
    typer.echo("median   least  planning    rows")
    for one in found:
        if one.median > LIMIT_MS / 2:
            name = f"{one.dashboard} {one.span} {one.kind}: {one.name}"
            typer.echo(f"{one.median:6.0f} {one.least:7.0f} {one.planning:9.0f} {one.rows:7}  {name}")
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(one) for one in found], indent=2))
    if above:
        raise typer.Exit(1)


def _timed(state: StackState, only: str, spans: list[str]) -> Iterator[Timed]:
    until = datetime.now(UTC).replace(minute=17, second=0, microsecond=0)  # minutes at the edges
    with psycopg.connect(state.need_postgres().grafana_url, autocommit=True) as viewer:

        def ask(sql: str) -> str:
            row = viewer.execute(sql).fetchone()
            return "" if row is None or row[0] is None else str(row[0])

        for path in sorted((ROOT / "dashboards" / "generated").glob("*.json")):
            if only not in path.stem:
                continue
            dashboard = json.loads(path.read_text("utf-8"))
            for span in spans:
                since = until - SPANS[span]
                chosen = settled(dashboard, {}, since, until, ask)
                for query in dashboard_queries(dashboard, chosen, since, until):
                    yield _one(viewer, query, path.stem, span)


def _one(viewer: psycopg.Connection, query: DashboardQuery, dashboard: str, span: str) -> Timed:
    for _ in range(2):
        rows = len(viewer.execute(query.sql).fetchall())
    whole, planned = [], []
    for _ in range(5):
        begun = _processor_ms(viewer)
        viewer.execute(query.sql).fetchall()
        whole.append(_processor_ms(viewer) - begun)
        begun = _processor_ms(viewer)
        viewer.execute(f"EXPLAIN {query.sql}").fetchall()
        planned.append(_processor_ms(viewer) - begun)
    return Timed(
        statistics.median(whole), min(whole), statistics.median(planned), rows, dashboard, span, query.kind, query.name
    )


def _processor_ms(session: psycopg.Connection) -> float:
    """What the server's process of the session has used so far."""
    return int(Path(f"/proc/{session.info.backend_pid}/schedstat").read_text().split()[0]) / 1e6


if __name__ == "__main__":
    if sys.platform != "linux":
        sys.exit("processor time of a session is read from /proc, which Linux alone has")
    typer.run(main)

"""`python -m bench.freshness`: from the commit and from the append to the number, by schedule and in a loop."""

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import psutil
import psycopg
import typer
from kafka import KafkaProducer

from bench.freshness.probes import RentalProbe, TipProbe, Watcher, watch
from bench.rollup.lab import ROOT, laboratory
from fleetgauge import pipeline
from fleetgauge import settings as fleetgauge_settings
from fleetgauge.rollup.execute.delay import BOUNDS
from fleetlab.demo.airflow_api import AirflowApi
from fleetlab.demo.beside import Beside
from fleetlab.simulator import Heartbeat, Scale, Timeline, load_backlog, run_live
from fleetlab.simulator.truth import TRUTH_FILE
from fleetlab.stack import StackState, layout
from fleetlab.stack.processes import Processes
from fleetlab.stack.state import SERVICES

CONSUMERS = ("device_events", "device_commands")
PROMISED = {"minute schedule": 65.0, "run --follow": 10.0}
"""Seconds at the 99th percentile."""
DAG = "fleetgauge_minute"
SETTLES_S = 20.0
"""What a loop does at its start is no freshness."""
PATIENCE_S = 180.0
STARTED_S = 900.0
BACK = {"minute schedule": timedelta(hours=20), "run --follow": timedelta(hours=13)}
"""How far back the minutes of a phase's probes lie: the company does nothing there any more."""


@dataclass(frozen=True)
class Phase:
    """What was seen of one way to run."""

    name: str
    seconds: float
    """How long it was watched."""
    probes: dict[str, list[float]]
    """Kind of probe → seconds until its number was there, sorted."""
    unseen: int
    exported: dict[str, float]
    """p50 and p99 of `fleetgauge_rollup_delay_seconds` over the metrics of the probes."""
    cpu_s: dict[str, float]
    """Processor time by part of the stack."""


def main(
    seconds: Annotated[float, typer.Option(min=30, help="Length of a phase.")] = 600,
    only: Annotated[str, typer.Option(help="Phases in their order: m (minute schedule), f (run --follow).")] = "mf",
    vehicles: Annotated[int, typer.Option(help="Size of the company.")] = 300,
    home: Annotated[Path | None, typer.Option(help="Folder of a laboratory that keeps running.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """A company rides; probes of both kinds are made all the while, and looked for as Grafana's role."""
    typer.echo(f"others take {psutil.cpu_percent(2.0):.0f} % of this machine's processors")
    found: list[Phase] = []
    with (
        laboratory(home, SERVICES) as state,
        _company(state, vehicles, 3 * seconds + 2 * STARTED_S),
        _airflow(state) as airflow,
    ):
        _caught_up(airflow)
        for one in only:
            found.append(_scheduled(state, airflow, seconds) if one == "m" else _followed(state, airflow, seconds))
            typer.echo("\n".join(_lines(found[-1])))
            if json_file is not None:  # after each: the next takes ten minutes
                json_file.write_text(json.dumps([asdict(phase) for phase in found], indent=2))
    if not all(_holds(one) for one in found):
        raise typer.Exit(1)


def _scheduled(state: StackState, airflow: AirflowApi, seconds: float) -> Phase:
    airflow.unpause([DAG])
    return _phase(state, "minute schedule", seconds, lambda: None)


def _followed(state: StackState, airflow: AirflowApi, seconds: float) -> Phase:
    airflow.pause([DAG])
    _wait("the end of the last tasks", lambda: not airflow.working())
    folder = layout.find(Path(state.home))
    command = [sys.executable, "-m", "fleetgauge", "--config", state.config, "run", "--follow"]
    name = Beside(folder.home).start("follow", command, ROOT)
    time.sleep(SETTLES_S)
    try:
        return _phase(state, "run --follow", seconds, lambda: _ended(folder, name))
    finally:
        Processes(folder).stop([name])


@contextmanager
def _company(state: StackState, vehicles: int, live_s: float) -> Iterator[None]:
    """A day of a company is loaded, and rides on as long as the block lasts."""
    home = Path(state.home)
    postgres, kafka = state.need_postgres(), state.need_kafka()
    plan = Timeline.ending(Scale(vehicles=vehicles, days=2, live_seconds=math.ceil(live_s)), datetime.now(UTC))
    primary, truth = postgres.primary_app_url, home / TRUTH_FILE
    load_backlog(
        plan,
        primary_url=primary,
        dba_url=postgres.primary_admin_url,
        kafka_bootstrap=kafka.bootstrap,
        truth_path=truth,
        source_sql=ROOT / "sql" / "source",
    )
    pipeline.migrate(fleetgauge_settings.load(Path(state.config)))
    for name in CONSUMERS:
        command = [sys.executable, "-m", "fleetgauge", "--config", state.config, "consume", name]
        Beside(home).start(f"consumer-{name}", command, ROOT)
    stop = threading.Event()
    with Heartbeat(postgres.primary_app_url), ThreadPoolExecutor(1) as pool:
        live = pool.submit(
            lambda: run_live(plan, primary_url=primary, kafka_bootstrap=kafka.bootstrap, truth_path=truth, stop=stop)
        )
        try:
            yield
        finally:
            stop.set()
            live.result()


def _caught_up(airflow: AirflowApi) -> None:
    airflow.unpause([DAG])

    def through() -> bool:
        return sum(run.state == "success" for run in airflow.runs(DAG)) >= 2

    _wait("two minute runs", through)


def _phase(state: StackState, name: str, seconds: float, failed: Callable[[], str | None]) -> Phase:
    postgres = state.need_postgres()
    first = datetime.now(UTC).replace(second=0, microsecond=0) - BACK[name]
    producer = KafkaProducer(bootstrap_servers=state.need_kafka().bootstrap, linger_ms=0)
    with psycopg.connect(postgres.primary_app_url, autocommit=True) as primary:
        probes = (RentalProbe(primary), TipProbe(producer))
        watchers = [Watcher(probe, postgres.grafana_url, first) for probe in probes]
        cpu, delays, began = _cpu(state), _delays(postgres.metrics_admin_url), time.monotonic()
        watch(watchers, seconds, PATIENCE_S, failed)
        took, after = time.monotonic() - began, _delays(postgres.metrics_admin_url)
        spent = {part: round(now - cpu.get(part, 0.0), 1) for part, now in _cpu(state).items()}
    producer.close()
    counted = {bound: after.get(bound, 0.0) - delays.get(bound, 0.0) for bound in BOUNDS}
    return Phase(
        name,
        round(took, 1),
        {one.probe.name: sorted(round(s, 2) for s in one.seconds) for one in watchers},
        sum(len(one.pending) for one in watchers),
        {f"p{share * 100:.0f}": round(of_buckets(counted, share), 1) for share in (0.5, 0.99)},
        spent,
    )


def of_buckets(counted: dict[float, float], share: float) -> float:
    """A quantile of a histogram as Prometheus would tell it: evenly spread within a bucket."""
    wanted, below, lower = share * sum(counted.values()), 0.0, 0.0
    for bound, n in sorted(counted.items()):
        if n and below + n >= wanted:
            return lower if math.isinf(bound) else lower + (bound - lower) * (wanted - below) / n
        below += n
        lower = bound
    return math.nan


def quantile(values: list[float], share: float) -> float:
    """Nearest rank, of sorted values."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def _delays(url: str) -> dict[float, float]:
    with psycopg.connect(url) as metrics:
        rows = metrics.execute(
            "SELECT at_most_s, sum(seconds) FROM fleetgauge.delay WHERE metric IN ('rental', 'tip_over') GROUP BY 1"
        )
        return {float(bound): float(n) for bound, n in rows.fetchall()}


def _cpu(state: StackState) -> dict[str, float]:
    """Processor seconds by process of the stack, their ended children included."""
    processes = Processes(layout.find(Path(state.home)))
    found = {}
    for name in processes.names():
        total = 0.0
        for process in processes.family(name):
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.Error:
                continue
        found[name] = total
    return found


def _ended(folders: layout.Layout, name: str) -> str | None:
    return None if Processes(folders).pid(name) is not None else f"{name} has ended; see its log in {folders.logs}"


def _airflow(state: StackState) -> AirflowApi:
    login = state.need_airflow()
    return AirflowApi(login.url, login.username, login.password)


def _wait(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STARTED_S
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {STARTED_S:.0f} s for {what}")
        time.sleep(1)


def _holds(phase: Phase) -> bool:
    p99 = max(quantile(values, 0.99) for values in phase.probes.values())
    return not phase.unseen and p99 <= PROMISED[phase.name]


def _lines(phase: Phase) -> Iterator[str]:
    yield f"{phase.name}: {phase.seconds:.0f} s, {phase.unseen} probe(s) never seen"
    for kind, values in phase.probes.items():
        p50, p99, most = quantile(values, 0.5), quantile(values, 0.99), max(values, default=math.nan)
        yield f"  {kind:24} {len(values):4} probes   p50 {p50:6.1f} s   p99 {p99:6.1f} s   most {most:6.1f} s"
    p50, p99 = phase.exported["p50"], phase.exported["p99"]
    yield f"  exported, an upper bound              p50 {p50:6.1f} s   p99 {p99:6.1f} s"
    spent = sorted(phase.cpu_s.items(), key=lambda one: -one[1])
    yield "  processor seconds: " + ", ".join(f"{part} {used:.0f}" for part, used in spent if used >= 0.5)
    yield f"  {'holds ' if _holds(phase) else 'BROKEN'} p99 ≤ {PROMISED[phase.name]:.0f} s"


if __name__ == "__main__":
    typer.run(main)

"""`python -m bench.ingest`: the table of docs/ingest.md, measured anew."""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psutil
import typer

from bench.ingest import contenders, latency, storage
from bench.ingest.contenders import Field, Started
from bench.ingest.measure import Run, watch
from bench.ingest.workload import Elasticsearch, consuming_alone, produce
from fleetgauge import settings
from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.ingest.indices.event_indices import Indices
from fleetgauge.ingest.operate.launch import contracts_of
from fleetlab.stack import Silent, Stack


def main(
    events: Annotated[int, typer.Option(help="Events in the topic.")] = 300_000,
    rounds: Annotated[int, typer.Option(help="Times that each contender runs, taking turns.")] = 3,
    only: Annotated[
        str, typer.Option(help="Letters of the contenders, and s and l for storage and latency.")
    ] = "abcdefsl",
    home: Annotated[Path | None, typer.Option(help="A running laboratory to use; else one is started.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """Kafka → Elasticsearch: rates, processor time, memory, latency and storage of one run on one machine."""
    folder = Path(tempfile.mkdtemp(prefix="fleetgauge-bench-"))
    folder.chmod(0o755)
    stack = Stack(home or folder / "lab")
    try:
        state = stack.up({"kafka", "elasticsearch"}, progress=Silent(), guard=home is None)
        figures = _measure(Path(state.config), folder, events, rounds, only)
        if json_file is not None:
            json_file.write_text(json.dumps(figures, indent=2))
    finally:
        if home is None:
            stack.down(wipe=True)
        shutil.rmtree(folder, ignore_errors=True)


def _measure(config: Path, folder: Path, events: int, rounds: int, only: str) -> dict[str, object]:
    config_settings = settings.load(config)
    workload = produce(config_settings, events)
    field = Field(config_settings.model_copy(update={"content": folder}), config, workload, folder)
    typer.echo(f"{workload.events} events of {workload.mean_bytes:.0f} bytes, {len(workload.days)} days")
    bodies = folder / "bodies"
    if "a" in only:
        storage.write_bodies(field, bodies)
    lanes: dict[str, tuple[str, Callable[[str], Started]]] = {
        "a": ("ready-made bytes, 2 connections", lambda name: contenders.blast(field, name, bodies)),
        "b": ("fleetgauge consume, 1 process", lambda name: contenders.fleetgauge(field, name)),
        "c": ("fleetgauge consume, 2 processes", lambda name: contenders.fleetgauge(field, name, 2)),
        "d": ("kafka-python + helpers.bulk", lambda name: contenders.helpers_bulk(field, name)),
        "e": ("Quix Streams' sink", lambda name: contenders.quix(field, name)),
        "f": ("rsyslog, no ids, no checks", lambda name: contenders.rsyslog(field, name)),
    }
    alone = [consuming_alone(config_settings, workload) for _ in range(rounds)] if "b" in only else []
    missing = {"e": not contenders.QUIX.exists(), "f": shutil.which("rsyslogd") is None}
    runs: dict[str, list[Run]] = {letter: [] for letter in lanes if letter in only and not missing.get(letter)}
    if runs:
        _one(field, "bench-warm", lanes["b"][1])  # the server's compiler has seen it all before anything counts
    for number in range(rounds):
        for letter in runs:
            run = _one(field, f"bench-{letter}{number}", lanes[letter][1])
            runs[letter].append(run)
            typer.echo(f"  round {number + 1} {letter} {run.events_per_s:8.0f}/s {run.cpu_us:6.1f} µs")
    typer.echo(f"{'':34} events/s   CPU/event  server CPU   memory")
    medians = {letter: _median(found) for letter, found in runs.items()}
    for letter, run in medians.items():
        share = f"{run.events_per_s / medians['a'].events_per_s:.2f} of (a)" if "a" in medians else ""
        typer.echo(
            f"({letter}) {lanes[letter][0]:30} {run.events_per_s:8.0f} {run.cpu_us:8.1f} µs "
            f"{run.server_cpu_us:8.1f} µs {run.rss_mb:6.0f} MB  {share}"
        )
    if alone:
        yardstick = statistics.median(alone)
        typer.echo(
            f"kafka-python alone, consuming and nothing else: {yardstick:.1f} µs per event on this machine, idle; "
            f"(b) costs {medians['b'].cpu_us / yardstick:.2f} of it"
        )
    figures: dict[str, object] = {
        "consuming_alone_us": alone,
        "workload": asdict(workload),
        "runs": {letter: [asdict(run) for run in found] for letter, found in runs.items()},
    }
    if "s" in only:
        kept = storage.measure(field)
        figures["storage"] = asdict(kept)
        typer.echo("\n".join(storage.lines(kept)))
    if "l" in only:
        slow = latency.measure(field)
        figures["latency"] = asdict(slow)
        typer.echo(
            f"append to acknowledgement at {latency.RATE} events/s for {latency.SECONDS} s: "
            f"p50 ≤ {slow.p50:g} s, p99 ≤ {slow.p99:g} s ({slow.fetches} fetches, the oldest record of each)"
        )
    return figures


def _one(field: Field, name: str, start: Callable[[str], Started]) -> Run:
    server = Elasticsearch(field.settings.elasticsearch.url)
    server.delete(name)
    bulk = ElasticsearchBulk(field.settings.elasticsearch)
    indices = Indices(bulk, name, contracts_of(field.settings, contenders.consumer_of(field, name)))
    indices.prepare()
    # Everybody finds the indices ready, a single one for those that cannot choose by event time.
    indices.ensure([f"{name}-{day}" for day in (*field.workload.days, "all")])
    bulk.close()
    process = psutil.Process(_server_pid(field))
    begun = start(name)
    try:
        return watch(begun.processes, [process], lambda: server.indexed(name), field.workload.events, begun.go)
    finally:
        for one in begun.processes:
            one.terminate()
        for one in begun.processes:
            one.wait(40)
            if one.stdin is not None:
                one.stdin.close()
        server.delete(name)
        server.ask("DELETE", f"/_index_template/fleetgauge-{name}")
        time.sleep(2)  # merges and deletions of one run are no burden for the next


def _server_pid(field: Field) -> int:
    port = int(field.settings.elasticsearch.url.rpartition(":")[2])
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            assert connection.pid is not None
            return connection.pid
    raise RuntimeError("Elasticsearch is not on this machine")


def _median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, name) for run in runs) for name in Run.__dataclass_fields__))


if __name__ == "__main__":
    typer.run(main)

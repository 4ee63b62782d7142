"""People who open a six-month dashboard again and again: on production's tables, or on the aggregates."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from pydantic import TypeAdapter

from bench.rollup.lab import Databases
from bench.rollup.workload import ZONE
from fleetgauge.rollup import Definition, raise_failures, run_metrics

VIEWERS = 20
PASS_EVERY_S = 5.0

DEFINITION: Definition = TypeAdapter(Definition).validate_python(
    {
        "metric": "ride",
        "source": "operations",
        "event_time": "started_at",
        "change_time": "updated_at",
        "time_zone": ZONE,
        "dimensions": {"zone": {"column": "zone", "limit": 16}, "model": {"column": "model", "limit": 4}},
        "measures": {
            "rentals": {"agg": "count"},
            "refunded": {"agg": "count", "where": {"status": "refunded"}},
            "fare": {"agg": "sum", "of": "fare", "type": "numeric"},
            "fare_spread": {"agg": "percentile", "of": "fare"},
        },
        "rollups": {"total": [], "by_zone": ["zone"], "by_model": ["model"]},
        "source_sql": "SELECT zone, model, started_at, fare, status, updated_at FROM rentals",
    }
)

_DAY = f"date_trunc('day', started_at, '{ZONE}')"
_RAW = "FROM rentals WHERE started_at >= now() - interval '180 days'"
_SINCE = "window_start >= now() - interval '180 days'"
_TOTAL, _ZONE, _MODEL, _ALL = (
    f"FROM metrics.ride_{level} WHERE {_SINCE}" for level in ("total_day", "by_zone_day", "by_model_day", "day")
)
_P95 = "percentile_disc(0.95) WITHIN GROUP (ORDER BY fare)"
_SKETCH = "fleetgauge.quantile(fleetgauge.sketch_merge(fare_spread), 0.95)"

# The same six panels.
ON_PRODUCTION = (
    f"SELECT count(*), sum(fare) {_RAW}",
    f"SELECT {_DAY}, count(*), sum(fare) {_RAW} GROUP BY 1 ORDER BY 1",
    f"SELECT {_DAY}, zone, count(*) {_RAW} GROUP BY 1, 2 ORDER BY 1, 2",
    f"SELECT model, zone, count(*) FILTER (WHERE status = 'refunded')::float8 / count(*) {_RAW} GROUP BY 1, 2",
    f"SELECT {_DAY}, {_P95} {_RAW} GROUP BY 1 ORDER BY 1",
    f"SELECT model, {_P95} {_RAW} GROUP BY 1",
)
ON_AGGREGATES = (
    f"SELECT sum(rentals), sum(fare) {_TOTAL}",
    f"SELECT window_start, sum(rentals), sum(fare) {_TOTAL} GROUP BY 1 ORDER BY 1",
    f"SELECT window_start, zone, sum(rentals) {_ZONE} GROUP BY 1, 2 ORDER BY 1, 2",
    f"SELECT model, zone, sum(refunded)::float8 / sum(rentals) {_ALL} GROUP BY 1, 2",
    f"SELECT window_start, {_SKETCH} {_TOTAL} GROUP BY 1 ORDER BY 1",
    f"SELECT model, {_SKETCH} {_MODEL} GROUP BY 1",
)


@dataclass
class Seen:
    """What the viewers saw."""

    opened: list[float] = field(default_factory=list)
    """Seconds that each dashboard took to open."""
    runs: int = 0


@contextmanager
def viewers(url: str, queries: tuple[str, ...]) -> Iterator[Seen]:
    """Twenty of them, each on a connection of its own, without a pause, until the block ends."""
    seen, stop = Seen(), threading.Event()
    connections = [psycopg.connect(url, autocommit=True) for _ in range(VIEWERS)]

    def view(connection: psycopg.Connection[Any]) -> None:
        with suppress(psycopg.errors.QueryCanceled):
            while not stop.is_set():
                begin = time.perf_counter()
                for query in queries:
                    connection.execute(query).fetchall()
                seen.opened.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=view, args=(c,), daemon=True) for c in connections]
    with _running(threads, stop):
        try:
            yield seen
        finally:
            stop.set()
            # A cancellation that comes between two queries has no effect, so it is sent until the thread has ended.
            while any(thread.is_alive() for thread in threads):
                for connection, thread in zip(connections, threads, strict=True):
                    if thread.is_alive():
                        connection.cancel_safe()
                        thread.join(0.2)
    for connection in connections:
        connection.close()


@contextmanager
def rolling_up(databases: Databases, seen: Seen) -> Iterator[None]:
    """Incremental runs, one every few seconds, where Airflow would make one each minute."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.wait(PASS_EVERY_S):
                raise_failures(run_metrics(databases.settings, [DEFINITION], "minute"))
                seen.runs += 1
        except Exception as error:  # told by the main thread
            failed.append(error)

    with _running([threading.Thread(target=work, daemon=True)], stop):
        yield
    if failed:
        raise failed[0]


@contextmanager
def _running(threads: list[threading.Thread], stop: threading.Event) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)

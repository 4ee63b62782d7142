"""On Airflow's own scheduler: its backfill and a cleared task recompute their intervals, whoever spoilt the rows.

One Airflow for all, since nothing takes longer to start.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from laboratory_folder import fast_folder

from fleetgauge import pipeline
from fleetgauge.settings import load
from fleetlab.stack import Stack, StackState

ROOT = Path(__file__).parents[3]
MINUTE = timedelta(minutes=1)
METRIC = """
metric: ride
source: operations
event_time: happened_at
change_time: changed_at
dimensions: {zone: {column: zone, limit: 4}}
measures: {n: {agg: count}, length: {agg: sum, of: length}}
"""
FACTS = """
CREATE TABLE facts (happened_at timestamptz, changed_at timestamptz, zone text, length integer);
CREATE TABLE fleetgauge_heartbeat (id integer PRIMARY KEY, beat_at timestamptz, oldest_xact_start timestamptz);
GRANT SELECT ON facts, fleetgauge_heartbeat TO fleetgauge_reader;
INSERT INTO facts SELECT t, now() - interval '1 hour', 'a', 7
FROM generate_series(date_trunc('minute', now()) - interval '4 hours', now(), interval '20 seconds') AS t;
INSERT INTO fleetgauge_heartbeat VALUES (1, clock_timestamp(), clock_timestamp() - interval '1 second');
"""
PROBE = """
import os, sys
from airflow.sdk import dag, task

@dag(dag_id="probe", schedule=None)
def probe():
    @task
    def tell():
        return [os.environ["FLEETGAUGE_CONFIG"], "fleetgauge.pipeline" in sys.modules]
    tell()

probe()
"""
BEGIN = datetime.now(UTC).replace(minute=10, second=0, microsecond=0) - timedelta(hours=2)


@dataclass
class Lab:
    """A stack with this project's DAG over one metric."""

    state: StackState
    metrics: psycopg.Connection[Any]
    table: str
    api: httpx.Client

    def lengths(self) -> list[int]:
        """The minutes that are spoilt, as they are stored."""
        span = [BEGIN, BEGIN + 2 * MINUTE]
        rows = self.metrics.execute(
            f"SELECT length FROM store.{self.table} WHERE window_start BETWEEN %s AND %s ORDER BY window_start",
            span,
        ).fetchall()
        return [row[0] for row in rows]

    def spoil(self) -> None:
        self.metrics.execute(f"UPDATE store.{self.table} SET length = 0 WHERE window_start < %s", [BEGIN + 3 * MINUTE])

    def call(self, method: str, path: str, **body: Any) -> Any:
        answer = self.api.request(method, f"/api/v2/{path}", json=body or None)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return answer.json()


def until(condition: Callable[[], Any], limit_s: float = 300) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="fleetlab-dags-", dir=fast_folder()))
    folder.chmod(0o755)
    home = folder / "sql" / "metrics" / "ride"
    home.mkdir(parents=True)
    (home / "metric.yaml").write_text(METRIC)
    (home / "source.sql").write_text("SELECT happened_at, changed_at, zone, length FROM facts")
    (folder / "dags").mkdir()
    shutil.copy(ROOT / "dags" / "fleetgauge_rollup.py", folder / "dags")
    (folder / "dags" / "probe.py").write_text(PROBE)
    stack = Stack(folder / "lab", project=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AIRFLOW_HOME", raising=False)
        patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/nowhere")  # a developer's own Airflow must not interfere
        try:
            state = stack.up({"airflow"}, guard=True, wipe_on_guard=True)
            postgres, airflow = state.need_postgres(), state.need_airflow()
            with psycopg.connect(postgres.url("primary", "postgres", "scooter"), autocommit=True) as app:
                app.execute(FACTS)
                lsn = app.execute("SELECT pg_current_wal_flush_lsn()").fetchone()[0]
            with psycopg.connect(postgres.replica_admin_url, autocommit=True) as replica:
                until(lambda: replica.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [lsn]).fetchone()[0])
            patch.setenv("FLEETGAUGE_CONFIG", state.config)
            patch.setenv("FLEETGAUGE_CONTENT", str(folder))
            settings = load()
            pipeline.migrate(settings)
            pipeline.run(settings, "operations", "minute")
            (definition,) = pipeline.chosen(settings).values()
            login = {"username": airflow.username, "password": airflow.password}
            with (
                psycopg.connect(postgres.url("metrics", "postgres", "metrics"), autocommit=True) as metrics,
                httpx.Client(base_url=airflow.url, timeout=30, trust_env=False) as api,
            ):
                token = api.post("/auth/token", json=login).json()["access_token"]
                api.headers["Authorization"] = f"Bearer {token}"
                yield Lab(state, metrics, definition.table(definition.levels[0]), api)
        finally:
            stack.down(wipe=True)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(900)
def test_airflow_backfill_and_a_cleared_task_recompute_their_interval(lab: Lab) -> None:
    right = lab.lengths()
    assert right == [21, 21, 21]
    dag = "dags/fleetgauge_minute"
    until(lambda: lab.api.get(f"/api/v2/{dag}").is_success)
    lab.call("PATCH", dag, is_paused=False)

    lab.spoil()
    assert lab.lengths() == [0, 0, 0]
    span = {"from_date": BEGIN.isoformat(), "to_date": (BEGIN + MINUTE).isoformat()}
    made = lab.call("POST", "backfills", dag_id="fleetgauge_minute", reprocess_behavior="completed", **span)
    until(lambda: lab.call("GET", f"backfills/{made['id']}")["completed_at"])
    assert lab.lengths() == [21, 21, 0]  # its two minutes, and no other

    runs = lab.call("GET", f"{dag}/dagRuns?run_type=backfill&order_by=logical_date")["dag_runs"]
    runs = [run for run in runs if run["run_type"] == "backfill"]
    assert [datetime.fromisoformat(run["data_interval_start"]) for run in runs] == [BEGIN, BEGIN + MINUTE]
    lab.spoil()
    run = runs[1]["dag_run_id"]
    lab.call("POST", f"{dag}/clearTaskInstances", dag_run_id=run, dry_run=False, only_failed=False)

    def over() -> bool:
        found = lab.call("GET", f"{dag}/dagRuns/{run}/taskInstances/operations")
        return bool(found["state"] == "success" and found["try_number"] > 1)

    until(over)
    assert lab.lengths() == [0, 21, 0]


@pytest.mark.timeout(900)
def test_a_task_runs_with_the_configuration_of_the_stack(lab: Lab) -> None:
    until(lambda: lab.call("GET", "dags?exclude_stale=true&dag_id_pattern=probe")["dags"])
    assert lab.call("GET", "dags/probe")["is_paused"] is True
    lab.call("PATCH", "dags/probe", is_paused=False)
    run = lab.call("POST", "dags/probe/dagRuns", logical_date=None)["dag_run_id"]

    def state() -> str:
        return str(lab.call("GET", f"dags/probe/dagRuns/{run}")["state"])

    until(lambda: state() not in ("queued", "running"))
    assert state() == "success"
    told = lab.call("GET", f"dags/probe/dagRuns/{run}/taskInstances/tell/xcomEntries/return_value")["value"]
    assert told == [lab.state.config, True], "and with what the scheduler imported before it (FLEETLAB_AIRFLOW_PRELOAD)"
    with psycopg.connect(lab.state.need_postgres().airflow_url) as metadata:
        assert metadata.execute("SELECT count(*) FROM dag_run WHERE dag_id = 'probe'").fetchone() == (1,)
    memory = {one.service: one.memory_bytes for one in Stack(Path(lab.state.home)).status()}
    assert memory["airflow"] < 10**9, memory

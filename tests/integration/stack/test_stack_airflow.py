"""Airflow runs a task on the scheduler, with the configuration of the stack, in a stack with one DAG of its own."""

import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fleetlab.stack import AirflowState, Stack, StackState

DAG = """
import os
from airflow.sdk import dag, task

@dag(dag_id="probe", schedule=None)
def probe():
    @task
    def tell():
        return os.environ["FLEETGAUGE_CONFIG"]
    tell()

probe()
"""


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[StackState]:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/nowhere")  # a developer's own Airflow must not interfere
    folder = Path(tempfile.mkdtemp(prefix="fleetlab-airflow-"))
    (folder / "dags").mkdir()
    (folder / "dags" / "probe.py").write_text(DAG)
    stack = Stack(folder / "lab", project=folder)
    yield stack.up({"airflow"}, guard=True, wipe_on_guard=True)
    stack.down(wipe=True)
    shutil.rmtree(folder)


def call(airflow: AirflowState, path: str, token: str | None, body: dict[str, Any] | None, method: str) -> Any:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{airflow.url}{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def test_a_task_runs_with_the_configuration_of_the_stack(running: StackState) -> None:
    airflow = running.need_airflow()
    login = {"username": airflow.username, "password": airflow.password}
    token = call(airflow, "/auth/token", None, login, "POST")["access_token"]

    def api(path: str, body: dict[str, Any] | None = None, method: str = "GET") -> Any:
        return call(airflow, f"/api/v2/{path}", token, body, method)

    end = time.monotonic() + 200
    while not (dags := api("dags?exclude_stale=true&dag_id_pattern=probe")["dags"]):
        assert time.monotonic() < end, api("importErrors")
        time.sleep(0.5)
    assert dags[0]["is_paused"] is True
    api("dags/probe", {"is_paused": False}, "PATCH")
    run = api("dags/probe/dagRuns", {"logical_date": None}, "POST")["dag_run_id"]
    while (state := api(f"dags/probe/dagRuns/{run}")["state"]) in ("queued", "running"):
        assert time.monotonic() < end, state
        time.sleep(0.5)
    assert state == "success"
    told = api(f"dags/probe/dagRuns/{run}/taskInstances/tell/xcomEntries/return_value")["value"]
    assert told == running.config
    with psycopg.connect(running.need_postgres().airflow_url) as metadata:
        assert metadata.execute("SELECT count(*) FROM dag_run WHERE dag_id = 'probe'").fetchone() == (1,)
    memory = {one.service: one.memory_bytes for one in Stack(Path(running.home)).status()}
    assert memory["airflow"] < 10**9, memory

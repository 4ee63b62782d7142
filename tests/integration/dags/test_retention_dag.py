"""The retention DAG as Airflow parses it, and what its task makes of outcomes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PARSE = """
import json, runpy, socket, sys
from datetime import UTC, datetime, timedelta
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

def refuse(*_): raise AssertionError("a DAG file opened a connection")
socket.socket.connect = refuse
from fleetgauge.errors import Stop, Transient
from fleetgauge.ingest import retention
from fleetgauge.ingest.retention import Day, Outcome

found = runpy.run_path(sys.argv[1])
(dag,) = [value for value in found.values() if isinstance(value, DAG)]
(task,) = dag.tasks
gone = Outcome("raw", timedelta(days=9), (Day("raw-2020.01.01", datetime(2020, 1, 1, tzinfo=UTC), 1, 1),))
busy, refused = Outcome("busy", error=Transient("busy")), Outcome("refused", error=Stop("refused"))

def ends(*outcomes):
    retention.run = lambda settings: list(outcomes)
    try:
        return task.python_callable()
    except Exception as error:
        return [type(error).__name__, str(error)]

print(json.dumps({
    "dag": [dag.dag_id, dag.catchup, dag.max_active_runs, type(dag.timetable).__name__],
    "ends": [ends(gone), ends(gone, busy), ends(busy, refused)],
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/unused.db",
        "FLEETGAUGE_CONTENT": str(ROOT),
    }
    environment.pop("FLEETGAUGE_CONFIG", None)
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags" / "fleetgauge_retention.py")],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_runs_once_a_day_and_never_twice_at_a_time(told: Any) -> None:
    assert told["dag"] == ["fleetgauge_retention", False, 1, "CronDataIntervalTimetable"]


def test_trouble_with_one_consumer_fails_the_task_and_is_retried_only_if_that_can_help(told: Any) -> None:
    assert told["ends"] == [
        {"raw": ["raw-2020.01.01"]},
        ["Transient", "busy"],
        ["AirflowFailException", "busy; refused"],
    ]

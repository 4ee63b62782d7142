"""The DAG files as Airflow parses them: without any database, and with the tables as Assets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetgauge.rollup import load_definitions

ROOT = Path(__file__).parents[3]

PARSE = """
import json, runpy, socket, sys
from airflow.sdk import DAG  # Airflow itself may look at its configuration before the doors are shut

def refuse(*_): raise AssertionError("a DAG file opened a connection")
socket.socket.connect = refuse
import psycopg
psycopg.connect = refuse
found = runpy.run_path(sys.argv[1])
dags = [value for value in found.values() if isinstance(value, DAG)]
print(json.dumps({
    dag.dag_id: {
        "tasks": {t.task_id: {"in": [a.name for a in t.inlets], "out": [a.name for a in t.outlets]} for t in dag.tasks},
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "timetable": type(dag.timetable).__name__,
    }
    for dag in dags
}))
"""


@pytest.fixture(scope="module")
def dags(parse: Callable[[str, str], Any]) -> dict[str, Any]:
    parsed: dict[str, Any] = parse(PARSE, "fleetgauge_rollup.py")
    return parsed


def test_there_is_a_dag_for_each_grain_and_a_task_for_each_source(dags: dict[str, Any]) -> None:
    assert set(dags) == {"fleetgauge_minute", "fleetgauge_hour", "fleetgauge_day"}
    for dag in dags.values():
        assert set(dag["tasks"]) == {"commands", "device_events", "operations"}


def test_a_backlog_is_one_run(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        assert dag["timetable"] == "CronDataIntervalTimetable"


def test_tables_are_assets_made_of_the_grain_below(dags: dict[str, Any]) -> None:
    definitions = load_definitions(ROOT)
    for grain, below in (("minute", None), ("hour", "minute"), ("day", "hour")):
        tasks = dags[f"fleetgauge_{grain}"]["tasks"]
        for source in {one.source for one in definitions.values()}:
            own = [one for name, one in sorted(definitions.items()) if one.source == source]
            assert tasks[source] == {
                "in": [f"metrics.{one.metric}_{below}" for one in own if below in one.grains],
                "out": [f"metrics.{one.metric}_{grain}" for one in own if grain in one.grains],
            }
    minutes = dags["fleetgauge_minute"]["tasks"]
    assert {"metrics.rental_minute", "metrics.vehicle_state_minute"} <= set(minutes["operations"]["out"])
    days = dags["fleetgauge_day"]["tasks"]["device_events"]
    assert "metrics.odometer_day" in days["out"] and "metrics.odometer_hour" not in days["in"], "it has days alone"


def test_tables_are_compared_with_each_source_every_day(parse: Callable[[str, str], Any]) -> None:
    (dag,) = parse(PARSE, "fleetgauge_reconcile.py").values()
    assert set(dag["tasks"]) == {"commands", "device_events", "operations"}
    assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)

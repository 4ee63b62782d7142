"""The fleet DAG as Airflow parses it, and what its task makes of errors."""

from collections.abc import Callable
from typing import Any

PARSE = """
import json, runpy, socket, sys
from datetime import date
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

def refuse(*_): raise AssertionError("a DAG file opened a connection")
socket.socket.connect = refuse
from fleetgauge import suspects
from fleetgauge.errors import Stop, Transient
from fleetgauge.fleet.suspect_run import DayReport

found = runpy.run_path(sys.argv[1])
(dag,) = [value for value in found.values() if isinstance(value, DAG)]
(task,) = dag.tasks

def ends(outcome):
    def run(settings):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    suspects.run = run
    try:
        return task.python_callable()
    except Exception as error:
        return [type(error).__name__, str(error)]

print(json.dumps({
    "id": dag.dag_id, "catchup": dag.catchup, "retries": task.retries, "zone": str(dag.timetable.timezone),
    "done": ends([DayReport(date(2026, 11, 20), "judged", "not judged yet", 5)]),
    "busy": ends(Transient("busy")), "refused": ends(Stop("refused")),
}))
"""


def test_the_dag_calls_the_engine_and_retries_only_what_may_pass(parse: Callable[[str, str], Any]) -> None:
    found = parse(PARSE, "fleetgauge_fleet.py")
    assert (found["id"], found["catchup"], found["retries"]) == ("fleetgauge_fleet", False, 3)
    assert "Seoul" in found["zone"]
    assert found["done"][0]["date"] == "2026-11-20" and found["done"][0]["trips"] == 5
    assert found["busy"] == ["Transient", "busy"]
    assert found["refused"] == ["AirflowFailException", "refused"]

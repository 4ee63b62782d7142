"""The retention DAG as Airflow parses it, and what its task makes of outcomes."""

from collections.abc import Callable
from typing import Any

import pytest

PARSE = """
import json, runpy, socket, sys
from datetime import UTC, datetime, timedelta
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

def refuse(*_): raise AssertionError("a DAG file opened a connection")
socket.socket.connect = refuse
from fleetgauge.errors import Stop, Transient
from fleetgauge.ingest.operate import index_retention as retention
from fleetgauge.ingest.operate.index_retention import Day, RetentionOutcome as Outcome

found = runpy.run_path(sys.argv[1])
(dag,) = [value for value in found.values() if isinstance(value, DAG)]
tasks = {task.task_id: task for task in dag.tasks}
task = tasks["delete_expired_days"]
gone = Outcome("raw", timedelta(days=9), (Day("raw-2020.01.01", datetime(2020, 1, 1, tzinfo=UTC), 1, 1),))
busy, refused = Outcome("busy", error=Transient("busy")), Outcome("refused", error=Stop("refused"))

def ends(*outcomes):
    retention.run = lambda settings: list(outcomes)
    try:
        return task.python_callable()
    except Exception as error:
        return [type(error).__name__, str(error)]

from fleetgauge import pipeline
from fleetgauge.rollup.operating.expire import Dropped

def drops(*dropped):
    pipeline.drop_partitions = lambda settings: list(dropped)
    try:
        return tasks["drop_expired_partitions"].python_callable()
    except Exception as error:
        return [type(error).__name__, str(error)]

print(json.dumps({
    "drops": [drops(Dropped("a", ("a_minute_202001",))), drops(Dropped("a"), Dropped("b", error="is locked"))],
    "dag": [dag.dag_id, dag.catchup, dag.max_active_runs, type(dag.timetable).__name__],
    "ends": [ends(gone), ends(gone, busy), ends(busy, refused)],
}))
"""


@pytest.fixture(scope="module")
def told(parse: Callable[[str, str], Any]) -> Any:
    return parse(PARSE, "fleetgauge_retention.py")


def test_it_runs_once_a_day_and_never_twice_at_a_time(told: Any) -> None:
    assert told["dag"] == ["fleetgauge_retention", False, 1, "CronDataIntervalTimetable"]


def test_trouble_with_one_consumer_fails_the_task_and_is_retried_only_if_that_can_help(told: Any) -> None:
    assert told["ends"] == [
        {"raw": ["raw-2020.01.01"]},
        ["Transient", "busy"],
        ["AirflowFailException", "busy; refused"],
    ]


def test_partitions_go_in_a_task_of_their_own(told: Any) -> None:
    assert told["drops"] == [{"a": ["a_minute_202001"]}, ["Transient", "metric b: is locked"]]

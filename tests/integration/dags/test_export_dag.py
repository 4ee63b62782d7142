"""The export DAG as Airflow parses it; its task gives the engine the store that Airflow's ObjectStoragePath opens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PARSE = """
import json, os, runpy, socket, sys
from datetime import UTC, datetime
from pathlib import Path
from airflow.sdk import DAG

def refuse(*_): raise AssertionError("a DAG file opened a connection")
socket.socket.connect = refuse

found = runpy.run_path(sys.argv[1])
(dag,) = [value for value in found.values() if isinstance(value, DAG)]
light = "pandas" not in sys.modules and "pyarrow" not in sys.modules
run, now = found["run"], datetime(2026, 11, 20, 19, tzinfo=UTC)

import pyarrow as pa
from fleetgauge import nightly_exports
from fleetgauge.analytics.parquet_file import put_file
from fleetgauge.errors import Stop, Transient

def ends(outcome, export="day_rows"):
    def work(settings, store, root, at):
        assert at == now
        if isinstance(outcome, Exception):
            raise outcome
        batch = pa.record_batch({"n": outcome})
        folder = f"{root}/ride_day"
        return {"ride": put_file(store, folder, f"{folder}/date=2026-11-20/p.parquet", batch.schema, [batch])}
    nightly_exports.export_aggregates = nightly_exports.export_raw = work
    try:
        return run(export, now)
    except Exception as error:
        return [type(error).__name__, str(error)]

nowhere = ends([1])
folder = Path.cwd() / "exported"
os.environ["FLEETGAUGE_EXPORT__INTO"] = f"file://{folder}"
written = ends([1, 2, 3])
again = ends([4, 5], "raw_days")
files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
import pyarrow.parquet as pq
os.environ["FLEETGAUGE_EXPORT__INTO"] = "nosuch://bucket/fleet"
unknown = ends([1])
os.environ["FLEETGAUGE_EXPORT__INTO"] = f"file://{folder}"
print(json.dumps({
    "dag": [dag.dag_id, dag.catchup, dag.max_active_runs, sorted(task.task_id for task in dag.tasks)],
    "light": light, "nowhere": nowhere[0], "written": written, "again": again, "files": files,
    "rows": pq.ParquetFile(folder / files[0]).read()["n"].to_pylist(),
    "unknown": unknown, "busy": ends(Transient("busy")), "refused": ends(Stop("refused")),
}))
"""


@pytest.fixture(scope="module")
def told(parse: Callable[[str, str], Any]) -> Any:
    return parse(PARSE, "fleetgauge_export.py")


def test_it_runs_once_a_night_and_loads_nothing_heavy_to_be_parsed(told: Any) -> None:
    assert told["dag"] == ["fleetgauge_export", False, 1, ["export_day_rows", "export_raw_days"]]
    assert told["light"]


def test_files_lie_where_airflows_path_says(told: Any) -> None:
    assert told["nowhere"] == "AirflowSkipException"
    assert told["written"] == {"ride": 3} and told["again"] == {"ride": 2}
    assert told["files"] == [str(Path("ride_day") / "date=2026-11-20" / "p.parquet")]
    assert told["rows"] == [4, 5]


def test_only_what_may_pass_is_tried_again(told: Any) -> None:
    assert told["busy"] == ["Transient", "busy"]
    kind, said = told["unknown"]
    assert kind == "AirflowFailException" and "nosuch" in said and "install the provider" in said
    assert told["refused"] == ["AirflowFailException", "refused"]

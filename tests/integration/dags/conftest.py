"""Parses a DAG file as Airflow's DAG processor would: in a process of its own, without a database or a server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """`parse(code, file)` runs `code` with the path of a file in `dags/`; gives the JSON of its last line."""

    def run(code: str, file: str) -> Any:
        home = tmp_path_factory.mktemp("airflow")
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/unused.db",
            "FLEETGAUGE_CONTENT": str(ROOT),
            "FLEETGAUGE_METRICS__URL": "postgresql://nobody@127.0.0.1:1/nothing",
        }
        environment.pop("FLEETGAUGE_CONFIG", None)
        done = subprocess.run(
            [sys.executable, "-c", code, str(ROOT / "dags" / file)],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not (home / "unused.db").exists()
        return json.loads(done.stdout.splitlines()[-1])

    return run

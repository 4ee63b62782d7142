"""Parses a DAG file as Airflow's DAG processor would: in a fork of a process that has imported Airflow, without a
database or a server.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

PROCESSOR = """
import json, os, sys, traceback
import airflow.sdk, airflow.sdk.exceptions  # takes longer than all else, so once for all files

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        failed = 1
        try:
            sys.argv = ["-c", asked["file"]]
            with open(asked["told"], "w") as sys.stdout:
                exec(asked["code"], {"__name__": "__main__"})
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(failed)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Any]]:
    """`parse(code, file)` runs `code` with the path of a file in `dags/`; gives the JSON of its last line."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/unused.db",
        "FLEETGAUGE_CONTENT": str(ROOT),
        "FLEETGAUGE_METRICS__URL": "postgresql://nobody@127.0.0.1:1/nothing",
    }
    environment.pop("FLEETGAUGE_CONFIG", None)
    errors, told = home / "errors", home / "told"
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", PROCESSOR],
            env=environment,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as processor,
    ):
        assert processor.stdin is not None and processor.stdout is not None
        stdin, stdout = processor.stdin, processor.stdout

        def run(code: str, file: str) -> Any:
            print(
                json.dumps({"code": code, "file": str(ROOT / "dags" / file), "told": str(told)}), file=stdin, flush=True
            )
            failed = stdout.readline().strip()
            assert failed == "0", errors.read_text()
            assert not (home / "unused.db").exists()
            return json.loads(told.read_text().splitlines()[-1])

        yield run
        stdin.close()

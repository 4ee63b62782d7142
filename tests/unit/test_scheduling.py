"""Which worker runs which file; each file runs once, and few workers start the servers that take long to start."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scheduling import ALONE, FEW, FILLED, LONG, STREAMED, chosen, is_alone, is_streamed, unit

ROOT = Path(__file__).parents[2]
FILES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
UNITS = sorted({unit(file) for file in FILES})


@pytest.mark.parametrize("beginning", [*ALONE, *LONG, *FILLED, *STREAMED])
def test_names_are_of_files_that_are_there(beginning: str) -> None:
    assert any(file.startswith(beginning) for file in FILES)


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_every_file_is_run_once_whoever_is_quickest(workers: int) -> None:
    waiting, ran = list(UNITS), list[str]()
    turn = 0
    active = list(range(workers))
    while active:
        worker = active[turn % len(active)]
        file = chosen(waiting, worker=worker, workers=workers)
        if file is None:
            active.remove(worker)
            continue
        assert not is_streamed(file) or worker < 2
        waiting.remove(file)
        ran.append(file)
        turn += 1 + len(ran) % 3
    assert sorted(ran) == UNITS


def test_whoever_asks_for_the_filled_database_runs_in_one_process() -> None:
    asking = [
        file for file in FILES if re.search(r"\bfrom dashboard_world import .*\bFilled\b", (ROOT / file).read_text())
    ]
    assert len(asking) >= 6
    assert {unit(file) for file in asking} == {FILLED[0]}
    assert not is_alone(FILLED[0]), "it needs the servers of a process"


@pytest.mark.parametrize("workers", [2, 3])
def test_one_process_starts_kafka_and_elasticsearch_unless_much_is_left(workers: int) -> None:
    streamed = [file for file in UNITS if is_streamed(file)]
    assert chosen(UNITS, worker=0, workers=workers) in streamed
    waiting = list(UNITS)
    while (file := chosen(waiting, worker=1, workers=workers)) not in streamed:
        waiting.remove(str(file))
    assert sorted(waiting) == streamed, "all else comes first"
    few = streamed[:FEW]
    assert chosen(few, worker=1, workers=workers) is None
    assert chosen(few, worker=0, workers=workers) in few
    assert chosen(few, worker=workers, workers=workers) in few, "it stands in for one that died"


def test_of_four_processes_two_start_kafka_and_elasticsearch() -> None:
    streamed = [file for file in UNITS if is_streamed(file)]
    assert [chosen(streamed, worker=worker, workers=4) in streamed for worker in range(5)] == [True] * 2 + [
        False
    ] * 2 + [True]


def test_long_files_come_first_and_those_without_servers_last() -> None:
    for workers in (3, 4):
        assert chosen(UNITS, worker=0, workers=workers) == "tests/integration/ingest/test_ingest_ledger.py"
        assert chosen(UNITS, worker=workers - 1, workers=workers) == "tests/integration/demo/test_demo.py"
        left = [file for file in UNITS if is_alone(file)]
        assert chosen(left, worker=0, workers=workers) == "tests/integration/demo/test_demo.py"
    assert chosen(UNITS, worker=2, workers=4) == FILLED[0]
    for worker in range(4):
        waiting = list(UNITS)
        while not (file := str(chosen(waiting, worker=worker, workers=4))).startswith("tests/unit/"):
            waiting.remove(file)
        assert all(one.startswith("tests/unit/") or is_streamed(one) for one in waiting)


CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
import scheduling

def pytest_xdist_make_scheduler(config, log):
    return scheduling.Scheduling(config, log)
"""
TEST = """
import os, pytest

@pytest.mark.parametrize("number", range(4))
def test_of_it(number):
    with open({log!r}, "a") as log:
        log.write(os.environ["PYTEST_XDIST_WORKER"] + " " + __file__ + "\\n")
"""


def test_workers_of_xdist_obey(tmp_path: Path) -> None:
    log = tmp_path / "log"
    filled = ["analytics/test_f.py", "dashboards/test_g.py"]
    files = ["demo/test_a.py", "dags/test_b.py", "hostile/test_c.py", "hostile/test_d.py", "rollup/test_e.py", *filled]
    for file in files:
        (tmp_path / "tests" / "integration" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / "integration" / file).write_text(TEST.format(log=str(log)))
    (tmp_path / "conftest.py").write_text(CONFTEST.format(tests=str(ROOT / "tests")))
    options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "xdist", "-n", "3", "--dist", "loadfile", str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [tuple(line.split()) for line in log.read_text().splitlines()]
    assert len(ran) == 28 and {file for _, file in ran} == {str(tmp_path / "tests" / "integration" / f) for f in files}
    assert next(file for worker, file in ran if worker == "gw2").endswith("demo/test_a.py")
    assert len({worker for worker, file in ran if file.endswith(tuple(filled))}) == 1

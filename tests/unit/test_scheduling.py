"""Which worker runs which file; each file runs once, and few workers start the servers that take long to start."""

import re
from pathlib import Path

import pytest

from scheduling import ALONE, FEW, FILLED, LONG, SERVERLESS, STREAMED, chosen, is_alone, is_streamed, unit

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
        while not (file := str(chosen(waiting, worker=worker, workers=4))).startswith(SERVERLESS):
            waiting.remove(file)
        assert all(one.startswith(SERVERLESS) or is_streamed(one) for one in waiting)

"""The demo as a newcomer runs it, after two runs that were killed half-way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

STARTING = "while three days are simulated"
LOADING = "Loading the backlog"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo") / "lab"
    yield folder
    subprocess.run([sys.executable, "-m", "fleetlab", "down", "--wipe", "--home", str(folder)], check=True)


def start(home: Path, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "FLEETGAUGE_CONFIG"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "fleetlab", "demo", "--home", str(home), *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )


def wait_for_line(demo: subprocess.Popen[bytes], log: Path, words: str, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while words not in log.read_text():
        assert demo.poll() is None, f"the demo ended early:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"no {words!r} within {timeout_s} s:\n{log.read_text()}"
        time.sleep(0.2)


def processes_of(home: Path) -> list[str]:
    """Everything that was started for this home or works in it, the demo itself excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd(), process.environ().get("FLEETLAB_OWNER", "")]
        except psutil.Error:
            continue
        if any(str(home) in word for word in words):
            found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
    return found


def wait_until_gone(home: Path, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while left := processes_of(home):
        assert time.monotonic() < deadline, "left over:\n" + "\n".join(left)
        time.sleep(0.2)


def test_ctrl_c_while_servers_start_leaves_nothing(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    demo = start(home, log)
    wait_for_line(demo, log, STARTING)
    assert processes_of(home)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=120) == 130
    assert "Traceback" not in log.read_text()
    assert processes_of(home) == []


def test_kill_9_while_events_are_loaded_leaves_nothing(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    demo = start(home, log, "--vehicles", "300", "--days", "1")  # the servers are what is to go
    wait_for_line(demo, log, LOADING)
    demo.kill()
    demo.wait()
    wait_until_gone(home)


@pytest.fixture(scope="module")
def report(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("report")
    demo = start(home, folder / "log", "--json", str(folder / "report.json"))
    code = demo.wait(timeout=800)
    print((folder / "log").read_text())  # noqa: T201 (shown when a test fails)
    assert code == 0, (folder / "log").read_text()
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_every_number_equals_the_truth(report: dict[str, Any]) -> None:
    assert report["ok"]
    assert [check["name"] for check in report["checks"] if check["differences"] or not check["compared"]] == []


def test_the_volume_is_that_of_a_real_company(report: dict[str, Any]) -> None:
    indexed = {topic["topic"]: topic["indexed"] for topic in report["topics"]}
    assert indexed["device-events"] >= 300_000
    assert sum(line["requested"] for line in report["commands"]) >= 30_000
    assert sum(count for _, count in report["rentals_by_hour"]) >= 3_000
    assert all(topic["dead_lettered"] > 0 and topic["duplicates"] > 0 for topic in report["topics"])


def test_one_command_dominates_the_cost_and_a_twentieth_fails(report: dict[str, Any]) -> None:
    assert report["commands"][0]["cost_share"] > 0.5
    requested = sum(line["requested"] for line in report["commands"])
    failed = sum(line["requested"] * line["failure_rate"] for line in report["commands"])
    assert 0.04 < failed / requested < 0.08


def test_production_was_not_asked(report: dict[str, Any]) -> None:
    assert set(report["primary_statements"].values()) == {0}
    assert report["replica_statements"] > 0


def test_airflow_ran_each_grain(report: dict[str, Any]) -> None:
    assert {dag for dag, states in report["airflow_runs"].items() if states.get("success")} == {
        "fleetgauge_minute",
        "fleetgauge_hour",
        "fleetgauge_day",
    }


def test_nothing_is_left_over(home: Path, report: dict[str, Any]) -> None:
    del report
    assert processes_of(home) == []

"""The demo as a newcomer runs it, after runs that were interrupted, killed, or lost their servers half-way."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo_process import DemoProcess, processes_of, wait_until_gone

STARTING = "while three days are simulated"
LOADING = "Loading the backlog"
ROLLING_UP = "rolls up the backlog"
SMALL = ("--vehicles", "30", "--days", "1")
"""For tests of the servers, not of the numbers."""
pytestmark = pytest.mark.timeout(900)


def down(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "fleetlab", "down", "--wipe", "--home", str(home)], check=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo") / "lab"
    yield folder
    down(folder)


def test_ctrl_c_while_servers_start_leaves_nothing(home: Path, tmp_path: Path) -> None:
    with DemoProcess(home, tmp_path / "log", *SMALL) as demo:
        demo.wait_for_line(STARTING)
        assert processes_of(home)
        demo.interrupt()
        assert demo.wait(timeout_s=120) == 130
    assert "Traceback" not in demo.text()
    assert processes_of(home) == []


@pytest.mark.parametrize("when", [STARTING, pytest.param(LOADING, marks=pytest.mark.long)], ids=["early", "late"])
def test_kill_9_while_events_are_loaded_leaves_nothing(home: Path, tmp_path: Path, when: str) -> None:
    """Early, Postgres and Kafka are filled while the others start; late, consumers are at work, too."""
    with DemoProcess(home, tmp_path / "log", *SMALL) as demo:
        demo.wait_for_line(when)
        demo.kill()
    wait_until_gone(home)


def test_a_demo_whose_servers_are_gone_says_so_and_ends(home: Path, tmp_path: Path) -> None:
    """Somebody stops them, while the demo asks Airflow how far it is."""
    with DemoProcess(home, tmp_path / "log", *SMALL) as demo:
        demo.wait_for_line(ROLLING_UP)
        down(home)
        gone = time.monotonic()
        demo.wait_for_line("has ended: the demo cannot go on", timeout_s=10)
        assert demo.wait(timeout_s=60) == 78
        assert time.monotonic() - gone < 60
    assert "Traceback" not in demo.text()
    assert processes_of(home) == []


@dataclass(frozen=True)
class Company:
    """One that is compared with its own books, and how much it does at least."""

    options: tuple[str, ...]
    events: int
    commands: int
    rentals: int


QUARTER = Company(("--vehicles", "300", "--days", "2", "--live-seconds", "45"), 50_000, 5_000, 700)
WHOLE = Company((), 300_000, 30_000, 3_000)
"""What `make demo` plays."""


@pytest.fixture(scope="module", params=[QUARTER, pytest.param(WHOLE, marks=pytest.mark.long)], ids=["quarter", "whole"])
def company(request: pytest.FixtureRequest) -> Company:
    found: Company = request.param
    return found


@pytest.fixture(scope="module")
def report(home: Path, company: Company, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("report")
    with DemoProcess(home, folder / "log", "--json", str(folder / "report.json"), *company.options) as demo:
        code = demo.wait(timeout_s=800)
    print(demo.text())  # noqa: T201 (shown when a test fails)
    assert code == 0, demo.text()
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    said = demo.text().splitlines()[-1].partition("file://")
    return {**found, "report_page": said[2]}


def test_every_number_equals_the_truth(report: dict[str, Any]) -> None:
    assert report["ok"]
    assert [check["name"] for check in report["checks"] if check["differences"] or not check["compared"]] == []


def test_the_volume_is_that_of_a_real_company(report: dict[str, Any], company: Company) -> None:
    indexed = {topic["topic"]: topic["indexed"] for topic in report["topics"]}
    assert indexed["device-events"] >= company.events
    assert sum(line["requested"] for line in report["commands"]) >= company.commands
    assert sum(count for _, count in report["rentals_by_hour"]) >= company.rentals
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


def test_it_ends_with_a_page_and_says_where_it_lies(home: Path, report: dict[str, Any]) -> None:
    assert report["report_page"] == str(home / "report.html")
    text = (home / "report.html").read_text(encoding="utf-8")
    assert len(text.encode()) <= 3_000_000
    assert [name for name in ("commands", "firmware", "fleet", "business") if f'<section id="{name}"' not in text] == []


def test_nothing_is_left_over(home: Path, report: dict[str, Any]) -> None:
    del report
    assert processes_of(home) == []

"""The demo as a newcomer runs it, after runs that were interrupted, killed, or lost their servers half-way."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asked_series import ScrapedCompany, of_panels, of_rules
from demo_process import DemoProcess, processes_of, wait_until_gone
from laboratory_folder import fast_folder

from fleetlab.demo.airflow_api import AirflowApi
from fleetlab.demo.run import DAGS
from fleetlab.stack import Stack, StackState, grafana, monitoring
from fleetlab.stack.guard import Guard
from fleetlab.stack.ports import get
from grafana_stand_in import install

STARTING = "while three days are simulated"
LOADING = "Loading the backlog"
ROLLING_UP = "rolls up the backlog"
LAST_ROLLUP = "Waiting for a minute run over the live stretch"
RESUMED = (sys.executable, str(Path(__file__).with_name("resumed_demo.py")), "demo")
SMALL = ("--vehicles", "30", "--days", "1")
"""For tests of the servers, not of the numbers."""
KEEP = "--keep"
pytestmark = pytest.mark.timeout(900)


def down(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "fleetlab", "down", "--wipe", "--home", str(home)], check=True)


@pytest.fixture(scope="module", autouse=True)
def a_grafana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where none is installed a stand-in takes its place, which proves only that it is started and stopped."""
    with pytest.MonkeyPatch.context() as patch:
        if "grafana" not in monitoring.programs():
            executable = install(tmp_path_factory.mktemp("grafana"))
            patch.setenv(grafana.HOME_VARIABLE, str(executable.parents[1]))
        yield


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    above = Path(tempfile.mkdtemp(prefix="fleetlab-demo-", dir=fast_folder()))
    above.chmod(0o755)  # else root's servers, which run as nobody, would keep their data elsewhere
    yield above / "lab"
    down(above / "lab")
    shutil.rmtree(above)


def test_ctrl_c_while_servers_start_leaves_nothing(home: Path, tmp_path: Path) -> None:
    """Grafana is up, and others are about to be."""
    with DemoProcess(home, tmp_path / "log", KEEP, *SMALL) as demo:
        demo.wait_for_line(STARTING)
        demo.wait_for_line("grafana is ready")
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


@pytest.mark.long
def test_a_demo_whose_own_servers_are_gone_says_so_and_ends(home: Path, tmp_path: Path) -> None:
    """From its beginning; the quick suite tries it with a demo that goes on from servers that are up."""
    with DemoProcess(home, tmp_path / "log", *SMALL) as demo:
        demo.wait_for_line(ROLLING_UP)
        end_without_servers(demo)
    assert processes_of(home) == []


def end_without_servers(demo: DemoProcess) -> None:
    """Somebody stops them, while the demo asks Airflow how far it is."""
    down(demo.home)
    gone = time.monotonic()
    demo.wait_for_line("has ended: the demo cannot go on", timeout_s=10)
    assert demo.wait(timeout_s=60) == 78
    assert time.monotonic() - gone < 60
    assert "Traceback" not in demo.text()


@dataclass(frozen=True)
class Company:
    """One that is compared with its own books, and how much it does at least."""

    options: tuple[str, ...]
    events: int
    commands: int
    rentals: int


QUARTER = Company((KEEP, "--vehicles", "300", "--days", "2", "--live-seconds", "45"), 50_000, 5_000, 700)
WHOLE = Company((), 300_000, 30_000, 3_000)
"""What `make demo` plays."""
of_the_kept = pytest.mark.parametrize("company", [QUARTER], ids=["quarter"], indirect=True)
"""Marks a test of the servers that this one left running."""


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
    return {**found, "report_page": said[2], "said": demo.text()}


@pytest.fixture(scope="module")
def kept(home: Path, report: dict[str, Any]) -> Iterator[StackState]:
    """The servers that a demo left running."""
    del report
    guard = Guard.start(home, wipe=True, keep=[])
    state = Stack(home).state()
    assert state is not None
    login = state.need_airflow()
    with AirflowApi(login.url, login.username, login.password) as airflow:
        airflow.pause(DAGS)  # nobody looks at what further runs compute
    yield state
    guard.release()


@pytest.fixture(scope="module")
def scraped(kept: StackState) -> ScrapedCompany:
    """Its Prometheus, after the night's search for vehicles that stop, which the demo does not wait for."""
    if kept.prometheus is None:
        pytest.skip("Prometheus is not installed")
    fleetgauge = [sys.executable, "-m", "fleetgauge", "--config", kept.config]
    subprocess.run([*fleetgauge, "fleet", "run"], check=True, capture_output=True)
    found = ScrapedCompany(kept.prometheus.url)
    found.wait_for("fleetgauge_fleet_suspects_new")
    return found


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


@of_the_kept
def test_the_address_of_grafana_is_said(kept: StackState, report: dict[str, Any]) -> None:
    url = kept.need_grafana().url
    assert re.search(rf"^grafana +{re.escape(url)}  \(dashboards", report["said"], re.MULTILINE)
    assert json.loads(get(f"{url}/api/health"))["database"] == "ok"


@of_the_kept
def test_every_process_is_scraped(scraped: ScrapedCompany) -> None:
    targets = scraped.ask("targets")["activeTargets"]
    ours = [one for one in targets if one["labels"]["job"] in monitoring.JOBS]
    assert [(one["scrapeUrl"], one["lastError"]) for one in ours if one["health"] != "up"] == []
    jobs = [one["labels"]["job"] for one in ours]
    assert {job: jobs.count(job) for job in monitoring.JOBS} == {"consumers": 2, "rollup": 1, "services": 1}


@of_the_kept
def test_every_series_that_a_rule_or_a_dashboard_names_is_there(scraped: ScrapedCompany) -> None:
    assert scraped.absent([*of_rules(), *of_panels()]) == []
    assert scraped.absent(["rate(fleetgauge_of_nobody_total[$__rate_interval]) > 0"]) == ["fleetgauge_of_nobody_total"]


@of_the_kept
def test_every_rule_runs_and_every_panel_has_an_answer(scraped: ScrapedCompany) -> None:
    rules = [rule for group in scraped.ask("rules")["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] == "err"] == []
    assert scraped.unanswered(of_panels(), limit_s=90) == []
    nobody = 'fleetgauge_freshness_seconds{metric="of nobody"}'
    assert scraped.unanswered([nobody]) == [nobody]


@of_the_kept
def test_a_demo_whose_servers_are_gone_says_so_and_ends(home: Path, kept: StackState, tmp_path: Path) -> None:
    del kept
    with DemoProcess(home, tmp_path / "log", command=RESUMED) as demo:
        demo.wait_for_line(LAST_ROLLUP)
        end_without_servers(demo)
    assert not_our_own(processes_of(home)) == []


def test_nothing_is_left_over(home: Path, report: dict[str, Any], company: Company) -> None:
    del report
    if KEEP in company.options:
        down(home)
    assert not_our_own(processes_of(home)) == []


def not_our_own(processes: list[str]) -> list[str]:
    """Without the watchdog of these tests, which lives until `kept` ends."""
    return [one for one in processes if "fleetlab/stack/guard.py" not in one]

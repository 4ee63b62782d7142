"""Prometheus and Alertmanager of the stack, where they are installed: our rules and routes, on loopback alone."""

import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest
import yaml

from fleetlab.stack import Service, StackState, exporters, layout, monitoring, project_root
from fleetlab.stack.ports import LOOPBACK, get
from fleetlab.stack.processes import Processes

NEEDED: set[Service] = {"prometheus", "alertmanager"}
pytestmark = pytest.mark.skipif(
    not monitoring.programs().keys() >= NEEDED, reason="Prometheus or Alertmanager is not installed"
)


@pytest.fixture(scope="module")
def monitors(start_services: Callable[[set[Service]], StackState]) -> StackState:
    return start_services(NEEDED)


def prometheus(monitors: StackState, path: str) -> Any:
    return json.loads(get(f"{monitors.need_prometheus().url}/api/v1/{path}"))["data"]


def test_it_has_every_rule_and_knows_its_alertmanager(monitors: StackState) -> None:
    groups = prometheus(monitors, "rules")["groups"]
    files = (project_root() / "deploy" / "prometheus" / "rules").glob("*.yaml")
    assert {group["name"] for group in groups} == {
        group["name"] for file in files for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    }
    assert [rule for group in groups for rule in group["rules"] if rule.get("lastError")] == []
    assert monitors.alertmanager is not None
    loaded = json.loads(get(f"{monitors.alertmanager.url}/api/v2/status"))["config"]["original"]
    ours = yaml.safe_load((project_root() / "deploy" / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    shown = yaml.safe_load(loaded)
    assert [one["receiver"] for one in shown["route"]["routes"]] == [one["receiver"] for one in ours["route"]["routes"]]
    assert len(shown["inhibit_rules"]) == len(ours["inhibit_rules"])
    assert "_configs" not in loaded  # nothing is sent


def test_what_runs_beside_is_scraped(monitors: StackState) -> None:
    run, alertmanager = layout.find(Path(monitors.home)).run, monitors.alertmanager
    assert alertmanager is not None
    monitoring.scrape(run, "rollup", [alertmanager.endpoint.port])
    try:
        until = monotonic() + 30
        while True:
            scraped = {
                one["labels"]["job"]: one["labels"]["instance"]
                for one in prometheus(monitors, "targets")["activeTargets"]
            }
            if "rollup" in scraped or monotonic() > until:
                break
            sleep(0.1)
        assert scraped["rollup"] == scraped["alertmanager"] == str(alertmanager.endpoint)
    finally:
        monitoring.scrape(run, "rollup", [])


def test_nobody_outside_can_reach_them(monitors: StackState) -> None:
    processes = Processes(layout.find(Path(monitors.home)))
    listening = [
        connection.laddr.ip
        for name in sorted({*NEEDED, *exporters.NAMES} & set(processes.names()))
        for process in processes.family(name)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {LOOPBACK} and len(listening) >= len(NEEDED)


@pytest.mark.skipif(not exporters.programs(), reason="no exporter of Prometheus is installed")
def test_exporters_that_are_installed_are_scraped(monitors: StackState) -> None:
    """Of servers that are up, and with the series that the dashboard of machines and servers asks for."""
    of = {exporters.NODE: "node_filesystem_avail_bytes", exporters.ELASTICSEARCH: "elasticsearch_cluster_health_status"}
    # Their driver refuses logins that were hashed in one round, as those of tests are.
    of |= dict.fromkeys(exporters.POSTGRES, "pg_exporter_last_scrape_error")
    wanted = {
        one["scrapePool"] for one in prometheus(monitors, "targets")["activeTargets"]
    } & exporters.programs().keys()
    assert exporters.NODE in wanted or exporters.NODE not in exporters.programs()
    until = monotonic() + 60
    while missing := [name for name in wanted if not prometheus(monitors, f"query?query={of[name]}")["result"]]:
        assert monotonic() < until, missing
        sleep(0.2)

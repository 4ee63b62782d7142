"""Which of the programs that only look on are there, and what is said of those that are not."""

from pathlib import Path
from typing import Any, cast

import pytest

from fleetgauge.errors import Terminal
from fleetlab.stack import exporters, grafana, layout, machine, monitoring, postgres
from fleetlab.stack.context import Context
from fleetlab.stack.progress import Silent
from fleetlab.stack.state import Endpoint, PostgresState


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_programs_are_found_by_the_names_that_packages_give_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(grafana.HOME_VARIABLE, raising=False)
    assert monitoring.programs() == {}
    names = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager", "grafana": "grafana"}
    made = {service: program(tmp_path, name) for service, name in names.items()}
    assert monitoring.programs() == made


def test_a_folder_that_is_named_comes_before_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "grafana")
    monkeypatch.setenv(grafana.HOME_VARIABLE, str(tmp_path / "own"))
    with pytest.raises(Terminal, match="has no bin/grafana"):
        monitoring.programs()
    checks = machine.check_machine(tmp_path / "lab")
    assert [check.name for check in checks if not check.ok and "bin/grafana" in check.detail] == ["grafana"]
    mine = program(tmp_path / "own" / "bin", "grafana")
    assert monitoring.programs()["grafana"] == mine


@pytest.mark.parametrize(("executable", "home"), [("bin", "."), ("sbin", "share/grafana")])
def test_what_belongs_to_grafana_is_found_beside_it(tmp_path: Path, executable: str, home: str) -> None:
    """As its archive and as packages lay it out."""
    found = program(tmp_path / executable, "grafana")
    with pytest.raises(Terminal, match=r"no folder with conf/defaults\.ini; set GRAFANA_HOME"):
        grafana.home(found)
    defaults = tmp_path / home / "conf" / "defaults.ini"
    defaults.parent.mkdir(parents=True)
    defaults.write_text("")
    assert grafana.home(found) == tmp_path / home


def test_grafana_is_told_of_no_server_that_is_not_there() -> None:
    end = Endpoint("127.0.0.1", 5432)
    postgres = PostgresState(end, end, end, {"grafana": "hidden"})
    alone = grafana.environment(Path("/checkout"), postgres, None)
    beside = grafana.environment(Path("/checkout"), postgres, Endpoint("127.0.0.1", 9090))
    assert alone["FLEETGAUGE_PROMETHEUS_URL"] == alone["FLEETGAUGE_LOKI_URL"] == "http://127.0.0.1:9"
    assert beside["FLEETGAUGE_PROMETHEUS_URL"] == "http://127.0.0.1:9090"
    assert "hidden" not in grafana.settings(Path("/data"), Path("/checkout"), end, "other")


def test_what_is_missing_is_no_failure_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(grafana.HOME_VARIABLE, raising=False)
    checks = {check.name: check for check in machine.check_machine(tmp_path / "lab")}
    assert all(checks[name].ok and "not installed" in checks[name].detail for name in monitoring.MONITORS)
    assert grafana.HOME_VARIABLE in checks["grafana"].detail


def test_exporters_are_told_of_servers_that_are_there_and_no_password_stands_on_a_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert exporters.programs() == {} and "prometheus-node-exporter" in exporters.said()
    for name in ("prometheus-node-exporter", "prometheus-postgres-exporter", "prometheus-elasticsearch-exporter"):
        program(tmp_path, name)
    assert exporters.programs().keys() == set(exporters.NAMES)
    assert "not installed" not in exporters.said()
    spawned: dict[str, tuple[list[str], dict[str, str]]] = {}

    class Kept:
        def spawn(self, name: str, command: list[str], *, environment: dict[str, str], **_: object) -> None:
            spawned[name] = [str(part) for part in command], environment

    folders = layout.find(tmp_path / "lab")
    names = (*postgres.PORTS, *postgres.LOGINS)
    ports = {name: number for number, name in enumerate((*exporters.NAMES, *postgres.PORTS, "elasticsearch"), 1)}
    kept = cast(Any, Kept())
    context = Context(folders, kept, tmp_path, Silent(), cast(Any, dict.fromkeys(names, "hidden")), ports, tmp_path)
    assert [one["job_name"] for one in exporters.start(context, {"prometheus"})] == ["prometheus-node-exporter"]
    found = exporters.start(context, {"prometheus", "postgres", "elasticsearch"})
    assert [one["static_configs"][0]["labels"]["instance"] for one in found] == [
        *("this machine", "primary", "replica", "metrics", "elasticsearch")
    ]
    assert all("hidden" not in " ".join(command) for command, _ in spawned.values())
    assert spawned["prometheus-postgres-exporter-replica"][1]["DATA_SOURCE_PASS"] == "hidden"
    assert all(f"--web.listen-address=127.0.0.1:{ports[name]}" in command for name, (command, _) in spawned.items())

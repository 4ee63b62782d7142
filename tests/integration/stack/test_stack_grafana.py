"""How Grafana is started and stopped, with a stand-in of its name that reads what Grafana would read.

What dashboards look like in a real one: tests/integration/demo/test_demo_dashboards.py.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dashboards.alerts import twins

from fleetgauge.errors import Terminal
from fleetlab.cli.up import describe
from fleetlab.stack import Service, Stack, StackState, grafana, layout, project_root
from fleetlab.stack.ports import LOOPBACK, get, is_open
from fleetlab.stack.processes import Processes
from grafana_stand_in import install

Starter = Callable[[set[Service]], StackState]


@pytest.fixture(scope="module")
def on_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stand-in's executable, which PATH leads to."""
    executable = install(tmp_path_factory.mktemp("grafana"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(grafana.HOME_VARIABLE, raising=False)
        patch.setenv("PATH", str(executable.parent), prepend=":")
        yield executable


@pytest.fixture(scope="module")
def started(start_services: Starter, on_path: Path) -> Iterator[StackState]:
    assert on_path.name == "grafana"
    state = start_services({"grafana"})
    yield state
    Stack(Path(state.home)).stop("grafana")


@pytest.fixture(scope="module")
def understood(started: StackState) -> Any:
    return json.loads(get(f"{started.need_grafana().url}/understood"))


def test_its_address_is_said_and_its_password_is_not_shown_elsewhere(started: StackState) -> None:
    part = started.need_grafana()
    assert part.endpoint.host == LOOPBACK
    assert f"grafana      {part.url}  (dashboards; no login to look, admin / {part.password} to change)" in describe(
        started
    )
    assert part.password not in repr(started)
    folder = layout.find(Path(started.home)).data / "grafana"
    assert (folder / "grafana.ini").stat().st_mode & 0o777 == 0o600


def test_it_keeps_its_things_in_the_stack_and_asks_nothing_of_the_network(started: StackState, understood: Any) -> None:
    settings, folder = understood["settings"], layout.find(Path(started.home)).data / "grafana"
    assert {settings["paths"][name] for name in ("data", "logs", "plugins")} == {
        str(folder / name) for name in ("data", "logs", "plugins")
    }
    assert settings["auth.anonymous"] == {"enabled": "true", "org_role": "Viewer"}
    assert {*settings["analytics"].values()} == {"false"}


def test_it_finds_every_dashboard_and_alert(understood: Any) -> None:
    generated = project_root() / "dashboards" / "generated"
    assert sorted(understood["dashboards"]) == sorted(path.stem for path in generated.rglob("*.json"))
    assert understood["home"] == "fleetgauge-start"
    assert sorted(understood["alerts"]) == sorted(path.stem for path in twins.QUERIES.glob("*.sql"))


def test_its_data_source_is_the_metrics_database_and_may_only_read(understood: Any) -> None:
    source = next(one for one in understood["datasources"] if one["uid"] == "fleetgauge-metrics")
    host, port = source["url"].split(":")
    with psycopg.connect(
        host=host,
        port=port,
        dbname=source["jsonData"]["database"],
        user=source["user"],
        password=source["secureJsonData"]["password"],
        sslmode=source["jsonData"]["sslmode"],
    ) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("grafana",)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE metrics.mine (n int)")


def test_it_is_stopped_by_its_pid_file_and_comes_back_on_its_port(started: StackState, start_services: Starter) -> None:
    home = Path(started.home)
    processes, endpoint = Processes(layout.find(home)), started.need_grafana().endpoint
    pid = processes.pid("grafana")
    assert pid is not None
    Stack(home).stop("grafana")
    assert processes.pid("grafana") is None and not is_open(endpoint.port)
    again = start_services({"grafana"})
    assert again.need_grafana() == started.need_grafana()
    assert processes.pid("grafana") not in (None, pid)


def test_one_that_ends_at_once_is_told_and_harms_no_other(
    started: StackState, start_services: Starter, on_path: Path
) -> None:
    stack = Stack(Path(started.home))
    stack.stop("grafana")
    broken = on_path.read_text()
    on_path.write_text(f"{broken.splitlines()[0]}\nraise SystemExit('the database is locked')\n")
    try:
        with pytest.raises(Terminal, match=r"grafana ended.*grafana\.log(?s:.*)the database is locked"):
            start_services({"grafana"})
    finally:
        on_path.write_text(broken)
    assert {one.service for one in stack.status() if one.running} >= {"postgres"}
    assert not is_open(started.need_grafana().endpoint.port)

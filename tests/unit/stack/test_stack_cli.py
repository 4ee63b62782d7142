"""Bad input of `fleetlab` gives one sentence with the fix and the right exit code; nothing is started."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleetgauge.errors import Terminal
from fleetlab.cli import app, main
from fleetlab.stack import Stack, machine, stack

Run = Callable[..., tuple[object, str]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home for starts that are refused; what they prepared lies outside it if root calls."""
    yield tmp_path / "lab"
    Stack(tmp_path / "lab").down(wipe=True)


@pytest.fixture
def fleetlab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, home: Path) -> Run:
    """The command as the user calls it: gives exit code and stderr."""
    monkeypatch.setenv("FLEETLAB_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str, home: Path = home) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["fleetlab", *arguments, "--home", str(home)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err.strip()

    return run


def test_unknown_option_is_a_usage_error(fleetlab: Run) -> None:
    code, message = fleetlab("up", "--fast")
    assert code == 2
    assert message.splitlines()[-1] == "Error: No such option: --fast"


def test_port_in_use_is_one_sentence(fleetlab: Run) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        code, message = fleetlab("up", "postgres", "--port", f"primary={port}")
    assert code == Terminal.exit_code
    assert message == (
        f"fleetlab: port {port} asked for primary is in use; stop what listens there, "
        "or choose another with --port primary=NUMBER, or leave it out for a free one"
    )


def test_home_that_cannot_be_used_is_one_sentence(fleetlab: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, message = fleetlab("up", "postgres", home=tmp_path / "file" / "lab")
    assert code == Terminal.exit_code
    assert "choose another with --home" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["up", "redis"],
            "the services are airflow, alertmanager, elasticsearch, grafana, kafka, mariadb, postgres, prometheus",
        ),
        (
            ["logs", "redis"],
            "the services are airflow, alertmanager, elasticsearch, grafana, kafka, mariadb, postgres, prometheus",
        ),
        (["up", "--port", "kafka"], "is not NAME=NUMBER"),
        (["up", "--port", "kafka=70000"], "is not NAME=NUMBER"),
    ],
)
def test_bad_values_are_usage_errors(arguments: list[str], expected: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*arguments, "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert expected in result.output


def test_unknown_port_name_lists_the_known(home: Path) -> None:
    with pytest.raises(Terminal, match="no port called kafak; the names are primary, replica"):
        Stack(home).up({"kafka"}, asked_ports={"kafak": 19092})


def test_no_disk_space_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "NEEDED_BYTES", 10**18)
    with pytest.raises(Terminal, match=r"only .* GB are free for .* free some space") as raised:
        Stack(home).up({"postgres"})
    assert "\n" not in str(raised.value)


def test_no_jdk_starts_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise Terminal("no JDK of version 17 or newer was found")

    monkeypatch.setattr(stack, "find_jdk", none)
    lab = Stack(home)
    with pytest.raises(Terminal, match="no JDK"):
        lab.up({"postgres", "kafka"})
    assert lab.state() is None
    assert not any(status.running for status in lab.status())


def test_down_status_and_logs_of_nothing(tmp_path: Path) -> None:
    home = tmp_path / "never"
    for arguments in (["down"], ["status"], ["logs", "kafka"]):
        assert CliRunner().invoke(app, [*arguments, "--home", str(home)]).exit_code == 0
    assert not home.exists()
    result = CliRunner().invoke(app, ["status", "--json", "--home", str(home)])
    assert {one["service"]: one["running"] for one in json.loads(result.stdout)} == dict.fromkeys(
        ("postgres", "kafka", "elasticsearch", "airflow", "mariadb", "prometheus", "alertmanager", "grafana"), False
    )


def test_doctor_fails_with_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> None:
        raise Terminal("no JDK of version 17 or newer was found; install one")

    monkeypatch.setattr(machine, "find_jdk", none)
    result = CliRunner().invoke(app, ["doctor", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert "FAIL java: no JDK of version 17 or newer was found; install one" in result.output
    checks = json.loads(CliRunner().invoke(app, ["doctor", "--json", "--home", str(tmp_path)]).stdout)
    assert {check["name"]: check["ok"] for check in checks}["java"] is False
    assert list(tmp_path.iterdir()) == []

"""Which of the programs that only look on are there, and what is said of those that are not."""

from pathlib import Path

import pytest

from fleetlab.stack import machine, monitoring


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
    assert monitoring.programs() == {}
    names = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}
    made = {service: program(tmp_path, name) for service, name in names.items()}
    assert monitoring.programs() == made


def test_what_is_missing_is_no_failure_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = {check.name: check for check in machine.check_machine(tmp_path / "lab")}
    assert all(checks[name].ok and "not installed" in checks[name].detail for name in monitoring.MONITORS)

"""Promtool accepts the rules, and their tests pass in it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from alert_files import LOADER, PROMETHEUS, RULES, TESTS

TEST_FILES = [*TESTS, PROMETHEUS / "incidents.yaml"]
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (docs/alerts.md)")


def lasts_h(case: dict[str, Any]) -> float:
    """Up to its last look, in hours."""
    looks = [one["eval_time"] for kind in ("alert_rule_test", "promql_expr_test") for one in case.get(kind, ())]
    return max(
        sum(int(number) / {"h": 1, "m": 60, "s": 3600}[unit] for number, unit in re.findall(r"(\d+)([hms])", look))
        for look in looks
    )


@promtool
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_promtool_accepts_them(path: Path) -> None:
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def run_tests(*paths: Path) -> None:
    collect_seldom = {**os.environ, "GOGC": "800"}  # a fifth of its processor time
    done = subprocess.run(["promtool", "test", "rules", *paths], capture_output=True, text=True, env=collect_seldom)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_promtool_runs_their_tests(path: Path, tmp_path: Path) -> None:
    """Rules are evaluated every minute, but every five in cases of more than eight hours, which take the most."""
    every = yaml.load(path.read_text("utf-8"), LOADER)
    every["rule_files"] = [str((path.parent / file).resolve()) for file in every["rule_files"]]
    parts = []
    for interval, chosen in (
        (every["evaluation_interval"], [one for one in every["tests"] if lasts_h(one) <= 8]),
        ("5m", [one for one in every["tests"] if lasts_h(one) > 8]),
    ):
        if chosen:
            parts.append(tmp_path / f"{path.stem}-{interval}.json")  # which is YAML, too
            parts[-1].write_text(json.dumps(every | {"evaluation_interval": interval, "tests": chosen}), "utf-8")
    run_tests(*parts)


@promtool
@pytest.mark.long
@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_promtool_runs_their_tests_as_they_stand(path: Path) -> None:
    run_tests(path)

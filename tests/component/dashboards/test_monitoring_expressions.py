"""Dashboards on Prometheus are in PromQL that parses."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring_files import FILES, expressions


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def monitoring(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text("utf-8"))
    return found


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing; it comes with Prometheus")
def test_every_expression_parses(monitoring: dict[str, Any], tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "5m").replace("$__range", "6h")}
        for number, (_, expr) in enumerate(expressions(monitoring))
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=none", str(tmp_path / "rules.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""The example of docs/exporting.md runs, and exports what the alerts ask for."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

PAGE = (Path(__file__).parents[3] / "docs" / "exporting.md").read_text("utf-8")


def test_the_example_counts_what_external_failures_asks_for() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, "docs/exporting.md", "exec"), found)
    with found["call"]("kakao-maps"):
        pass
    with pytest.raises(ZeroDivisionError), found["call"]("kakao-maps"):
        _ = 1 / 0
    shown = generate_latest(found["registry"]).decode()
    for outcome in ("success", "error"):
        assert f'external_requests_total{{outcome="{outcome}",target="kakao-maps"}} 1.0' in shown
    assert 'external_request_seconds_count{target="kakao-maps"} 2.0' in shown

"""`dashboards` is content beside the engine, not an installed package."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

DASHBOARDS = tuple(path.stem for path in sorted((ROOT / "dashboards" / "generated").glob("fleetgauge-*.json")))


@pytest.fixture(params=DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A generated dashboard, as Grafana reads it."""
    found: dict[str, Any] = json.loads((ROOT / "dashboards" / "generated" / f"{request.param}.json").read_text("utf-8"))
    return found

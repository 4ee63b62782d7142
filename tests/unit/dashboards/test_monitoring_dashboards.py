"""Dashboards on Prometheus: laid out without gaps, about metrics that somebody exports."""

import json
import re
from dataclasses import fields
from typing import Any

import pytest
from dashboards.queries import panels

from fleetgauge.commands.health import Health
from fleetgauge.ingest.consumer_metrics import CATALOGUE as INGEST
from fleetgauge.ingest.operate import limit_exports
from fleetgauge.rollup.operating import statement_exports
from fleetgauge.rollup.operating.exported_series import CATALOGUE as ROLLUP
from monitoring_files import FILES, expressions

SOURCE = {"type": "prometheus", "uid": "fleetgauge-prometheus"}
LOKI = {"type": "loki", "uid": "fleetgauge-loki"}
OF_PROCESSES = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"}
"""By prometheus-client, of every process."""
UNITS = {
    "dthms",
    "suffix:min",
    "suffix:s",
    "suffix:h",
    "s",
    "none",
    "locale",
    "eps",
    "ops",
    "recps",
    "wps",
    "iops",
    "reqps",
    "bytes",
    "percentunit",
}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def monitoring(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text("utf-8"))
    return found


def exported() -> dict[str, set[str]]:
    """Labels of every series that our processes expose, by its name."""
    found: dict[str, set[str]] = {name: set() for name in OF_PROCESSES}
    for one in INGEST:
        name = f"{one.name}_bucket" if one.kind == "histogram" else one.name
        found[name] = {"consumer", *one.labels, *(["le"] if one.kind == "histogram" else [])}
    commands = {
        f"fleetgauge_commands_{field.name}{end}": set[str]() for field in fields(Health) for end in ("", "_total")
    }
    for export in ROLLUP:
        found |= {name: set(labels) for name, labels in export.samples.items()}
    found |= {name: set(statement_exports.LABELS) for name in statement_exports.EXPORTED}
    return found | commands | {limit_exports.REACHED: {"consumer"}}


def test_there_are_some() -> None:
    assert FILES


def test_every_monitoring_panel_explains_itself(monitoring: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(monitoring)]
    assert len(titles) == len(set(titles))
    for panel in panels(monitoring):
        assert len(panel["description"]) > 40, panel["title"]
        if panel["type"] == "logs":
            assert panel["datasource"] == LOKI and all(target["datasource"] == LOKI for target in panel["targets"])
            continue
        assert panel["datasource"] == SOURCE
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]
        assert all(target["datasource"] == SOURCE for target in panel["targets"])


def test_monitoring_panels_fill_their_rows(monitoring: dict[str, Any]) -> None:
    taken = set()
    for panel in monitoring["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len(taken) == 24 * (max(y for _, y in taken) + 1)


def test_every_series_is_exported_and_has_its_labels(monitoring: dict[str, Any]) -> None:
    known = exported()
    for title, expr in expressions(monitoring):
        for name, matchers in re.findall(r"\b((?:fleetgauge|process)_\w+)(?:\{([^}]*)\})?", expr):
            assert name in known, (title, name)
            if name not in OF_PROCESSES:
                assert set(re.findall(r"(\w+)=", matchers)) <= known[name], (title, matchers)

"""Grafana's own alerts on the business, for teams without Prometheus: the same names, texts, labels and waits.

Only what is asked differs: `twins/<alert>.sql`, over the views that dashboards read. It gives a row, with its labels
and a `value`, for each thing that the alert is about, and none while all is well.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dashboards.alerts.rule_files import ROOT, Alert

FILE = ROOT / "dashboards" / "provisioning" / "alerting" / "fleetgauge.yaml"
QUERIES = Path(__file__).parent / "twins"
DATASOURCE = "fleetgauge-metrics"
FOLDER = "fleetgauge alerts"
"""Not that of the dashboards: Grafana makes alerts' folder first, of the same title with another UID."""
_RANGE_S = 3600


def twins(alerts: Iterable[Alert]) -> dict[str, Alert]:
    """The alerts that have a query, by name."""
    known = {one.name: one for one in alerts}
    return {path.stem: known[path.stem] for path in sorted(QUERIES.glob("*.sql"))}


def text(alerts: Iterable[Alert]) -> str:
    """The provisioning file."""
    rules = [_rule(name, alert) for name, alert in twins(alerts).items()]
    group = {"orgId": 1, "name": "fleetgauge business", "folder": FOLDER, "interval": "1m", "rules": rules}
    head = "# Made by python -m dashboards.alerts from deploy/prometheus/rules and dashboards/alerts/twins.\n"
    return head + yaml.safe_dump({"apiVersion": 1, "groups": [group]}, sort_keys=False, allow_unicode=True, width=120)


def query(name: str) -> str:
    """The SQL of a twin."""
    return (QUERIES / f"{name}.sql").read_text("utf-8").strip()


def _rule(name: str, alert: Alert) -> dict[str, Any]:
    return {
        "uid": f"fleetgauge-{name.lower()}",
        "title": name,
        "condition": "fires",
        "data": [
            _part("A", DATASOURCE, {"rawQuery": True, "editorMode": "code", "format": "table", "rawSql": query(name)}),
            _part(
                "fires",
                "__expr__",
                {
                    "type": "threshold",
                    "expression": "A",
                    "conditions": [{"evaluator": {"type": "gt", "params": [-1]}}],
                },
            ),
        ],
        "noDataState": "OK",  # no row: all is well
        "execErrState": "Error",
        "for": alert.hold or "0s",
        "labels": dict(alert.labels),
        "annotations": {key: _templates(said) for key, said in alert.annotations.items()},
        "isPaused": False,
    }


def _part(ref: str, datasource: str, model: dict[str, Any]) -> dict[str, Any]:
    seen = {"from": _RANGE_S, "to": 0}
    return {"refId": ref, "relativeTimeRange": seen, "datasourceUid": datasource, "model": {"refId": ref, **model}}


def _templates(said: str) -> str:
    """A value is a number to Prometheus' templates, and one of several to Grafana's."""
    return said.replace("$value", "$values.A.Value")

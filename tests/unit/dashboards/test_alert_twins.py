"""Grafana's own alerts: made from the rules, and asking only what dashboards may ask."""

import re

import sqlglot
import yaml
from dashboards.alerts import twins
from dashboards.alerts.rule_files import alerts
from sqlglot import exp

ALERTS = alerts()


def test_the_file_is_made_from_the_rules() -> None:
    assert twins.FILE.read_text("utf-8") == twins.text(ALERTS)  # else: make dashboards


def test_they_are_business_alerts_with_the_same_words() -> None:
    (group,) = yaml.safe_load(twins.FILE.read_text("utf-8"))["groups"]
    assert (
        group["folder"]
        not in (twins.ROOT / "dashboards" / "provisioning" / "dashboards" / "fleetgauge.yaml").read_text()
    )
    made = {one["title"]: one for one in group["rules"]}
    assert set(made) == set(twins.twins(ALERTS)) >= {"CommandFailureRate", "FleetSilent", "SuspectsFound"}
    for name, alert in twins.twins(ALERTS).items():
        assert alert.area == "business"
        held = alert.hold if alert.hold else "0s"
        assert (made[name]["labels"], made[name]["for"]) == (alert.labels, held)
        assert made[name]["annotations"]["runbook_url"] == alert.annotations["runbook_url"]
        assert not re.search(r"\$value\b", str(made[name]["annotations"]))
        assert made[name]["condition"] in {part["refId"] for part in made[name]["data"]}


def test_they_read_views_alone_and_name_what_the_summary_names() -> None:
    for name, alert in twins.twins(ALERTS).items():
        query = sqlglot.parse_one(twins.query(name), dialect="postgres")
        own = {cte.alias for cte in query.find_all(exp.CTE)}
        tables = [table for table in query.find_all(exp.Table) if table.name not in own]
        assert tables and all(table.db == "metrics" for table in tables)
        labels = set(re.findall(r"\$labels\.(\w+)", alert.annotations["summary"]))
        assert {one.alias_or_name for one in query.expressions} == {*labels, "value"}

"""`docs/alerts.md`: every alert with when, severity, owner, where to look, what to do, and its message."""

import re
from collections.abc import Iterable
from itertools import groupby

from dashboards.alerts.rule_files import ROOT, Alert

PAGE = ROOT / "docs" / "alerts.md"
_TITLES = {
    "business": "Business",
    "commands": "Commands",
    "ingest": "Ingest",
    "rollup": "Rollup and exporter",
    "servers": "Servers",
    "services": "Services",
    "slo": "Objectives",
}


def message(alert: Alert) -> str:
    """The message of its example, as Slack and Discord show it (deploy/alertmanager/templates)."""
    said = alert.example
    lines = [
        f"{alert.labels['severity']}: {said['summary']}",
        said["description"],
        f"Runbook · Dashboard · {alert.labels['owner']}",
    ]
    return "\n".join(lines)


def table(alerts: Iterable[Alert]) -> str:
    """All areas, each with a table and the messages."""
    parts = []
    for area, found in groupby(alerts, key=lambda one: one.area):
        ours = list(found)
        parts += [f"### {_TITLES.get(area, area)}", ""]
        parts += ["| alert | severity | owner | for | when | dashboard |", "| --- | --- | --- | --- | --- | --- |"]
        parts += [_row(one) for one in ours]
        parts += ["", "```", "\n\n".join(message(one) for one in ours), "```", ""]
    return "\n".join(parts)


def _row(one: Alert) -> str:
    when = " ".join(one.expression.split()).replace("|", "\\|")
    book = one.annotations["runbook_url"].removeprefix("docs/")
    uid = (
        one.annotations["dashboard_url"]
        .removeprefix("/d/")
        .partition("?")[0]
        .replace("{{ $labels.metric }}", "*metric*")
    )
    name = f"[{one.name}]({book})"
    return f"| {name} | {one.labels['severity']} | {one.labels['owner']} | {one.hold} | `{when}` | {uid} |"


def renewed(page: str, alerts: Iterable[Alert]) -> str:
    """The page with the table as the rules are now."""
    return re.sub(
        r"(<!-- alerts -->\n).*?(<!-- /alerts -->)",
        lambda match: f"{match[1]}{table(alerts)}{match[2]}",
        page,
        flags=re.DOTALL,
    )

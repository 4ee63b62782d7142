"""What channels show: amtool accepts the configuration, and messages are those that docs/alerts.md shows."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dashboards.alerts import page
from dashboards.alerts.rule_files import Alert, alerts

FOLDER = Path(__file__).parents[3] / "deploy" / "alertmanager"
ALERTS = alerts()
amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed (docs/alerts.md)")


def rendered(part: str, *shown: Alert, status: str = "firing") -> str:
    """What a template makes of a group of alerts, without the addresses of links."""
    group = {
        "status": status,
        "commonLabels": dict(shown[0].labels),
        "alerts": [{"status": status, "labels": dict(a.labels), "annotations": dict(a.example)} for a in shown],
    }
    done = subprocess.run(
        [
            "amtool",
            "template",
            "render",
            f"--template.glob={FOLDER}/templates/*.tmpl",
            f'--template.text={{{{ template "fleetgauge.{part}" . }}}}',
            "--template.data=/dev/stdin",
        ],
        input=json.dumps(group),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@amtool
def test_messages_are_those_of_the_page() -> None:
    for alert in ALERTS:
        slack = re.sub(r"<[^|>]*\|([^>]*)>", r"\1", rendered("text", alert)).strip()
        discord = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", rendered("discord", alert)).strip()
        assert f"{rendered('title', alert).strip()}\n{slack}" == page.message(alert)
        assert slack == discord


@amtool
def test_links_lead_to_the_runbook_and_the_dashboard() -> None:
    alert = ALERTS[0]
    said = rendered("discord", alert)
    assert re.search(rf"\[Runbook\]\(https://\S+/{alert.example['runbook_url']}\)", said)
    assert re.search(rf"\[Dashboard\]\(https://[^/]+{re.escape(alert.example['dashboard_url'])}\)", said)


@amtool
def test_a_group_says_how_many_and_an_end_says_so() -> None:
    assert rendered("title", *ALERTS[:3]).strip().endswith(" (and 2 more)")
    assert rendered("title", ALERTS[0], status="resolved").startswith("resolved: ")
    assert all(one.example["summary"] in rendered("text", *ALERTS[:3]) for one in ALERTS[1:3])


@amtool
def test_amtool_accepts_the_configuration() -> None:
    done = subprocess.run(["amtool", "check-config", FOLDER / "alertmanager.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@amtool
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "discord_and_slack"), ("warning", "slack"), ("info", "slack")]
)
def test_who_is_told(severity: str, receiver: str) -> None:
    done = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={FOLDER}/alertmanager.yml", f"severity={severity}"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == receiver

"""What channels show: messages are short, secrets are files, and what is silenced exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.alerts import page
from dashboards.alerts.rule_files import Alert, alerts

FOLDER = Path(__file__).parents[3] / "deploy" / "alertmanager"
ALERTS = alerts()


def config() -> Any:
    return yaml.safe_load((FOLDER / "alertmanager.yml").read_text("utf-8"))


def test_the_page_is_made_from_the_rules() -> None:
    text = page.PAGE.read_text("utf-8")
    assert page.renewed(text, ALERTS) == text  # else: make dashboards


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_message_is_short(alert: Alert) -> None:
    assert len(page.message(alert)) < 420 and "{{" not in page.message(alert)


def test_secrets_are_files() -> None:
    text = (FOLDER / "alertmanager.yml").read_text("utf-8")
    addresses = [one for receiver in config()["receivers"] for one in receiver["slack_configs"]]
    assert addresses and all("api_url_file" in one and "api_url" not in one for one in addresses)
    assert "hooks.slack.com" not in text and "discord.com" not in text


def test_what_silences_and_is_silenced_exists() -> None:
    names = {one.name for one in ALERTS}
    for rule in config()["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            pattern = re.fullmatch(r'alertname =~? "(.+)"', matcher)
            assert pattern
            for part in pattern[1].split("|"):
                assert any(re.fullmatch(part, name) for name in names), part

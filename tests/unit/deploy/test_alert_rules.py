"""Alerts: whole, about series that exist, with a runbook and a dashboard that exist, and two tests each."""

import functools
import json
import re

import pytest
from prometheus_client import generate_latest

from alert_files import ROOT, RULES, SCRAPE, TESTS, Rule, cases, exported, foreign, rules
from fleetgauge.ingest.consumer_metrics import CATALOGUE, Metrics
from own_metrics import own_metrics
from promql_names import Series, series_of

ALERTS = [one for one in rules() if one.alert]
SEVERITIES = {"critical", "warning", "info"}
OWNERS = {"pipeline", "fleet", "service"}
CONSTANT = {"FleetgaugeConsumersAbsent", "FleetgaugeExporterAbsent"}
"""Of what is absent there is no label to name."""


def each(found: list[Rule]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rule", found, ids=lambda rule: rule.name)


@functools.cache
def dashboards_and_metrics() -> tuple[frozenset[str], frozenset[str]]:
    """The uids of all dashboards, and the metrics' names."""
    made = (ROOT / "dashboards" / "generated").rglob("*.json")
    return frozenset(json.loads(path.read_text("utf-8"))["uid"] for path in made), frozenset(own_metrics())


@each(ALERTS)
def test_an_alert_is_whole(rule: Rule) -> None:
    assert rule.labels["severity"] in SEVERITIES
    assert rule.labels["owner"] in OWNERS
    summary = rule.annotations["summary"]
    assert len(summary) <= 120 and summary[-1] != "."
    if "{{" not in summary:
        assert rule.name in CONSTANT or not re.search(r"\bby \(", rule.expression), "the summary names no thing"
    assert rule.annotations["description"].endswith(".")


@each(ALERTS)
def test_its_runbook_says_what_to_do_first(rule: Rule) -> None:
    file, _, anchor = rule.annotations["runbook_url"].partition("#")
    assert anchor == rule.name.lower()
    parts = re.split(r"^## ", (ROOT / file).read_text("utf-8"), flags=re.MULTILINE)
    assert [part for part in parts if re.match(rf"{rule.name}\n\n\*\*First:\*\* \S", part)]


@each(ALERTS)
def test_its_dashboard_exists(rule: Rule) -> None:
    uid, _, chosen = rule.annotations["dashboard_url"].removeprefix("/d/").partition("?")
    assert chosen in ("", "var-metric={{ $labels.metric }}")
    known, metrics = dashboards_and_metrics()
    assert {uid.replace("{{ $labels.metric }}", metric) for metric in metrics} <= known


def test_names_are_used_once() -> None:
    names = [one.name for one in rules()]
    assert len(names) == len(set(names))


def test_no_runbook_is_left_without_an_alert() -> None:
    titles = [
        title
        for page in (ROOT / "docs" / "runbooks").glob("*.md")
        for title in re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
    ]
    assert sorted(titles) == sorted(one.name for one in ALERTS)


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule.name)
def test_every_series_exists_with_its_labels(rule: Rule) -> None:
    ours, others, recorded = exported(), foreign(), {one.name for one in rules() if not one.alert}
    asked = series_of(rule.expression)
    assert asked
    for one in asked:
        if one.name in ours:
            assert one.labels <= ours[one.name], f"{one.name} has {sorted(ours[one.name] - SCRAPE)}"
        else:
            assert one.name in others or one.name in recorded, f"nobody exports {one.name}"
            assert not one.name.startswith("fleetgauge_") or one.name in recorded


def test_what_others_export_is_really_asked_for() -> None:
    asked = {one.name for rule in rules() for one in series_of(rule.expression)}
    assert set(foreign()) <= asked


@each(ALERTS)
def test_it_is_tested_to_fire_and_to_stay_silent(rule: Rule) -> None:
    found = cases()[rule.name]
    assert any(found) and not all(found)


def test_series_are_found_in_expressions() -> None:
    said = (
        'sum by (le, x) (rate(a_bucket{c=~"b{", d!="1h"}[5m])) / on (x) group_left () b offset 1d > 0.5 and up == 1e3'
    )
    assert series_of(said) == {Series("a_bucket", frozenset({"c", "d"})), Series("b"), Series("up")}


def test_counters_are_there_before_they_count() -> None:
    """Else the first collision would be the first sample, which `increase` does not see."""
    shown = generate_latest(Metrics("one").registry).decode()
    for one in CATALOGUE:
        if one.kind == "counter" and not one.labels:
            assert f'{one.name}{{consumer="one"}} 0.0' in shown
    assert 'fleetgauge_ingest_events_total{class="poison",consumer="one"} 0.0' in shown


def test_every_file_of_rules_has_tests() -> None:
    assert [path.name for path in RULES] == [path.name for path in TESTS]

"""Which alerts fire in a state: what the processes really export then, given to the real rules by promtool."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from fleetgauge.ingest import consumer_metrics as m

ROOT = Path(__file__).parents[3]
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
STEPS = 45
"""Minutes for which the state lasts: longer than any `for` but those of hours."""


def exposition(*collectors: Collector) -> str:
    """What a scrape of the exporter would give."""
    registry = CollectorRegistry()
    for one in collectors:
        registry.register(one)
    return generate_latest(registry).decode()


def healthy_consumer(name: str = "device_events") -> str:
    """What a consumer that runs exports."""
    metrics = m.Metrics(name)
    metrics.of(m.ASSIGNED).set(4)
    return generate_latest(metrics.registry).decode()


def firing(folder: Path, *expositions: str, **up: int) -> dict[str, str]:
    """Alert → its summary, after the inhibitions of Alertmanager. `up`: by job, whether it is scraped."""
    series = [
        {"series": f'up{{job="{job}", instance="{job}:1"}}', "values": f"{on}+0x{STEPS}"} for job, on in up.items()
    ]
    for text in expositions:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    labels = ", ".join(f'{name}="{value}"' for name, value in sample.labels.items())
                    series.append({"series": f"{sample.name}{{{labels}}}", "values": f"{sample.value!r}+0x{STEPS}"})
    case = folder / "state.yaml"
    names = [rule["alert"] for path in RULES for rule in _rules(path) if "alert" in rule]
    asked = [{"eval_time": f"{STEPS - 1}m", "alertname": name, "exp_alerts": []} for name in names]
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": asked}]
    files = [str(path) for path in RULES]
    case.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", case], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "alertname:" in said or done.returncode == 0, said
    found: list[dict[str, str]] = []
    for got in re.findall(r"got:\[(.*?)\n\s*\]", said, re.DOTALL):
        for labels, annotations in re.findall(r"Labels:\{(.*?)\}\n\s*Annotations:\{(.*?)\}\n", got + "\n", re.DOTALL):
            found.append(_pairs(labels) | {"": _pairs(annotations)["summary"]})
    return {one["alertname"]: one[""] for one in found if not _inhibited(one, found)}


def _rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text("utf-8"))["groups"] for rule in group["rules"]]


def _pairs(text: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text))


def _inhibited(alert: dict[str, str], firing: list[dict[str, str]]) -> bool:
    """As Alertmanager does it for matchers of `alertname`, the only ones that there are."""
    rules = yaml.safe_load((ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text("utf-8"))["inhibit_rules"]
    for rule in rules:
        (source,), (target,) = (
            [re.search(r'"(.+)"', one)[1] for one in rule[part]]  # type: ignore[index]
            for part in ("source_matchers", "target_matchers")
        )
        equal = rule.get("equal", [])
        if re.fullmatch(target, alert["alertname"]) and any(
            re.fullmatch(source, one["alertname"]) and all(one.get(x) == alert.get(x) for x in equal) for one in firing
        ):
            return True
    return False

"""Which alerts fire in a state: what the processes really export then, given to the real rules by promtool."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
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
State = tuple[int, Sequence[str]]
"""Minutes for which it lasts, and what is exposed then."""
_QUOTED = r'"(?:[^"\\]|\\.)*"'


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
    return firing_at(folder, [(STEPS + 1, expositions)], [STEPS - 1], **up)[STEPS - 1]


def firing_at(folder: Path, states: Sequence[State], minutes: Sequence[int], **up: int) -> dict[int, dict[str, str]]:
    """The same at some minutes of a story: states one after the other, each as long as it says."""
    names = [rule["alert"] for path in RULES for rule in _rules(path) if "alert" in rule]
    asked = [{"eval_time": f"{at}m", "alertname": name, "exp_alerts": []} for name in names for at in minutes]
    said = _told(folder, states, up, {"alert_rule_test": asked})
    found: dict[int, list[dict[str, str]]] = {at: [] for at in minutes}
    for at, got in re.findall(r"time: (\S+?),.*?got:\[(.*?)\n\s*\]", said, re.DOTALL):
        for labels, annotations in re.findall(r"Labels:\{(.*?)\}\n\s*Annotations:\{(.*?)\}\n", got + "\n", re.DOTALL):
            found[_minutes(at)].append(_pairs(labels) | {"": _pairs(annotations)["summary"]})
    return {
        at: {one["alertname"]: one[""] for one in alerts if not _inhibited(one, alerts)} for at, alerts in found.items()
    }


def shown_at(folder: Path, states: Sequence[State], minute: int, expr: str) -> list[tuple[dict[str, str], float]]:
    """What a panel's query answers then: labels and value, in the order of the answer but for its sorting."""
    said = _told(folder, states, {}, {"promql_expr_test": [{"expr": expr, "eval_time": f"{minute}m"}]})
    (got,) = re.findall(r"^\s*got:\s*(.*)$", said, re.MULTILINE) or [""]
    sample = r"\{((?:\w+=" + _QUOTED + r"(?:, )?)*)\} (\S+?)(?:, |$)"
    return [(_pairs(labels), float(number)) for labels, number in re.findall(sample, got)]


def _told(folder: Path, states: Sequence[State], up: Mapping[str, int], asked: dict[str, Any]) -> str:
    """What promtool says of a test that expects nothing at all."""
    length = sum(minutes for minutes, _ in states)
    series = [
        {"series": f'up{{job="{job}", instance="{job}:1"}}', "values": f"{on}+0x{length}"} for job, on in up.items()
    ]
    exported = [(minutes, _samples(texts)) for minutes, texts in states]
    for name in sorted({name for _, samples in exported for name in samples}):
        parts = [
            f"{samples[name]!r}+0x{minutes - 1}" if name in samples else f"_x{minutes}" for minutes, samples in exported
        ]
        series.append({"series": name, "values": " ".join(parts)})
    case = folder / "state.yaml"
    tests = [{"interval": "1m", "input_series": series, **asked}]
    files = [str(path) for path in RULES]
    case.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", case], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "got:" in said, said
    return said


def _samples(texts: Iterable[str]) -> dict[str, float]:
    """Series as promtool writes them → value."""
    found = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    labels = ", ".join(f"{name}={json.dumps(value)}" for name, value in sample.labels.items())
                    found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def _rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text("utf-8"))["groups"] for rule in group["rules"]]


def _minutes(said: str) -> int:
    """Of promtool's `1h59m`."""
    hours, minutes = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:0s)?", said).groups()  # type: ignore[union-attr]
    return 60 * int(hours or 0) + int(minutes or 0)


def _pairs(text: str) -> dict[str, str]:
    return {name: json.loads(value) for name, value in re.findall(rf"(\w+)=({_QUOTED})", text)}


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

"""The alerts and their tests, read from `deploy/prometheus`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"


@dataclass(frozen=True)
class Alert:
    """One alert, as its rule says it."""

    area: str
    """Name of the file without its suffix."""
    name: str
    expression: str
    hold: str
    """How long the expression has to hold; empty: one evaluation."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    example: Mapping[str, str]
    """The annotations of the first alert that its tests expect, as Prometheus expands them."""


def alerts() -> list[Alert]:
    """All of them, by file and in the order of the file."""
    found = []
    for path in sorted((PROMETHEUS / "rules").glob("*.yaml")):
        examples = _examples(PROMETHEUS / "tests" / path.name)
        for group in _read(path)["groups"]:
            for rule in group["rules"]:
                if name := rule.get("alert"):
                    shown = examples.get(name, rule["annotations"])
                    held = (rule["expr"], rule.get("for", ""), rule["labels"], rule["annotations"])
                    found.append(Alert(path.stem, name, *held, shown))
    return found


def _read(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where the library has it
    return yaml.load(path.read_text("utf-8"), loader)  # noqa: S506 (safe, both of them)


def _examples(path: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for test in _read(path)["tests"]:
        for case in test.get("alert_rule_test", []):
            for expected in case["exp_alerts"]:
                found.setdefault(case["alertname"], expected["exp_annotations"])
    return found

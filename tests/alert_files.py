"""The alerts, their tests and what our processes export, as the tests of alerts read them."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import yaml

from fleetgauge import following
from fleetgauge.commands import health
from fleetgauge.fleet import suspect_exports
from fleetgauge.ingest import consumer_metrics
from fleetgauge.ingest.operate import limit_exports
from fleetgauge.rollup.operating import business_exports, exported_series
from own_metrics import own_metrics

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yaml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SCRAPE = frozenset({"job", "instance", "pod", "namespace"})
"""Labels that Prometheus itself adds."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """An alert or a recorded series, as its file has it."""

    path: Path
    name: str
    alert: bool
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


@functools.cache
def rules() -> tuple[Rule, ...]:
    return tuple(
        Rule(
            path,
            one.get("alert", one.get("record")),
            "alert" in one,
            one["expr"],
            *map(one.get, ("labels", "annotations")),
        )
        for path in RULES
        for group in yaml.load(path.read_text("utf-8"), LOADER)["groups"]
        for one in group["rules"]
    )


@functools.cache
def cases() -> dict[str, list[list[Any]]]:
    """Alert → what each of its tests expects."""
    found: dict[str, list[list[Any]]] = {}
    for path in TESTS:
        for test in yaml.load(path.read_text("utf-8"), LOADER)["tests"]:
            for expected in test.get("alert_rule_test", []):
                found.setdefault(expected["alertname"], []).append(expected["exp_alerts"])
    return found


@functools.cache
def exported() -> dict[str, frozenset[str]]:
    """Every sample that our processes export → its labels, from the lists that the processes export from."""
    found: dict[str, frozenset[str]] = {}
    for one in consumer_metrics.CATALOGUE:
        labels = frozenset({"consumer", *one.labels}) | SCRAPE
        if one.kind == "histogram":
            found |= {f"{one.name}_{part}": labels for part in ("count", "sum")}
            found[f"{one.name}_bucket"] = labels | {"le"}
        else:
            found[one.name] = labels
    for export in exported_series.CATALOGUE:
        found |= {name: labels | SCRAPE for name, labels in export.samples.items()}
    for definition in own_metrics().values():
        found |= {name: labels | SCRAPE for name, labels in business_exports.series_names(definition).items()}
    found[limit_exports.REACHED] = frozenset({"consumer"}) | SCRAPE
    found[limit_exports.UNREAD] = frozenset({"consumer"}) | SCRAPE
    for family in following.FollowMetrics().registry.collect():
        labels = {label for sample in family.samples for label in sample.labels}
        found[family.name] = frozenset(labels or {"source", "metric"}) | SCRAPE
    found |= dict.fromkeys(business_exports.MEANINGS, frozenset({"metric", "over"}) | SCRAPE)
    found |= dict.fromkeys((*health.EXPORTED, *suspect_exports.MEANINGS), SCRAPE)
    return found


@functools.cache
def foreign() -> dict[str, str]:
    """Every other series that may be named → who exports it."""
    listed = yaml.safe_load((PROMETHEUS / "series.yaml").read_text("utf-8"))
    return {name: exporter for exporter, names in listed.items() for name in names}

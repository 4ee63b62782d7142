"""What rules and dashboards ask Prometheus for, and whether a Prometheus has it."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import yaml
from dashboards.queries import panels

from fleetlab.stack import project_root
from fleetlab.stack.ports import get
from promql_names import series_of

RULES = sorted((project_root() / "deploy" / "prometheus" / "rules").glob("*.yaml"))
MONITORING = sorted((project_root() / "dashboards" / "generated" / "monitoring").glob("*.json"))
OF_OTHERS = re.compile("(container|elasticsearch|hikaricp|http_client|http_server|jvm|kafka|node|pg|probe|windows)_")
"""How series of exporters begin that the demo does not run: of machines, of servers, of a service on the JVM."""
ELSEWHERE = {
    "fleetgauge_follow_last_round_timestamp_seconds": "`fleetgauge run --follow`; Airflow schedules the demo's runs",
    "fleetgauge_follow_set_aside": "the same",
}
"""Series of our own processes that the demo does not run."""
UNTIL_IT_HAPPENS = {
    "fleetgauge_ingest_quarantined_partitions": "a value of a broken field is over the limit by itself",
    "fleetgauge_ingest_retry_depth": "Elasticsearch refuses for a while",
    "fleetgauge_rollup_left_out_rows": "a source has a value that is no number",
}
"""Series that are absent while all is well, since their labels name what went wrong."""


class ScrapedCompany:
    """A Prometheus that scrapes a company's processes; every method asks it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str) -> Any:
        """The data of an answer of its API."""
        return json.loads(get(f"{self._url}/api/v1/{path}"))["data"]

    def names(self) -> set[str]:
        """Every series that it has scraped or recorded."""
        return set(self.ask("label/__name__/values"))

    def wait_for(self, name: str, limit_s: float = 120) -> None:
        deadline = time.monotonic() + limit_s
        while name not in self.names():
            assert time.monotonic() < deadline, f"{name} was not scraped within {limit_s:.0f} s"
            time.sleep(1)

    def absent(self, expressions: Iterable[str]) -> list[str]:
        """The series that expressions name and it has not, without those of exporters that are not there."""
        asked = {name for expression in expressions for name in series_named(expression)}
        missing = asked - self.names() - ELSEWHERE.keys() - UNTIL_IT_HAPPENS.keys()
        return sorted(name for name in missing if not OF_OTHERS.match(name))

    def unanswered(self, expressions: Iterable[str], limit_s: float = 0) -> list[str]:
        """Those that have no answer with any value of their variables, though the series are there, within the limit.

        A series may be away for a moment: of a run that was put off, nobody knows how far its source was behind.
        """
        deadline = time.monotonic() + limit_s
        left = [one for one in expressions if not self._answered(one)]
        while left and time.monotonic() < deadline:
            time.sleep(1)
            left = [one for one in left if not self._answered(one)]
        return left

    def _answered(self, expression: str) -> bool:
        anything = re.sub(r" (>|==) \d+$", "", _plain(expression))  # where only what is wrong is listed
        names = series_named(anything)
        if names & {*ELSEWHERE, *UNTIL_IT_HAPPENS} or any(map(OF_OTHERS.match, names)):
            return True
        return bool(self.ask(f"query?query={quote(anything)}")["result"])


def series_named(expression: str) -> set[str]:
    """Names of series in an expression of a rule or of a panel."""
    return {one.name for one in series_of(_plain(expression))}


def of_rules() -> Iterator[str]:
    """Every expression of the rules."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def of_panels() -> Iterator[str]:
    """Every expression of the dashboards on Prometheus."""
    for path in MONITORING:
        for panel in panels(json.loads(path.read_text("utf-8"))):
            yield from (target["expr"] for target in panel["targets"] if panel["type"] != "logs")


def _plain(expression: str) -> str:
    """With a length for Grafana's intervals, and anything for its variables."""
    lengths = re.sub(r"\$__(rate_)?interval|\$__range", "1m", expression)
    return re.sub(r"\$\{?\w+\}?", ".*", lengths)

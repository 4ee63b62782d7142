"""A consumer whose login may not install: it goes on only if somebody has installed exactly what it needs."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetgauge.contracts import ContractSet
from fleetgauge.elasticsearch.transport import Answer
from fleetgauge.errors import FleetgaugeError, Stop, Transient
from fleetgauge.ingest.check.batch import Batch
from fleetgauge.ingest.deliver.collisions import Collisions
from fleetgauge.ingest.indices.event_indices import Indices

FORBIDDEN = Answer(403, b'{"error":{"type":"security_exception","reason":"unauthorized"},"status":403}')
NOT_FOUND = Answer(404, b'{"error":{"type":"index_not_found_exception","reason":"no such index"},"status":404}')
NO_TEMPLATE = Answer(404, b'{"error":{"type":"resource_not_found_exception","reason":"no such template"},"status":404}')


class Installed:
    """Elasticsearch as somebody may see it who changes nothing, after `install` by somebody who may."""

    def __init__(self, contracts: ContractSet) -> None:
        self.answers: dict[str, Answer] = {}
        self.may_install = True
        Indices(self, "raw", contracts).install()
        self.may_install = False

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        if method == "PUT" and self.may_install:
            if path.startswith("/_index_template/"):
                assert body is not None
                kept = {"index_templates": [{"index_template": json.loads(body)}]}
                self.answers["template"] = Answer(200, json.dumps(kept).encode())
            return Answer(200, b"{}")
        if method == "GET":
            if path.startswith("/_index_template/"):
                return self.answers.get("template", NO_TEMPLATE)
            return self.answers.get("days", NOT_FOUND)
        return FORBIDDEN


def test_what_is_installed_is_enough(contracts: ContractSet) -> None:
    node = Installed(contracts)
    Indices(node, "raw", contracts).prepare()
    assert Indices(node, "raw", contracts).installed()


@pytest.mark.parametrize(
    ("which", "answer", "expected"),
    [
        ("template", NO_TEMPLATE, Stop),
        ("template", FORBIDDEN, Stop),
        ("template", Answer(200, b'{"index_templates":[{"index_template":{"_meta":{"fleetgauge":"older"}}}]}'), Stop),
        ("template", Answer(503, b'{"error":{"type":"master_not_discovered_exception"},"status":503}'), Transient),
        ("days", FORBIDDEN, Stop),
        ("days", Answer(200, b'{"raw-2026.11.21":{"mappings":{"properties":{}}}}'), Stop),
    ],
)
def test_less_is_not(contracts: ContractSet, which: str, answer: Answer, expected: type[FleetgaugeError]) -> None:
    node = Installed(contracts)
    node.answers[which] = answer
    with pytest.raises(expected) as told:
        Indices(node, "raw", contracts).prepare()
    assert expected is Transient or "run `fleetgauge indices` with a login that may" in str(told.value)


def test_who_may_not_fetch_is_told_once_that_nothing_is_compared(batch_of: Callable[..., Batch], world: Any) -> None:
    class Refusing:
        def request(self, method: str, path: str, body: bytes | None) -> Answer:
            return FORBIDDEN

    compare = Collisions(Refusing())
    with capture_logs() as logs:
        assert compare.find(batch_of(world.tip_over()), [0]) == compare.find(batch_of(world.tip_over()), [0]) == []
    assert len(logs) == 1 and "not compared" in logs[0]["event"]


class Cluster:
    """Templates and days as Elasticsearch keeps them."""

    def __init__(self) -> None:
        self.template: dict[str, Any] | None = None
        self.days: dict[str, dict[str, Any]] = {}

    def request(self, method: str, path: str, body: bytes | None) -> Answer:
        sent = json.loads(body) if body else {}
        if path.startswith("/_index_template/"):
            if method == "PUT":
                self.template = sent
            elif self.template is None:
                return NO_TEMPLATE
            else:
                return Answer(200, json.dumps({"index_templates": [{"index_template": self.template}]}).encode())
        elif path.endswith("/_mapping"):
            name = path.split("/")[1]
            if method == "PUT":
                self.days[name] |= sent["properties"]
            found = {day: {"mappings": {"properties": of}} for day, of in self.days.items() if name in (day, "raw")}
            return Answer(200, json.dumps(found).encode()) if found else NOT_FOUND
        elif method == "PUT" and path.count("/") == 1 and self.template is not None:
            self.days.setdefault(path[1:], dict(self.template["template"]["mappings"]["properties"]))
        return Answer(200, b"{}")


def versions(contracts: ContractSet) -> tuple[Callable[[Cluster], Indices], Callable[[Cluster], Indices]]:
    """An older and a newer version of the same consumer: the newer has one field more."""

    class Newer:
        versions = contracts.versions
        located = contracts.located

        def mapping(self, extra: Any) -> dict[str, Any]:
            found = contracts.mapping(extra)
            return {**found, "properties": {**found["properties"], "shine": {"type": "long"}}}

    newer: Any = Newer()
    return lambda cluster: Indices(cluster, "raw", contracts), lambda cluster: Indices(cluster, "raw", newer)


def test_an_older_version_never_takes_fields_from_a_newer_one(contracts: ContractSet) -> None:
    old, new = versions(contracts)
    cluster = Cluster()
    assert old(cluster).prepare() == []
    assert new(cluster).prepare() == []
    before = cluster.template
    with capture_logs() as logs:
        restarted = old(cluster)
        assert restarted.prepare() == ["shine"]
    assert cluster.template == before
    (line,) = logs
    assert line["log_level"] == "error" and "newer version" in line["event"] and line["newer"] == ["shine"]
    restarted.ensure(["raw-2026.11.21"])
    assert "shine" in cluster.days["raw-2026.11.21"]
    assert new(cluster).installed() and restarted.installed()


def test_a_day_made_while_an_older_template_won_a_race_gets_its_fields(contracts: ContractSet) -> None:
    old, new = versions(contracts)
    cluster = Cluster()
    old(cluster).prepare()
    raced = cluster.template
    running = new(cluster)
    running.prepare()
    cluster.template = raced  # the older one had looked before, and wrote after
    running.ensure(["raw-2026.11.21"])
    assert "shine" in cluster.days["raw-2026.11.21"]
    assert cluster.template is not None and "shine" in cluster.template["template"]["mappings"]["properties"]

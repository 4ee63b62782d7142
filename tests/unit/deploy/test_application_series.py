"""The dashboard of services has data of both worlds: FastAPI's instrumentator and Micrometer.

FastAPI's is asked here. Micrometer's is a file, recorded without Spring: names and values of the JVM's and the pool's
meters, and how a meter's name becomes that of a series, are Micrometer's and HikariCP's own; the names and tags of the
two HTTP timers were set by hand after Spring's conventions.
"""

import json
from collections import defaultdict
from pathlib import Path

import pytest
from dashboards.queries import panels
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from prometheus_fastapi_instrumentator import Instrumentator
from sqlalchemy import create_engine

from fleetlab.rental_api.service_metrics import ServiceMetrics
from promql_names import series_of

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "dashboards" / "generated" / "monitoring" / "fleetgauge-application.json"
RECORDED = Path(__file__).parent / "golden" / "micrometer.txt"
SCRAPE = {"job", "instance"}
OF_THE_JVM = {"Heap in use", "Garbage collection"}
"""Panels for which nothing of Python stands."""

Exposed = dict[str, set[str]]


def _exposed(text: str) -> Exposed:
    """Sample → labels that any of its series has."""
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels) | SCRAPE
    return found


@pytest.fixture(scope="module")
def fastapi() -> Exposed:
    """As the rental API exposes them, after a request and a call."""
    app = FastAPI()
    metrics = ServiceMetrics(create_engine("postgresql+psycopg://nobody@127.0.0.1:9/none"))
    Instrumentator(registry=metrics.registry).instrument(app).expose(app)

    @app.get("/vehicles/{vehicle}")
    def vehicle(vehicle: str) -> str:
        with metrics.call("payment"):
            return vehicle

    client = TestClient(app)
    assert client.get("/vehicles/sc-00001").status_code == 200
    return _exposed(client.get("/metrics").text)


@pytest.fixture(scope="module")
def micrometer() -> Exposed:
    return _exposed(RECORDED.read_text("utf-8"))


def _panels() -> list[tuple[str, list[str]]]:
    """Those that ask Prometheus; the panel of logs asks Loki."""
    found = [
        (str(one["title"]), [str(target["expr"]) for target in one["targets"]])
        for one in panels(json.loads(DASHBOARD.read_text("utf-8")))
        if one["datasource"]["type"] == "prometheus"
    ]
    assert len(found) >= 12
    return found


def test_each_series_is_exposed_by_one_of_them_with_the_labels_that_it_is_matched_by(
    fastapi: Exposed, micrometer: Exposed
) -> None:
    assert not fastapi.keys() & {"jvm_memory_used_bytes"}, "the two are told from each other"
    for title, expressions in _panels():
        for expression in expressions:
            for series in series_of(expression.replace("$__rate_interval", "5m")):
                worlds = [one[series.name] for one in (fastapi, micrometer) if series.name in one]
                assert worlds, (title, series.name)
                assert all(series.labels <= labels for labels in worlds), (title, series, worlds)


@pytest.mark.parametrize("world", ["fastapi", "micrometer"])
def test_each_panel_has_something_to_show(world: str, request: pytest.FixtureRequest) -> None:
    exposed: Exposed = request.getfixturevalue(world)
    shown = 0
    for title, expressions in _panels():
        if world == "fastapi" and title in OF_THE_JVM:
            continue
        first = {one.name for one in series_of(expressions[0].replace("$__rate_interval", "5m"))}
        assert first & exposed.keys(), (title, first)
        shown += 1
    assert shown >= 10

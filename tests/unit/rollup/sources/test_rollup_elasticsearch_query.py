"""What is asked of documents, and what lint refuses to ask; the answers are tested on real servers."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from threading import Thread
from typing import Any

import pytest
import yaml

from fleetgauge.clock import SystemClock
from fleetgauge.contracts import ContractSet
from fleetgauge.contracts import load as load_contracts
from fleetgauge.contracts.load import contract_of
from fleetgauge.contracts.subset import SchemaFiles, tree
from fleetgauge.document_sources import document_problems, event_streams
from fleetgauge.elasticsearch.elasticsearch_errors import Forbidden
from fleetgauge.errors import FleetgaugeError, Stop, Terminal
from fleetgauge.ingest.indices.event_indices import SUFFIX
from fleetgauge.progress.offsets import GroupProgress
from fleetgauge.rollup.definitions.loader import DefinitionError, load_definition
from fleetgauge.rollup.definitions.measures import Comparison, Extreme, Sum
from fleetgauge.rollup.definitions.parts import Dimension
from fleetgauge.rollup.sources import elasticsearch
from fleetgauge.rollup.sources import elasticsearch_query as query
from fleetgauge.rollup.sources.elasticsearch import ElasticsearchSource
from fleetgauge.rollup.sources.elasticsearch_fields import problems, searchable
from fleetgauge.rollup.sources.port import Conflict
from fleetgauge.settings import ElasticsearchSettings, Settings
from own_metrics import own_metrics

ROOT = Path(__file__).parents[4]
FIELDS = {
    **searchable(ContractSet(load_contracts(ROOT / "schemas" / "events").values()), SUFFIX),
    "total": "long",
}
GOOD: dict[str, Any] = {
    "metric": "m",
    "source": "device_events",
    "documents": {"where": {"kind": "location"}},
    "event_time": "@timestamp",
    "measures": {"n": {"agg": "count"}},
}


def definition(tmp_path: Path, **changes: Any):
    folder = tmp_path / "sql" / "metrics" / "m"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metric.yaml").write_text(yaml.safe_dump({**GOOD, **changes}))
    return load_definition(folder, shown_from=tmp_path)


def test_the_projects_own_metrics_ask_for_what_documents_have() -> None:
    definitions = own_metrics()
    assert document_problems(ROOT, definitions.values()) == []
    stream = event_streams(ROOT, definitions.values())["device_events"]
    assert (stream.topic, stream.group, stream.index) == ("device-events", "fleetgauge-device-events", "device-events")


def test_a_tile_is_grouped_by_and_found_again() -> None:
    one = own_metrics()["tip_over_tile"]
    tile = one.dimensions["tile"]
    assert query.keys(one)[1] == {
        "0": {"geotile_grid": {"field": "geo.location", "precision": 15, "missing_bucket": True}}
    }
    assert query.labelled(tile, "15/27941/12689") == {"geo_grid": {"geo.location": {"geotile": "15/27941/12689"}}}
    assert query.labelled(tile, "14/1/1") == query.labelled(tile, "elsewhere") == {"match_none": {}}
    assert query.one_of(tile, ["15/27941/12689"]) is None, "all tiles of the window are read"
    assert one.version != replace(one, dimensions={"tile": replace(tile, tile=14)}).version


def test_what_the_consumer_deletes_is_known_to_the_metric() -> None:
    telemetry = own_metrics()["telemetry"]
    (found,) = document_problems(ROOT, [replace(telemetry, source_kept=None)])
    lines = (ROOT / "sql/metrics/telemetry/metric.yaml").read_text().splitlines()
    line = lines.index("source_kept: 90d") + 1
    assert found.startswith(
        f"sql/metrics/telemetry/metric.yaml:{line}: source_kept: the consumer keeps its documents 90 d"
    )
    (found,) = document_problems(ROOT, [replace(telemetry, source="nobody")])
    line = lines.index("source: device_events") + 1
    assert f"telemetry/metric.yaml:{line}: source: consumer 'nobody' is not declared" in found


def test_a_metric_may_not_read_a_field_for_longer_than_it_is_kept(tmp_path: Path) -> None:
    for part in ("schemas", "consumers", "sql/metrics/telemetry"):
        copytree(ROOT / part, tmp_path / part)
    telemetry = own_metrics()["telemetry"]
    assert document_problems(tmp_path, [telemetry]) == []
    contract = tmp_path / "schemas" / "events" / "location.json"
    changed = json.loads(contract.read_text())
    changed["properties"]["speed"]["kept_days"] = 30
    contract.write_text(json.dumps(changed))
    (found,) = document_problems(tmp_path, [telemetry])
    assert "source_kept: speed goes 30 d after its day (kept_days of the contract)" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event_time": "timestamp"}, "event_time"),
        ({"change_time": "updated_at"}, "change_time"),
        ({"documents": {"where": {"kind": 5}}}, "kind holds texts, so it cannot be compared with 5"),
        ({"documents": {"where": {"tipped_over": "true"}}}, "tipped_over holds true or false"),
        ({"documents": {"where": {"speed": {"gte": True}}}}, "speed holds numbers"),
        ({"documents": {"where": {"spede": 1}}}, "no contract of the consumer has a field spede"),
        ({"dimensions": {"d": {"column": "device.modell", "limit": 5}}}, "dimensions.d: no contract"),
        ({"dimensions": {"d": {"column": "speed", "limit": 5}}}, "dimensions.d: speed is of type double"),
        (
            {"dimensions": {"d": {"column": "kind", "tile": 15, "limit": 5}}},
            "kind is of type keyword, but this needs a geo",
        ),
        ({"dimensions": {"d": {"column": "event.id", "limit": 5}}}, "event.id is kept, but no search can use it"),
        ({"measures": {"s": {"agg": "sum", "of": "speed"}}}, "speed is of type double, but this needs whole numbers"),
        ({"measures": {"s": {"agg": "sum", "of": "message.bytes", "type": "numeric"}}}, "numeric would not be exact"),
        ({"measures": {"s": {"agg": "max", "of": "speed", "type": "integer"}}}, "needs whole numbers"),
        ({"measures": {"s": {"agg": "sum", "of": "@timestamp", "type": "integer"}}}, "needs whole numbers"),
        ({"measures": {"s": {"agg": "percentile", "of": "device.id"}}}, "needs numbers"),
        ({"measures": {"s": {"agg": "distinct", "of": "speed"}}}, "needs texts"),
        ({"measures": {"s": {"agg": "last", "of": "battery_percent"}}}, "agg last is not offered"),
    ],
)
def test_lint_says_what_documents_cannot_give(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    found = problems(definition(tmp_path, **changes), FIELDS)
    assert len(found) == 1
    assert said in found[0]


def test_the_first_and_the_last_time_can_be_asked_for(tmp_path: Path) -> None:
    times = {agg: {"agg": agg, "of": "@timestamp", "type": "integer", "unit": "instant"} for agg in ("min", "max")}
    assert problems(definition(tmp_path, measures=times), FIELDS) == []


def test_a_list_in_a_document_would_be_counted_twice() -> None:
    contract = json.loads((ROOT / "schemas" / "events" / "odometer.json").read_text())
    contract["properties"]["tags"] = {"type": "array", "items": {"type": "string", "maxLength": 5}}

    node = tree(contract, "odometer.json", SchemaFiles(ROOT / "schemas" / "events"))
    fields = searchable(ContractSet([contract_of("odometer.json", node)]), SUFFIX)
    assert (fields["tags"], fields["odometer_m"], fields["timestamp"]) == ("", "integer", "")


def test_documents_and_sql_exclude_each_other(tmp_path: Path) -> None:
    definition(tmp_path)
    (tmp_path / "sql" / "metrics" / "m" / "source.sql").write_text("SELECT 1")
    with pytest.raises(DefinitionError, match="is not used beside `documents`"):
        definition(tmp_path)
    with pytest.raises(DefinitionError, match="'@timestamp' is not an identifier"):
        load_definition(_sql(tmp_path / "other"))
    with pytest.raises(DefinitionError, match="is not an identifier"):
        definition(tmp_path / "third", documents={"where": {'kind"}': 1}})


def _sql(root: Path) -> Path:
    folder = root / "m"
    folder.mkdir(parents=True)
    (folder / "metric.yaml").write_text(yaml.safe_dump({k: v for k, v in GOOD.items() if k != "documents"}))
    (folder / "source.sql").write_text("SELECT 1")
    return folder


def test_the_version_covers_the_documents(tmp_path: Path) -> None:
    versions = {
        definition(tmp_path, documents=documents).version
        for documents in ({}, {"where": {"kind": "location"}}, {"where": {"kind": ["location"]}})
    }
    assert len(versions) == 3


def test_nothing_compares_with_what_is_missing() -> None:
    exists = {"exists": {"field": "a.b"}}
    assert query.conditions({"a.b": Comparison(ne=1, not_in=[2, 3], gte=0)}) == [
        exists,
        {"bool": {"must_not": {"terms": {"a.b": [1, 2, 3]}}}},
        {"range": {"a.b": {"gte": 0}}},
    ]
    assert query.conditions({"a.b": Comparison(is_null=True)}) == [{"bool": {"must_not": exists}}]
    assert query.conditions({"a.b": Comparison(is_null=False, eq=False)}) == [{"term": {"a.b": False}}, exists]


FIELD = Dimension(column="f", limit=5)


def test_a_text_that_stands_for_others_is_not_looked_up() -> None:
    assert query.one_of(FIELD, ["b", "a", "b"]) == {"terms": {"f": ["a", "b"]}}
    assert query.one_of(FIELD, ["unknown", "\\(other)"]) == {"terms": {"f": ["(other)", "unknown"]}}
    assert query.one_of(FIELD, ["a", "(not set)"]) is None
    assert query.one_of(FIELD, ["a", query.text_of("x\0")]) == {"terms": {"f": ["a", "x\0"]}}
    assert [query.shown(value) for value in (None, True, False, 5, "é")] == ["(not set)", "true", "false", "5", "é"]
    assert query.shown("(not set)") == "\\(not set)" and query.text_of("(not set)") == "(not set)"


def test_documents_of_one_label() -> None:
    assert query.labelled(FIELD, "(not set)") == {"bool": {"must_not": {"exists": {"field": "f"}}}}
    assert query.labelled(FIELD, "\\(not set)") == {"term": {"f": "(not set)"}}
    assert query.labelled(FIELD, r"x\u0000") == {"term": {"f": "x\0"}}
    assert query.labelled(FIELD, "x\ufffd") == {"term": {"f": "x\ufffd"}}
    assert query.labelled(FIELD, "(other)") == query.labelled(FIELD, "*") == {"match_none": {}}


@pytest.mark.parametrize(
    ("stats", "exact"),
    [
        ({"count": 2, "min": 1.0, "max": 2.0**53 - 2, "sum": 2.0**53 - 1}, True),
        ({"count": 2, "min": 1.0, "max": 2.0**53 - 1, "sum": 2.0**53}, False),
        ({"count": 2, "min": -(2.0**60), "max": 2.0**60, "sum": 0.0}, False),
        ({"count": 3, "min": -5.0, "max": 7.0, "sum": 2.0}, True),
        ({"count": 0, "min": None, "max": None, "sum": 0.0}, True),
    ],
)
def test_a_sum_that_may_be_rounded_is_not_taken(stats: dict[str, Any], exact: bool) -> None:
    assert query.rounded(stats) != exact
    assert query.number("s", Sum(agg="sum", of="total"), {"s": {"v": stats}}) == (stats["sum"] if exact else 0)


def test_what_documents_cannot_be_counted_follows_from_the_measures(tmp_path: Path) -> None:
    (tmp_path / "metric.yaml").write_text(
        "metric: m\nsource: s\nevent_time: '@timestamp'\ndocuments: {}\nmeasures:\n  n: {agg: count}\n"
        "  a: {agg: sum, of: x}\n  b: {agg: max, of: x}\n  c: {agg: percentile, of: y}\n  d: {agg: distinct, of: z}\n"
    )
    folder = tmp_path.rename(tmp_path.parent / "m")
    found = query.uncountable(load_definition(folder))
    assert found.pop("z") == {"term": {"_ignored": "z"}}
    largest = math.nextafter(1e100, 0)
    assert {path: bad["query_string"]["query"] for path, bad in found.items()} == {
        "x": 'x:[* TO "-1000000000000000"} OR x:{"1000000000000000" TO *]',
        "y": f'y:[* TO "-{largest}"}} OR y:{{"{largest}" TO *]',
    }


def test_two_spellings_of_a_cell_are_one() -> None:
    low, high = Extreme(agg="min", of="f"), Extreme(agg="max", of="f")
    assert [query.together(m, 3, 5) for m in (Sum(agg="sum", of="f"), low, high)] == [8, 3, 5]
    assert [query.together(m, None, 5) for m in (low, high)] == [5, 5]
    assert query.together(low, None, None) is None


def test_instants_are_rounded_to_what_documents_can_tell() -> None:
    at = datetime(2026, 11, 21, 1, 2, 3, 4000, tzinfo=UTC)
    assert query.instant(query.milliseconds(at)) == at
    assert query.milliseconds(at + timedelta(microseconds=1)) == query.milliseconds(at) + 1


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (401, "security_exception", Stop),
        (403, "security_exception", Forbidden),
        (403, "cluster_block_exception", Conflict),
        (400, "index_closed_exception", Conflict),
        (429, "circuit_breaking_exception", Conflict),
        (503, "search_phase_execution_exception", Conflict),
        (404, "search_context_missing_exception", Conflict),
        (400, "parsing_exception", Terminal),
    ],
)
def test_a_refusal_has_a_class_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, kind: str, expected: type[FleetgaugeError]
) -> None:
    body = json.dumps({"error": {"type": kind, "reason": "no", "root_cause": []}, "status": status}).encode()

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    one = definition(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(expected, match="device-events") as caught:
            _look(one, f"http://127.0.0.1:{server.server_address[1]}", monkeypatch)
        server.shutdown()
    assert type(caught.value) is expected


def test_a_server_that_is_away_is_a_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Conflict, match="check that Elasticsearch runs there"):
        _look(definition(tmp_path), "http://127.0.0.1:1", monkeypatch)


def _look(one: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka answers well, that the fault is Elasticsearch's alone."""

    now = datetime(2026, 11, 21, tzinfo=UTC)
    monkeypatch.setattr(
        elasticsearch, "read_progress", lambda _, topic, group, __: GroupProgress(topic, group, "t", now, ())
    )
    settings = Settings(elasticsearch=ElasticsearchSettings(url=url))
    stream = event_streams(ROOT, own_metrics().values())["device_events"]
    source = ElasticsearchSource("device_events", stream, settings, SystemClock())
    with source.look(one):
        pass

"""`fleetgauge test`: the project's own tests pass, a wrong expectation is told, and nothing is left behind."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from elasticsearch import Elasticsearch
from rollup_world import KEY, World
from typer.testing import CliRunner, Result

from fleetgauge.cli.app import app
from fleetgauge.document_sources import event_streams
from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.metric_tests import MetricTestResult, load_tests, run_tests
from fleetgauge.rollup.metric_tests.documents import PREFIX
from fleetgauge.settings import ElasticsearchSettings
from fleetlab.stack import ElasticsearchState

ROOT = Path(__file__).parents[4]
Cli = Callable[..., Result]

BAKERY: dict[str, Any] = {
    "metric": "bread",
    "source": "bakery",
    "event_time": "baked_at",
    "change_time": "updated_at",
    "dimensions": {"oven": {"column": "oven", "limit": 4}},
    "measures": {
        "loaves": {"agg": "count"},
        "burnt": {"agg": "count", "where": {"state": "burnt"}},
        "share": {"agg": "ratio", "numerator": "burnt", "denominator": "loaves"},
        "grams": {"agg": "percentile", "of": "grams"},
        "bakers": {"agg": "distinct", "of": "baker"},
        "price": {"agg": "sum", "of": "price", "type": "numeric"},
        "latest": {"agg": "last", "of": "grams"},
    },
}
SQL = "SELECT l.baked_at, l.updated_at, l.oven, l.state, l.grams, l.baker, l.price FROM shop.loaves AS l\n"
LOAF = {"baked_at": "2026-11-21 10:00:10Z", "updated_at": "2026-11-21 10:00:10Z", "oven": "a", "state": "done"}
TEST: dict[str, Any] = {
    "now": "2026-11-21 12:00:00Z",
    "given": {
        "shop.loaves": [
            {**LOAF, "grams": 500, "baker": "ada", "price": 3.10},
            {**LOAF, "grams": 750, "baker": "bob", "price": 4, "state": "burnt", "oven": "o'neil\"; --"},
            {**LOAF, "grams": None, "baker": "ada", "price": None, "baked_at": "2026-11-21 10:01:00Z"},
        ]
    },
    "expect": {
        "hour": [
            {"oven": "a", "loaves": 2, "share": 0, "grams": {"p50": 500}, "bakers": 1, "price": 3.1, "latest": 500},
            {"oven": "o'neil\"; --", "loaves": 1, "share": 1, "grams": {"p99.9": 750}, "bakers": 1, "price": 4},
        ],
        "day": [{"loaves": 1}],
    },
}


@pytest.fixture(scope="module", autouse=True)
def migrated(world: World) -> None:
    world.migrate(*load_definitions(ROOT, KEY.id).values())


def everything(world: World) -> list[tuple[Any, ...]]:
    """All relations and all ledger rows."""
    return world.metrics.execute(
        "SELECT oid::regclass::text FROM pg_class UNION ALL SELECT metric || version || grain FROM fleetgauge.ledger"
        " UNION ALL SELECT metric || version FROM fleetgauge.metric_version ORDER BY 1"
    ).fetchall()


def test_the_projects_tests_pass_and_leave_nothing(world: World, elasticsearch: ElasticsearchState) -> None:
    definitions = load_definitions(ROOT)
    tests = load_tests(ROOT, definitions.values())
    assert [name for name, found in tests.items() if not found] == []
    before = everything(world)
    settings = world.settings.model_copy(update={"elasticsearch": ElasticsearchSettings(url=elasticsearch.url)})
    streams = event_streams(ROOT, definitions.values())
    every = [(definitions[name], test) for name, found in tests.items() for test in found]
    for outcome in run_tests(settings, every, streams):
        assert outcome.passed, outcome
    assert everything(world) == before
    with Elasticsearch(elasticsearch.url) as client:
        assert client.indices.get(index=f"{PREFIX}*").body == {}


def test_wrong_documents_and_an_absent_server_are_told(world: World, elasticsearch: ElasticsearchState) -> None:
    definition = load_definitions(ROOT)["telemetry"]
    (test,) = load_tests(ROOT, [definition])["telemetry"]
    streams = event_streams(ROOT, [definition])
    wrong = replace(test, given={"device_events": [{**test.given["device_events"][0], "speed": "fast"}]})
    settings = world.settings.model_copy(update={"elasticsearch": ElasticsearchSettings(url=elasticsearch.url)})
    (outcome,) = run_tests(settings, [(definition, wrong)], streams)
    assert "speed" in str(outcome.error) and "fast" in str(outcome.error)
    nobody = ElasticsearchSettings(url="http://127.0.0.1:9")
    (outcome,) = run_tests(settings.model_copy(update={"elasticsearch": nobody}), [(definition, test)], streams)
    assert "need a running Elasticsearch" in str(outcome.error)
    less = replace(test, given={"device_events": test.given["device_events"][1:]})
    (outcome,) = run_tests(settings, [(definition, less)], streams)
    assert {(d.level, d.column) for d in outcome.differences} >= {("minute", "events"), ("day", "bytes")}


def test_the_metric_of_the_guide_computes_what_its_test_says(world: World, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "adding-a-metric.md").read_text("utf-8")
    folder = tmp_path / "sql" / "metrics" / "payment"
    (folder / "tests").mkdir(parents=True)
    texts = re.findall(r"```(?:sql|yaml)\n(.*?)```", page, re.DOTALL)
    for name, text in zip(("source.sql", "metric.yaml", "tests/refund.yaml"), texts, strict=True):
        (folder / name).write_text(text)
    one = load_definitions(tmp_path)["payment"]
    (outcome,) = run_tests(world.settings, [(one, test) for test in load_tests(tmp_path, [one])["payment"]])
    assert outcome.passed, outcome


@pytest.fixture
def content(tmp_path: Path) -> Path:
    folder = tmp_path / "sql" / "metrics" / "bread"
    (folder / "tests").mkdir(parents=True)
    (folder / "metric.yaml").write_text(yaml.safe_dump(BAKERY, sort_keys=False))
    (folder / "source.sql").write_text(SQL)
    return tmp_path


@pytest.fixture
def run(world: World, content: Path) -> Callable[[dict[str, Any]], MetricTestResult]:
    def once(test: dict[str, Any]) -> MetricTestResult:
        # Unquoted, as a person would write instants.
        text = yaml.safe_dump(test, sort_keys=False).replace("Z'", "Z").replace("'2026", "2026")
        (content / "sql/metrics/bread/tests/one.yaml").write_text(text)
        one = load_definitions(content)["bread"]
        (outcome,) = run_tests(world.settings, [(one, load_tests(content, [one])["bread"][0])])
        return outcome

    return once


def with_expected(level: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**TEST, "expect": {level: list(rows)}, **more}


def told(outcome: MetricTestResult) -> set[tuple[str, str, str]]:
    assert outcome.error is None, outcome.error
    return {(d.column, d.expected, d.actual) for d in outcome.differences}


def test_what_differs_is_told(run: Callable[[dict[str, Any]], MetricTestResult]) -> None:
    outcome = run(TEST)
    assert told(outcome) == {("", "one row", "2 rows; name window_start, date, oven too")}
    good = {"oven": "a", "loaves": 2, "grams": {"p50": 500, "p95": 500}, "bakers": 1, "price": 3.10}
    other = {"oven": "o'neil\"; --", "burnt": 1}
    assert run(with_expected("hour", good, other)).passed
    assert told(run(with_expected("hour", {**good, "loaves": 3}, other))) == {("loaves", "3", "2")}
    assert told(run(with_expected("hour", {**good, "price": 3.11}, other))) == {("price", "3.11", "3.1")}
    assert told(run(with_expected("hour", {**good, "bakers": 2}, other))) == {("bakers", "2", "1")}
    assert told(run(with_expected("hour", {**good, "grams": {"p50": 506}}, other))) == {("grams p50", "506", "496.436")}
    assert told(run(with_expected("hour", good))) == {("", "none", "this row")}
    assert told(run(with_expected("hour", good, other, {"oven": "c"}))) == {("", "this row", "none")}
    assert told(run(with_expected("minute", {"oven": "a", "loaves": 1}, other))) == {
        ("", "one row", "2 rows; name window_start too")
    }
    assert told(run(with_expected("hour", {**good, "provisional": True}, other))) == {("provisional", "True", "False")}
    early = with_expected("hour", {**good, "provisional": True}, other, now="2026-11-21 10:05:00Z")
    assert run(early).passed


def test_a_broken_check_and_a_broken_query_are_told(
    run: Callable[[dict[str, Any]], MetricTestResult], content: Path
) -> None:
    folder = content / "sql/metrics/bread"
    (folder / "metric.yaml").write_text(yaml.safe_dump({**BAKERY, "checks": {"fail": ["burnt = 0"]}}))
    assert "check 'burnt = 0' is broken in the minute of 2026-11-21T10:00Z" in str(run(TEST).error)
    (folder / "metric.yaml").write_text(yaml.safe_dump(BAKERY))
    (folder / "source.sql").write_text(SQL.replace("l.grams", "l.weight AS grams"))
    assert "column l.weight does not exist" in str(run(TEST).error)
    (folder / "source.sql").write_text(SQL.replace("shop.loaves", "shop.rolls"))
    assert "tests/one.yaml: source.sql reads shop.rolls; give its rows" in str(run(TEST).error)
    (folder / "source.sql").write_text(SQL)
    rows = [{**LOAF, "grams": None, "baker": "ada", "price": 1}]
    assert "shop.loaves.grams is NULL in all rows; say its type" in str(
        run({**TEST, "given": {"shop.loaves": rows}}).error
    )
    typed = {**TEST, "given": {"shop.loaves": rows}, "types": {"shop.loaves": {"grams": "integer"}}}
    assert run({**typed, "expect": {"day": [{"loaves": 1, "grams": {"p50": None}, "latest": None}]}}).passed


@pytest.fixture
def cli(world: World, content: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    monkeypatch.setenv("FLEETGAUGE_CONTENT", str(content))
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", world.settings.metrics.url.get_secret_value())
    monkeypatch.delenv("FLEETGAUGE_CONFIG", raising=False)
    yield lambda *arguments: CliRunner().invoke(app, ["test", *arguments])


def test_the_command(cli: Cli, run: Callable[[dict[str, Any]], MetricTestResult]) -> None:
    assert cli().exit_code == 0
    assert "without tests: bread" in cli().stdout
    run(with_expected("hour", {"oven": "a", "loaves": 9}))
    done = cli("bread", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["failed"], found["without"]) == (1, [])
    assert found["tests"][0]["differences"][0] == {
        "level": "hour", "row": "a", "column": "loaves", "expected": "9", "actual": "2",
    }  # fmt: skip
    plain = cli()
    assert plain.exit_code == 1
    assert "bread/one: FAILED" in plain.stdout
    assert re.search(r"^hour +a +loaves +9 +2$", plain.stdout, re.MULTILINE)
    assert cli("cake").exit_code != 0


def test_a_metric_of_mariadb_is_tried_with_its_clocks(
    run: Callable[[dict[str, Any]], MetricTestResult], content: Path
) -> None:
    folder = content / "sql/metrics/bread"
    (folder / "metric.yaml").write_text(yaml.safe_dump({**BAKERY, "dialect": "mysql", "datetime_offset": "UTC"}))
    (folder / "source.sql").write_text(
        SQL.replace("l.baked_at,", "CONVERT_TZ(l.baked_at, '+09:00', '-01:30') AS baked_at,")
    )
    at = {"window_start": "2026-11-20 23:00:00Z", "loaves": 1}
    assert run(with_expected("hour", {**at, "oven": "a", "loaves": 2}, {**at, "oven": "o'neil\"; --"})).passed

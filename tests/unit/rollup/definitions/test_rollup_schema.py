"""The JSON Schema of metric.yaml says the same as the loader, wherever structure alone decides."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.rollup import DefinitionError
from fleetgauge.rollup.definitions.loader import load_definition
from fleetgauge.rollup.definitions.schema import metric_schema
from fleetgauge.rollup.operating.metric_reference import pages

ROOT = Path(__file__).parents[4]
METRICS = sorted((ROOT / "sql" / "metrics").glob("*/metric.yaml"))
SCHEMA = jsonschema.Draft202012Validator(metric_schema())
SQL = "SELECT 1"

FULL: dict[str, Any] = {
    "metric": "full",
    "source": "operations",
    "event_time": "at",
    "change_time": "updated_at",
    "time_zone": "Asia/Seoul",
    "grace": "30s",
    "late": "1d",
    "source_kept": "90d",
    "provisional_while": "n",
    "dimensions": {"zone": {"column": "zone", "limit": 8, "description": "d"}, "kind": {"column": "kind", "limit": 2}},
    "rollups": {"by_zone": ["zone"], "total": []},
    "interval": {"until": "ended_at", "longest": "2h", "known_within": "30m"},
    "measures": {
        "n": {"agg": "count", "where": {"a": 1, "b": [True, "x"], "c": {"gte": 1.5, "is_null": False, "not_in": [1]}}},
        "s": {"agg": "sum", "of": "x", "type": "numeric"},
        "low": {"agg": "min", "of": "x", "type": "float"},
        "p": {"agg": "percentile", "of": "x"},
        "d": {"agg": "distinct", "of": "x"},
        "l": {"agg": "last", "of": "x", "type": "text"},
        "h": {"agg": "duration", "where": {"a": "b"}},
        "r": {"agg": "ratio", "numerator": "s", "denominator": "n"},
    },
    "checks": {"fail": ["n >= 0"], "warn": ["s <= 5"]},
    "retention": {"minute": "90d", "hour": None},
    "description": "text",
    "owner": "team",
}


def loads(folder: Path, raw: Any) -> bool:
    folder.mkdir(exist_ok=True)
    (folder / "metric.yaml").write_text(yaml.safe_dump(raw))
    (folder / "source.sql").write_text(SQL)
    try:
        load_definition(folder)
    except DefinitionError:
        return False
    return True


@pytest.mark.parametrize("path", METRICS, ids=lambda path: path.parent.name)
def test_it_accepts_the_projects_metrics(path: Path) -> None:
    SCHEMA.validate(yaml.safe_load(path.read_text()))


def test_it_accepts_whatever_a_definition_may_say(tmp_path: Path) -> None:
    assert loads(tmp_path / "full", FULL)
    SCHEMA.validate(FULL)


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        node: Any = raw
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        node: Any = raw
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]

    return change


GOOD = [
    put("grace", value="5m"),
    put("change_time", value=None),
    put("interval", "known_within", value="1h"),
    put("dimensions", "zone", "limit", value=100_000),
    put("measures", "n", "where", value={}),
    put("measures", "n", "where", "c", value={"eq": None, "lt": 3}),
    put("measures", "l", "type", value="float"),
    drop("checks"),
    drop("rollups"),
    drop("description"),
]
BAD = [
    drop("metric"),
    drop("source"),
    drop("event_time"),
    drop("measures"),
    put("measures", value={}),
    put("measures", value=[]),
    put("metric", value="Full"),
    put("metric", value="f" * 33),
    put("source", value=1),
    put("event_time", value="at; DROP TABLE x"),
    put("change_time", value=["a"]),
    put("time_zone", value=9),
    put("grace", value=30),
    put("grace", value="30 s"),
    put("grace", value="-30s"),
    put("retention", "minute", value="for ever"),
    put("colour", value="red"),
    put("source_sql", value="SELECT 1"),
    put("dimensions", "zone", value="zone"),
    put("dimensions", "zone", "limit", value=0),
    put("dimensions", "zone", "limit", value="8"),
    put("dimensions", "zone", "limit", value=8.5),
    put("dimensions", "zone", "limt", value=8),
    drop("dimensions", "zone", "column"),
    put("dimensions", "Zone", value={"column": "z", "limit": 1}),
    put("rollups", "by_zone", value="zone"),
    put("rollups", "by_" + "z" * 20, value=["zone"]),
    drop("interval", "longest"),
    put("interval", "longest", value=7200),
    put("interval", "shortest", value="1s"),
    put("measures", "n", "agg", value="avg"),
    put("measures", "n", "agg", value=None),
    drop("measures", "n", "agg"),
    drop("measures", "s", "of"),
    put("measures", "s", "type", value="float"),
    put("measures", "s", "of", value=""),
    put("measures", "p", "type", value="integer"),
    put("measures", "r", "of", value="x"),
    drop("measures", "r", "numerator"),
    put("measures", "n", "where", value=["a"]),
    put("measures", "n", "where", "a", value=None),
    put("measures", "n", "where", "a", value=[]),
    put("measures", "n", "where", "a", value=[[1]]),
    put("measures", "n", "where", "a", value={"above": 1}),
    put("measures", "n", "where", "a", value={"gt": [1]}),
    put("measures", "n", "where", "a", value={"is_null": "yes"}),
    put("measures", "n", "where", "a\" = 1 --", value=1),
    put("checks", "fail", value="n >= 0"),
    put("checks", "fail", value=[1]),
    put("checks", "error", value=[]),
    put("description", value=["text"]),
]  # fmt: skip


@pytest.mark.parametrize("change", range(len(GOOD)))
def test_both_accept(tmp_path: Path, change: int) -> None:
    raw = copy.deepcopy(FULL)
    GOOD[change](raw)
    assert loads(tmp_path / "full", raw)
    assert SCHEMA.is_valid(raw)


@pytest.mark.parametrize("change", range(len(BAD)))
def test_both_refuse(tmp_path: Path, change: int) -> None:
    raw = copy.deepcopy(FULL)
    BAD[change](raw)
    assert raw != FULL
    assert not loads(tmp_path / "full", raw), raw
    assert not SCHEMA.is_valid(raw), raw


def test_every_key_of_a_definition_is_explained() -> None:
    schema = metric_schema()
    assert [name for name, node in schema["properties"].items() if "description" not in node] == []
    assert [name for name, node in schema["$defs"].items() if "description" not in node] == []


def test_the_generated_files_are_up_to_date_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGAUGE_CONTENT", str(ROOT))
    monkeypatch.delenv("FLEETGAUGE_CONFIG", raising=False)
    cli = CliRunner()
    done = cli.invoke(app, ["metrics", "docs", "--check"])
    assert done.exit_code == 0, done.exception
    folder = tmp_path / "sql" / "metrics" / "full"
    folder.mkdir(parents=True)
    loads(folder, FULL)
    monkeypatch.setenv("FLEETGAUGE_CONTENT", str(tmp_path))
    assert cli.invoke(app, ["metrics", "docs", "--check"]).exit_code != 0
    assert cli.invoke(app, ["metrics", "docs"]).exit_code == 0
    by_hand = tmp_path / "docs" / "metrics" / "by_hand.md"
    by_hand.write_text("# mine\n")
    assert cli.invoke(app, ["metrics", "docs", "--check"]).exit_code == 0
    assert json.loads((tmp_path / "schemas" / "metric.schema.json").read_text()) == metric_schema()
    shutil.rmtree(folder)
    done = cli.invoke(app, ["metrics", "docs", "--json"])
    assert json.loads(done.stdout)["renewed"] == ["docs/metrics/README.md", "docs/metrics/full.md"]
    assert [path.name for path in sorted(by_hand.parent.iterdir())] == ["README.md", "by_hand.md"]


def test_a_page_tells_all_of_a_metric(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    assert loads(folder, FULL)
    one = load_definition(folder)
    page = next(text for path, text in pages({"full": one}, {}).items() if path.name == "full.md")
    for column in [*one.measures, *one.dimensions]:
        assert f"| `{column}` |" in page
    for level in one.levels:
        assert f"`metrics.{one.view(level)}`" in page
    for said in (
        "`a` = `1` and `b` one of `true`, `x` and `c` ≥ `1.5` and `c` none of `1` and `c` there",
        SQL,
        "90 days",
    ):
        assert said in page


@pytest.mark.parametrize("path", METRICS, ids=lambda path: path.parent.name)
def test_editors_find_the_schema(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == ROOT / "schemas" / "metric.schema.json"

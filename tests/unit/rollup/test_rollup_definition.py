"""Definitions: every problem at once, each with its file; what changes numbers changes the version."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetgauge.rollup import DefinitionError, load_definitions
from fleetgauge.rollup.loader import load_definition

ROOT = Path(__file__).parents[3]

GOOD: dict[str, Any] = {
    "metric": "ride",
    "source": "operations",
    "event_time": "began",
    "change_time": "changed",
    "dimensions": {"zone": {"column": "zone_code", "limit": 8}},
    "measures": {
        "n": {"agg": "count"},
        "ended": {"agg": "count", "where": {"state": ["done", "paid"]}},
        "share": {"agg": "ratio", "numerator": "ended", "denominator": "n"},
    },
}
SQL = "SELECT began, changed, zone_code, state FROM rides"


def write(root: Path, raw: Any = None, text: str = SQL, metric: str = "ride") -> Path:
    folder = root / "sql" / "metrics" / metric
    folder.mkdir(parents=True)
    (folder / "metric.yaml").write_text(raw if isinstance(raw, str) else yaml.safe_dump(GOOD if raw is None else raw))
    (folder / "source.sql").write_text(text)
    return folder


def problems(root: Path, **changes: Any) -> str:
    text = changes.pop("text", SQL)
    write(root, {**GOOD, **changes}, text)
    with pytest.raises(DefinitionError) as caught:
        load_definitions(root)
    return "\n".join(caught.value.problems)


def test_the_projects_definitions_are_valid() -> None:
    found = load_definitions(ROOT)
    assert {"rental", "device_command", "traffic"} <= set(found)
    assert found["rental"].time_zone == "Asia/Seoul"
    assert found["rental"].grace == timedelta(seconds=30)


def test_no_folder_is_no_metric(tmp_path: Path) -> None:
    assert load_definitions(tmp_path) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event_time": "a; DROP TABLE x"}, "event_time: 'a; DROP TABLE x' is not an identifier"),
        ({"time_zone": "Seoul"}, "time_zone: 'Seoul' is not an IANA time zone"),
        ({"time_zone": "../../etc/passwd"}, "is not an IANA time zone"),
        ({"grace": "5 minutes"}, "grace: '5 minutes' is not a duration"),
        ({"colour": "red"}, "'colour' is not a known key"),
        ({"source_sql": "SELECT 1"}, "source_sql belongs into a file beside it"),
        ({"measures": {}}, "measures: "),
        ({"measures": {"a": {"agg": "avg", "of": "x"}}}, "measures.a: agg 'avg' cannot be merged"),
        ({"measures": {"a": {"agg": "p95", "of": "x"}}}, "measures.a: agg 'p95' cannot be merged"),
        ({"measures": {"a": {"agg": "total", "of": "x"}}}, "measures.a: agg 'total' is unknown"),
        ({"measures": {"a": {"of": "x"}}}, "measures.a: agg is missing"),
        ({"measures": {"count": {"agg": "sum"}}}, "measures.count.of: is missing"),
        ({"measures": {"A": {"agg": "count"}}}, "'A' is not an identifier"),
        ({"measures": {"date": {"agg": "count"}}}, "date is a column that every view has"),
        ({"measures": {"zone": {"agg": "count"}}}, "zone is both a dimension and a measure"),
        ({"measures": {"a": {"agg": "count", "where": {'x" = 1 --': 1}}}}, "is not an identifier"),
        ({"measures": {"a": {"agg": "count", "where": {"x": None}}}}, "measures.a.where.x: None is not a value"),
        ({"measures": {"a": {"agg": "count", "where": {"x": {"above": 1}}}}}, "where.x: 'above' is not a known key"),
        ({"measures": {"a": {"agg": "sum", "of": "x", "type": "float"}}}, "measures.a.type: "),
        (
            {"measures": {"n": {"agg": "count"}, "r": {"agg": "ratio", "numerator": "q", "denominator": "n"}}},
            "measures.r: q is not a stored number",
        ),
        ({"dimensions": {"z": {"column": "c", "limit": 0}}}, "dimensions.z.limit: "),
        ({"dimensions": {"z": {"column": "c"}}}, "dimensions.z.limit: is missing"),
        ({"provisional_while": "share"}, "provisional_while: share is not a measure of kind count"),
        ({"checks": {"fail": ["n <"]}}, "checks.fail.0: 'n <' is not a check"),
        ({"checks": {"warn": ["n <= m"]}}, "checks.warn: 'n <= m' names m, no stored number"),
        ({"metric": "other"}, "metric: is 'other' but its folder is 'ride'"),
        ({"text": "DELETE FROM rides"}, "source.sql: must be exactly one SELECT"),
        ({"text": "SELECT 1; SELECT 2"}, "source.sql: must be exactly one SELECT"),
        ({"text": "SELECT * FROM rides LIMIT 5"}, "source.sql: must not have LIMIT"),
        ({"text": "SELECT * INTO x FROM rides"}, "source.sql: must only read"),
        ({"text": "WITH d AS (DELETE FROM rides RETURNING *) SELECT * FROM d"}, "source.sql: must only read"),
        ({"text": "SELECT * FROM rides FOR UPDATE"}, "source.sql: must only read"),
        ({"text": "SELECT (("}, "source.sql: is not SQL"),
        ({"text": ""}, "source.sql: must be exactly one SELECT"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_place(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    found = problems(tmp_path, **changes)
    assert said in found
    assert all(line.startswith("sql/metrics/ride/") for line in found.splitlines())


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, {**GOOD, "grace": "x", "time_zone": "y"}, "DELETE FROM a")
    write(tmp_path, "metric: twice\nsource: a\nsource: b\n", metric="twice")
    write(tmp_path, "- a list", metric="list")
    write(tmp_path, {**GOOD, "metric": "fine"}, metric="fine")
    with pytest.raises(DefinitionError) as caught:
        load_definitions(tmp_path)
    found = caught.value.problems
    assert len(found) == 5
    assert any(p.startswith("sql/metrics/twice/metric.yaml:3: key 'source' stands here twice") for p in found)
    assert any(p.startswith("sql/metrics/list/metric.yaml: is not a mapping") for p in found)
    assert all(p in str(caught.value) for p in found)


def test_a_missing_query_is_named(tmp_path: Path) -> None:
    (write(tmp_path) / "source.sql").unlink()
    with pytest.raises(DefinitionError, match=r"source\.sql: is missing"):
        load_definitions(tmp_path)


def version(root: Path, name: str, text: str = SQL, **changes: Any) -> str:
    return load_definition(write(root / name, {**GOOD, **changes}, text)).version


def test_only_what_changes_numbers_changes_the_version(tmp_path: Path) -> None:
    plain = version(tmp_path, "a")
    same = [
        version(tmp_path, "b", description="d", owner="o", grace="9s", checks={"fail": ["n > 0"]}),
        version(tmp_path, "c", text=f"-- a remark\n{SQL.replace(' ', chr(10))};"),
        version(tmp_path, "d", retention={"minute": "7d"}, provisional_while="n"),
    ]
    assert {plain, *same} == {plain}
    other = [
        version(tmp_path, "e", time_zone="Asia/Kolkata"),
        version(tmp_path, "f", text=SQL.replace("rides", "trips")),
        version(tmp_path, "g", text=SQL.replace("state", "'state' AS state")),
        version(tmp_path, "h", dimensions={"zone": {"column": "zone_code", "limit": 9}}),
        version(tmp_path, "i", measures={"n": {"agg": "count", "where": {"state": "done"}}}),
        version(tmp_path, "j", measures={"n": {"agg": "count", "where": {"state": {"ne": "done"}}}}),
        version(tmp_path, "k", event_time="changed"),
    ]
    assert len({plain, *other}) == 1 + len(other)

"""Definitions: every problem at once, each with its file; what changes numbers changes the version."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetgauge.rollup import DefinitionError, load_definitions
from fleetgauge.rollup.definitions.loader import load_definition

ROOT = Path(__file__).parents[4]

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
        ({"colour": "red"}, "'colour' is not a known key; remove it"),
        ({"sauce": "red"}, "'sauce' is not a known key; did you mean source?"),
        (
            {"dimensions": {"z": {"colum": "c", "limit": 8}}},
            "'colum' is not a known key; did you mean column?",
        ),
        ({"measures": {"a": {"agg": "sum", "off": "x"}}}, "measures.a: 'off' is not a known key; did you mean of?"),
        ({"measures": {"a": {"agg": "summ", "of": "x"}}}, "agg 'summ' is unknown; did you mean sum?"),
        (
            {"measures": {"a": {"agg": "count", "where": {"x": {"gtt": 1}}}}},
            "'gtt' is not a known key; did you mean",
        ),
        ({"interval": {"longest": "2h", "until": "u", "then_by": "id"}}, "interval.then_by: goes with until_next_of"),
        ({"interval": {"longest": "2h"}}, "interval: give one of until and until_next_of"),
        ({"measures": {"held": {"agg": "duration"}}}, "measures.held: a duration needs to know how long"),
        ({"interval": {"longest": "2h", "until": "u"}}, "interval: is for measures of kind duration, of which there"),
        ({"rollups": {"by_zone": ["zone"]}}, "rollups.by_zone: name fewer dimensions"),
        ({"source_kept": "30d"}, "source_kept: must be at least late + 35 d"),
        ({"source_sql": "SELECT 1"}, "source_sql belongs into a file beside it"),
        ({"measures": {}}, "measures: "),
        ({"measures": {"a": {"agg": "avg", "of": "x"}}}, "measures.a: agg 'avg' cannot be merged"),
        ({"measures": {"a": {"agg": "p95", "of": "x"}}}, "measures.a: agg 'p95' cannot be merged"),
        ({"measures": {"a": {"agg": "total", "of": "x"}}}, "measures.a: agg 'total' is unknown"),
        ({"measures": {"a": {"of": "x"}}}, "measures.a: agg is missing"),
        ({"measures": {"count": {"agg": "sum"}}}, "measures.count.of: is missing"),
        ({"measures": {"A": {"agg": "count"}}}, "'A' is not an identifier"),
        ({"measures": {"date": {"agg": "count"}}}, "date is a column that every view has"),
        ({"dimensions": {"by": {"column": "by", "limit": 2}}}, "dimensions.by: by is a variable of every dashboard"),
        ({"measures": {"zone": {"agg": "count"}}}, "zone is both a dimension and a measure"),
        ({"measures": {"a": {"agg": "count", "where": {'x" = 1 --': 1}}}}, "is not an identifier"),
        ({"measures": {"a": {"agg": "count", "where": {"x": None}}}}, "measures.a.where.x: nothing is not a value"),
        ({"measures": {"a": {"agg": "count", "where": {"x": {"above": 1}}}}}, "where.x: 'above' is not a known key"),
        ({"measures": {"a": {"agg": "sum", "of": "x", "type": "float"}}}, "measures.a.type: "),
        (
            {"measures": {"n": {"agg": "count"}, "r": {"agg": "ratio", "numerator": "q", "denominator": "n"}}},
            "measures.r.numerator: q is not a stored number",
        ),
        ({"dimensions": {"z": {"column": "c", "limit": 0}}}, "dimensions.z.limit: "),
        ({"dimensions": {"z": {"column": "c"}}}, "dimensions.z.limit: is missing"),
        ({"provisional_while": "share"}, "provisional_while: share is not a measure of kind count"),
        ({"checks": {"fail": ["n <"]}}, "checks.fail.0: 'n <' is not a check"),
        ({"checks": {"warn": ["n <= m"]}}, "checks.warn.0: 'n <= m' names m, no stored number"),
        ({"metric": "other"}, "metric: is 'other' but its folder is 'ride'"),
        ({"text": "DELETE FROM rides"}, "source.sql:1: must be exactly one SELECT"),
        ({"text": "SELECT 1; SELECT 2"}, "source.sql:1: must be exactly one SELECT"),
        ({"text": "SELECT * FROM rides LIMIT 5"}, "source.sql:1: must not have LIMIT"),
        ({"text": "SELECT * INTO x FROM rides"}, "source.sql:1: must only read"),
        ({"text": "WITH d AS (DELETE FROM rides RETURNING *) SELECT * FROM d"}, "source.sql:1: must only read"),
        ({"text": "SELECT * FROM rides FOR UPDATE"}, "source.sql:1: must only read"),
        ({"text": "SELECT (("}, "source.sql:1: is not SQL"),
        ({"text": "SELECT 'a\n, 2"}, "source.sql:1: is not SQL"),
        (
            {"text": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"},
            "pg_terminate_backend does more",
        ),
        ({"text": "SELECT \"lo_import\"('/etc/passwd') AS began"}, "lo_import does more than that"),
        ({"text": "SELECT * FROM dblink('x', 'DELETE FROM y')"}, "dblink does more than that"),
        ({"text": "SELECT * FROM rides WHERE zone = $1"}, "must not have parameters"),
        ({"text": ""}, "source.sql:1: must be exactly one SELECT"),
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
    assert len(found) == 7
    assert any(p.startswith("sql/metrics/twice/metric.yaml:3: key 'source' stands here twice") for p in found)
    assert any(p.startswith("sql/metrics/list/metric.yaml:1: is not a mapping") for p in found)
    assert all(p in str(caught.value) for p in found)
    assert all(re.match(r"sql/metrics/\w+/(metric\.yaml|source\.sql):\d+: ", p) for p in found)


PLACED = """\
metric: ride
source: operations
event_time: began
# A remark must not shift the lines.
dimensions:
  zone: {column: zone_code, limit: 8}
  kind:
    column: kind
    limit: 0
measures:
  n: {agg: count}
  n: {agg: count}
  share:
    agg: ratio
    numerator: n
    denominator: m
  length: {agg: sum, of: length, where: {state: {gt: [1]}}}
checks:
  fail:
    - n > 0
    - n > m
tine_zone: Asia/Seoul
"""


def test_each_problem_stands_at_its_line(tmp_path: Path) -> None:
    """What does not fit together is told once each part is right by itself."""
    write(tmp_path, PLACED, "-- facts\n\nSELECT began\nFROM rides\nORDER BY began\n")
    assert lines(tmp_path) == {
        ("metric.yaml", 9, "dimensions.kind.limit"),
        ("metric.yaml", 12, "key 'n' stands here twice; remove one"),
        ("metric.yaml", 17, "measures.length.where.state.gt"),
        ("metric.yaml", 22, "'tine_zone' is not a known key; did you mean time_zone?"),
        ("source.sql", 5, "must not have LIMIT, OFFSET or ORDER BY"),
    }
    fixed = PLACED.replace("limit: 0", "limit: 1").replace("{gt: [1]}", "{gt: 1}").replace("tine_zone", "time_zone")
    (tmp_path / "sql/metrics/ride/metric.yaml").write_text(fixed)
    (tmp_path / "sql/metrics/ride/source.sql").write_text("SELECT began\nFROM rides\nWHERE (began > '2026-01-01'\n")
    assert lines(tmp_path) == {
        ("metric.yaml", 12, "key 'n' stands here twice; remove one"),
        ("metric.yaml", 16, "measures.share.denominator"),
        ("metric.yaml", 21, "checks.fail.1"),
        ("source.sql", 3, "is not SQL"),
    }


def lines(root: Path) -> set[tuple[str, int, str]]:
    with pytest.raises(DefinitionError) as caught:
        load_definitions(root)
    found = set()
    for problem in caught.value.problems:
        file, line, said, *_ = problem.removeprefix("sql/metrics/ride/").split(":")
        found.add((file, int(line), said.strip().removesuffix(": every window is read by itself; remove it")))
    return found


def test_a_missing_query_is_named(tmp_path: Path) -> None:
    (write(tmp_path) / "source.sql").unlink()
    with pytest.raises(DefinitionError, match=r"source\.sql:1: is missing"):
        load_definitions(tmp_path)


def version(root: Path, name: str, text: str = SQL, **changes: Any) -> str:
    return load_definition(write(root / name, {**GOOD, **changes}, text)).version


def test_only_what_changes_numbers_changes_the_version(tmp_path: Path) -> None:
    plain = version(tmp_path, "a")
    same = [
        version(tmp_path, "b", description="d", owner="o", checks={"fail": ["n > 0"]}),
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
        version(tmp_path, "l", grace="9s"),
        version(tmp_path, "m", late="1d"),
        version(tmp_path, "n", change_time=None),
    ]
    assert len({plain, *other}) == 1 + len(other)

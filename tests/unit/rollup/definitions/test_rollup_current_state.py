"""Columns that say how things are now are refused, however they come into source.sql; history by time passes."""

from pathlib import Path

import pytest

from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.definitions.current_state import FILE, problems
from own_metrics import own_metrics

ROOT = Path(__file__).parents[4]

METRIC = """\
metric: ride
source: operations
event_time: started_at
dimensions:
  zone: {column: zone, limit: 8}
measures:
  n: {agg: count}
"""
MODEL = "dimensions.zone.column: vehicles.zone says how things are now, and would rewrite history; take the ride's own"


def found(root: Path, source: str, definition: str = METRIC) -> list[str]:
    folder = root / "sql" / "metrics" / "ride"
    folder.mkdir(parents=True)
    (folder / "metric.yaml").write_text(definition)
    (folder / "source.sql").write_text(source)
    (root / FILE).parent.mkdir(parents=True)
    (root / FILE).write_text("# …\nvehicles: the ride's own\n")
    return problems(root, load_definitions(root).values())


def test_the_projects_metrics_keep_to_it() -> None:
    assert (ROOT / FILE).is_file()
    assert problems(ROOT, own_metrics().values()) == []


@pytest.mark.parametrize(
    "source",
    [
        "SELECT r.started_at, v.zone FROM rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id",
        "SELECT r.started_at, vehicles.zone FROM rides AS r JOIN public.vehicles USING (id)",
        "SELECT r.started_at, upper(v.zone) || '!' AS zone FROM rides r, vehicles v WHERE v.id = r.vehicle_id",
        "WITH v AS (SELECT id, zone FROM vehicles) SELECT r.started_at, v.zone FROM rides r JOIN v USING (id)",
        "SELECT r.started_at, s.zone FROM rides r JOIN (SELECT id, v.zone FROM vehicles v) AS s USING (id)",
        "SELECT started_at, zone FROM vehicles",
        "SELECT started_at, zone FROM rides UNION ALL SELECT v.started_at, v.zone FROM vehicles v",
        "SELECT started_at, area AS zone FROM rides UNION ALL SELECT at, zone FROM vehicles UNION SELECT a, b FROM c",
    ],
)
def test_the_present_is_refused(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, source) == [f"sql/metrics/ride/metric.yaml:5: {MODEL}"]


@pytest.mark.parametrize(
    "source",
    [
        "SELECT r.started_at, zone FROM rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id",
        "SELECT * FROM rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id",
        "SELECT r.started_at, v.* FROM rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id",
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, source: str) -> None:
    (problem,) = found(tmp_path, source)
    assert "may come from vehicles, which says how things are now; write out the columns" in problem


@pytest.mark.parametrize(
    "source",
    [
        "SELECT r.started_at, r.zone FROM rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id",
        "SELECT r.started_at, r.zone, v.code FROM rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id",
        "SELECT r.*, v.code FROM rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id",
        "SELECT r.started_at, h.zone FROM rides r JOIN zone_history h ON h.id = r.id AND h.from_at <= r.started_at",
        "SELECT r.started_at, v.zone FROM rides r JOIN vehicles v ON v.id = r.id AND v.valid_from <= r.started_at",
        "SELECT started_at, zone FROM rides",
        "SELECT started_at, area AS zone FROM rides UNION ALL SELECT zone, 'none' FROM vehicles",
    ],
)
def test_the_past_passes(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, source) == []


def test_conditions_and_values_count_too(tmp_path: Path) -> None:
    source = "SELECT r.started_at, r.zone, v.state, v.price FROM rides r JOIN vehicles v ON v.id = r.vehicle_id"
    measures = "  broken: {agg: count, where: {state: broken}}\n  price: {agg: sum, of: price}\n"
    told = found(tmp_path, source, METRIC + measures)
    assert [line.split(": ")[0:2] for line in told] == [
        ["sql/metrics/ride/metric.yaml:8", "measures.broken.where.state"],
        ["sql/metrics/ride/metric.yaml:9", "measures.price.of"],
    ]


@pytest.mark.parametrize(
    "condition",
    [
        "r.zone FROM rides AS r\nJOIN vehicles AS v ON v.id = r.vehicle_id\nWHERE r.done AND v.state = 'active'",
        "r.zone FROM rides AS r\nJOIN vehicles AS v ON v.id = r.vehicle_id\nAND v.state = 'active'",
        "r.zone FROM rides AS r\nJOIN vehicles AS v ON (v.id = r.vehicle_id\nAND v.state = 'active')",
        "r.zone FROM rides AS r\nJOIN vehicles AS v USING (id)\nWHERE NOT (r.done OR v.state IS NULL)",
        "r.zone FROM rides AS r\nWHERE r.vehicle_id IN (SELECT v.id FROM vehicles AS v\nWHERE v.state = 'active')",
        "r.zone FROM rides AS r\nWHERE EXISTS (SELECT FROM vehicles v\nWHERE v.id = r.vehicle AND v.state = 'active')",
        "r.zone FROM rides AS r\nJOIN (SELECT v.id FROM vehicles AS v\nWHERE v.state = 'active') AS a USING (id)",
        "r.zone FROM rides AS r, vehicles AS v WHERE v.id = r.vehicle_id\n\nAND r.state <> v.state",
    ],
)
def test_conditions_of_the_source_on_the_present_are_refused(tmp_path: Path, condition: str) -> None:
    told = found(tmp_path, f"SELECT r.started_at, {condition}")
    said = "vehicles.state says how things are now, and picks rows by it; take the ride's own"
    assert told == [f"sql/metrics/ride/source.sql:3: {said}"]


@pytest.mark.parametrize(
    "condition",
    [
        "rides AS r LEFT JOIN vehicles AS v ON v.id = r.vehicle_id AND v.state = 'active'",
        "rides AS r JOIN vehicles AS v ON v.id = r.vehicle_id WHERE r.state = 'done'",
        "rides AS r JOIN vehicles AS v ON (v.id = r.vehicle_id)",
        "rides AS r JOIN vehicles AS v ON ((v.id = r.vehicle_id AND r.done) AND r.state = 'done')",
        "rides AS r WHERE r.vehicle_id IN (SELECT v.id FROM vehicles AS v)",
        "rides AS r WHERE r.vehicle_id IN (SELECT t.id FROM tests AS t WHERE state = 'x')",
        "rides AS r JOIN vehicles AS v ON v.id = r.id AND v.valid_from <= r.started_at AND v.state = 'active'",
    ],
)
def test_other_conditions_pass(tmp_path: Path, condition: str) -> None:
    assert found(tmp_path, f"SELECT r.started_at, r.zone FROM {condition}") == []


def test_a_condition_that_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    source = "SELECT r.started_at, r.zone FROM rides r JOIN vehicles v ON v.id = r.vehicle_id WHERE state = 'active'"
    (problem,) = found(tmp_path, source)
    assert problem.startswith("sql/metrics/ride/source.sql:1: state may be of vehicles, which says how things are now")

"""What `lint` wants to know about rows that change: where they are followed, or why they cannot move."""

from pathlib import Path
from typing import Any

import pytest

from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.moving import problems, unproven
from own_metrics import own_metrics

ROOT = Path(__file__).parents[4]


def definition(**changes: Any) -> Definition:
    return Definition(
        **{
            "metric": "ride",
            "source": "operations",
            "event_time": "started_at",
            "change_time": "updated_at",
            "source_sql": "SELECT 1",
            "dimensions": {"zone": {"column": "zone", "limit": 8}, "status": {"column": "status", "limit": 8}},
            "measures": {"n": {"agg": "count"}, "open": {"agg": "count", "where": {"status": "open"}}},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({}, "change_time", "name the `key`"),
        (
            {"interval": {"until": "ended_at", "longest": "2d"}, "measures": {"held": {"agg": "duration"}}},
            "change_time",
            "say `immutable:` and why",
        ),
        ({"source": "commands"}, "change_time", "name their key"),
        ({"source": "commands", "immutable": "I say so."}, "change_time", "name their key"),
        ({"key": "id", "immutable": "I say so."}, "immutable", "remove one of the two"),
        ({"change_time": None, "immutable": "I say so."}, "immutable", "remove it"),
        ({"immutable": "I say so.", "provisional_while": "open"}, "dimensions.status", "whatever `immutable` says"),
    ],
)
def test_what_is_not_proven_is_told(changes: dict[str, Any], place: str, said: str) -> None:
    (problem,) = unproven(definition(**changes))
    assert problem.startswith(f"{place}: ")
    assert said in problem


@pytest.mark.parametrize(
    "changes",
    [{"key": "id"}, {"source": "commands", "key": "id"}, {"immutable": "Written once."}, {"change_time": None}],
)
def test_what_is_proven_is_not(changes: dict[str, Any]) -> None:
    assert list(unproven(definition(**changes))) == []


def test_the_projects_own_metrics_are_proven() -> None:
    assert problems(ROOT, own_metrics().values()) == []


def test_a_reason_changes_no_number() -> None:
    assert definition(immutable="Written once.").version == definition().version


def test_a_problem_names_file_and_line(tmp_path: Path) -> None:
    folder = tmp_path / "sql" / "metrics" / "ride"
    folder.mkdir(parents=True)
    (folder / "source.sql").write_text("SELECT started_at, updated_at FROM rides")
    (folder / "metric.yaml").write_text(
        "metric: ride\nsource: operations\nevent_time: started_at\nchange_time: updated_at\n"
        "measures: {n: {agg: count}}\n"
    )
    (problem,) = problems(tmp_path, load_definitions(tmp_path).values())
    assert problem.startswith("sql/metrics/ride/metric.yaml:4: change_time: ")

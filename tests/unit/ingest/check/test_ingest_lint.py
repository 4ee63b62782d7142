"""Consumers are checked together, without any server."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleetgauge.cli.app import app
from fleetgauge.contracts import load
from fleetgauge.ingest.check.lint_consumers import check

ROOT = Path(__file__).parents[4]
CONTRACTS = load(ROOT / "schemas" / "events")


def declare(content: Path, name: str, /, **changes: object) -> None:
    fields = {"name": name, "topic": name, "contracts": ("battery",), "index": name, **changes}
    arguments = ", ".join(f"{key}={value!r}" for key, value in fields.items())
    text = f"from fleetgauge.ingest import Consumer\nconsumer = Consumer({arguments})\n"
    write(content, name, text)


def write(content: Path, name: str, text: str) -> None:
    (content / "consumers").mkdir(exist_ok=True)
    (content / "consumers" / f"{name.replace('-', '_')}.py").write_text(text)


def test_the_projects_own_content_has_no_problem() -> None:
    done = CliRunner().invoke(app, ["lint", "--json"], env={"FLEETGAUGE_CONTENT": str(ROOT)})
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["problems"] == []
    assert told["consumers"] == ["device-commands", "device-events"] and set(told["contracts"]) == set(CONTRACTS)


def test_consumers_without_anything_in_common_are_fine(tmp_path: Path) -> None:
    declare(tmp_path, "a")
    declare(tmp_path, "ab")
    declare(tmp_path, "b-a", contracts=("location", "tip_over"))
    consumers, problems = check(tmp_path, CONTRACTS)
    assert sorted(consumers) == ["a.py", "ab.py", "b_a.py"] and problems == []
    declare(tmp_path, "again", topic="a", index="a")  # alike but for the name: reads again, beside the first
    assert check(tmp_path, CONTRACTS)[1] == []
    declare(tmp_path, "again", topic="a", index="a", contracts=("location",))
    assert len(check(tmp_path, CONTRACTS)[1]) == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"index": "a"}, "index 'a' overlaps with 'a' of b.py"),
        ({"index": "a-b"}, "index 'a' overlaps with 'a-b' of b.py"),
        ({"topic": "a"}, "topic 'a' is used by b.py too"),
        ({"topic": "a.dlq"}, "topic 'a.dlq' is used by b.py too"),
        ({"name": "a"}, "consumer group 'fleetgauge-a' is used by b.py too"),
        ({"name": "c"}, "consumer file b.py: declares 'c'"),
        ({"contracts": ("battery", "bat")}, "consumer file b.py: names contract bat, which"),
        ({"contracts": ()}, "consumer file b.py: a consumer without contracts"),
        ({"index": "B"}, "consumer file b.py: consumer 'b': index 'B' must match"),
        ({"colour": 1}, "consumer file b.py:2: cannot be read: 'colour' is not a field of Consumer"),
    ],
)
def test_problems_name_the_file(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    declare(tmp_path, "a")
    declare(tmp_path, "b", **changes)
    problems = check(tmp_path, CONTRACTS)[1]
    assert any(complaint in problem for problem in problems), problems


def test_whatever_a_file_does_at_import_is_told_beside_all_else(tmp_path: Path) -> None:
    write(tmp_path, "divides", "consumer = 1 / 0\n")
    write(tmp_path, "none", "other = 1\n")
    write(tmp_path, "syntax", "consumer = (\n")
    write(tmp_path, "long", "\n" * 40 + "consumer = 1\n")
    problems = check(tmp_path, CONTRACTS)[1]
    assert [problem.split(":")[0] for problem in problems] == [
        "consumer file divides.py",
        "consumer file long.py",
        "consumer file long.py",
        "consumer file none.py",
        "consumer file syntax.py",
    ]
    assert "ZeroDivisionError: division by zero" in problems[0] and "41 lines, more than 30" in problems[1]


def test_content_without_events_is_content_too(tmp_path: Path) -> None:
    (tmp_path / "sql" / "metrics").mkdir(parents=True)
    (tmp_path / "sql" / "source").symlink_to(ROOT / "sql" / "source")
    (tmp_path / "sql" / "metrics" / "rental").symlink_to(ROOT / "sql" / "metrics" / "rental")
    done = CliRunner().invoke(app, ["lint", "--json"], env={"FLEETGAUGE_CONTENT": str(tmp_path)})
    assert done.exit_code == 0 and json.loads(done.stdout)["contracts"] == []


def test_lint_lists_problems_of_all_parts_at_once(tmp_path: Path) -> None:
    (tmp_path / "schemas" / "events").mkdir(parents=True)
    (tmp_path / "schemas" / "events" / "a.json").write_text("{")
    write(tmp_path, "none", "other = 1\n")
    (tmp_path / "sql" / "metrics" / "m").mkdir(parents=True)
    (tmp_path / "sql" / "metrics" / "m" / "metric.yaml").write_text("metric: 1\n")
    done = CliRunner().invoke(app, ["lint"], env={"FLEETGAUGE_CONTENT": str(tmp_path)})
    assert done.exit_code == 78
    lines = done.stdout.splitlines()
    assert lines[0].startswith("schemas/events/a.json:1: is not JSON: ")
    assert lines[1].startswith("consumers/none.py:1: declares no ")
    assert any("sql/metrics/m" in line or "metric" in line for line in lines[2:])

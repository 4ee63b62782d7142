"""`sql/fleet` is read, and every fault of it is told with its place."""

import shutil
from pathlib import Path

import pytest

from fleetgauge.fleet.suspect_method import MethodError, exists, load
from fleetgauge.lint import check

ROOT = Path(__file__).parents[3]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "sql" / "fleet", tmp_path / "sql" / "fleet")
    return tmp_path


def _change(content: Path, before: str, after: str) -> None:
    path = content / "sql" / "fleet" / "suspects.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_the_repositorys_own_is_valid() -> None:
    method = load(ROOT)
    assert (method.consumer, method.source, method.time_zone) == ("device_events", "operations", "Asia/Seoul")
    assert "MOTOR_STALL" in method.rules.fault_codes


def test_the_version_changes_with_what_alters_points_and_with_nothing_else(content: Path) -> None:
    before = load(content)
    _change(content, "kept_days: 400", "kept_days: 100")
    assert load(content).version == before.version
    _change(content, "weights: {}", "weights: {fault: 4.5, empty_percent: 3}")
    after = load(content)
    assert after.version != before.version
    assert (after.rules.weights.fault, after.rules.weights.empty_percent) == (4.5, 3)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("Asia/Seoul", "Asia/Soul", "suspects.yaml:4: time_zone:"),
        ("weights: {}", "weights: {fualt: 3}", "did you mean fault?"),
        ("kept_days: 400", "kept: 400", "did you mean kept_days?"),
        ("kept_days: 400", "kept_days: 2", "suspects.yaml:10: kept_days:"),
        ("fault_codes: [", "fault_codes: [[", "suspects.yaml:"),
    ],
)
def test_a_fault_is_told_with_its_line(content: Path, before: str, after: str, said: str) -> None:
    _change(content, before, after)
    with pytest.raises(MethodError) as raised:
        load(content)
    assert said in str(raised.value)
    assert any(said in problem for problem in check(content).problems)


def test_without_the_file_no_suspects_are_looked_for(tmp_path: Path) -> None:
    assert exists(ROOT) and not exists(tmp_path)
    assert not [problem for problem in check(tmp_path).problems if "fleet" in problem]


def test_a_missing_query_is_told(content: Path) -> None:
    (content / "sql" / "fleet" / "trips.sql").unlink()
    with pytest.raises(MethodError, match=r"trips\.sql"):
        load(content)

"""Tests lie in the folders of what they test, so that nobody searches for them."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "src" / name for name in ("fleetgauge", "fleetlab")]
BESIDE = {"content", "dags", "dashboards", "deploy", "hostile", "packaging"}
"""What is tested there is not below `src`, or is the whole."""
DATA = {"golden", "__pycache__"}


def folders(below: Path) -> set[str]:
    return {str(path.relative_to(below)) for path in below.rglob("*") if path.is_dir() and not DATA & set(path.parts)}


@pytest.mark.parametrize("kind", ["unit", "component", "integration"])
def test_the_folders_are_those_of_src(kind: str) -> None:
    known = BESIDE.union(*(folders(package) for package in PACKAGES))
    assert folders(ROOT / "tests" / kind) <= known


def test_no_two_files_have_the_same_name() -> None:
    """Python would take one for the other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))

"""What is installed from a built wheel: all of the engine, nothing of the laboratory."""

import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[3]


def build(project: Path, target: Path) -> ZipFile:
    """The wheel of a project, by the same backend as an installer, without asking a registry for it."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("*.whl")
    return ZipFile(wheel)


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(ROOT / "src").as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "pyproject.toml"
    }


def told(wheel: ZipFile, name: str) -> str:
    (path,) = (one for one in wheel.namelist() if one.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


@pytest.mark.parametrize(
    ("package", "project"),
    [("fleetgauge", ROOT), ("fleetlab", ROOT / "src" / "fleetlab")],
    ids=["engine", "laboratory"],
)
def test_a_wheel_holds_all_of_its_package_and_nothing_else(package: str, project: Path, tmp_path: Path) -> None:
    with build(project, tmp_path) as wheel:
        content = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert content == files(ROOT / "src" / package)
        assert told(wheel, "entry_points.txt").split() == ["[console_scripts]", package, "=", f"{package}.cli:main"]
        assert Parser().parsestr(told(wheel, "METADATA"))["Name"] == package


def test_the_image_is_made_of_what_the_wheel_is_made_of() -> None:
    """The Dockerfile copies by name, and .dockerignore keeps everything else away from the build."""
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert not [path for path in kept if "fleetlab" in path or path.rstrip("/") == "src"]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    for line in dockerfile.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            sources = [part for part in line.split()[1:-1] if not part.startswith("--")]
            assert set(sources) <= set(kept), line
            assert all((ROOT / source).exists() for source in sources), line
    assert "fleetlab" not in "\n".join(line for line in dockerfile.splitlines() if not line.startswith("#"))

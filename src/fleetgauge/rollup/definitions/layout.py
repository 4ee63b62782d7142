"""Which folders of the content are metrics, and what looks like one but is read by nobody. Touches files only."""

import difflib
from collections.abc import Iterator
from pathlib import Path

METRICS_FOLDER = Path("sql") / "metrics"

_READ = ("metric.yaml", "source.sql", "views.sql")
_CONTENT = (".yaml", ".yml", ".sql", ".json", ".toml")


def folders(content: Path) -> list[Path]:
    """The folders that hold a `metric.yaml`, by name."""
    return [folder for folder in _entries(content / METRICS_FOLDER) if "metric.yaml" in _names(folder)]


def strays(content: Path) -> Iterator[tuple[str, str]]:
    """Name and problem of whatever else lies in the folder of metrics; each problem begins with file and line."""
    for entry in _entries(content / METRICS_FOLDER):
        shown, names = entry.relative_to(content), _names(entry)
        if entry.is_symlink() and not entry.exists():
            yield entry.name, f"{shown}:1: is a link that leads nowhere; restore what it names, or remove it"
        elif not entry.is_dir():
            if entry.suffix.lower() in _CONTENT:
                yield entry.name, f"{shown}:1: is read by nobody; move it into the folder of its metric"
        elif "metric.yaml" not in names:
            alike = [name for name in names if name.lower().startswith("metric") and Path(name).suffix]
            alike = alike or [name for name in names if Path(name).suffix.lower() in (".yaml", ".yml")]
            below = [name for name in names if "metric.yaml" in _names(entry / name)]
            if alike:
                yield entry.name, f"{shown}/{alike[0]}:1: is read by nobody; rename it to metric.yaml"
            elif below:
                said = f"lies a folder too deep to be read; move it to {METRICS_FOLDER.as_posix()}/{below[0]}"
                yield entry.name, f"{shown}/{below[0]}/metric.yaml:1: {said}"
            else:
                yield entry.name, f"{shown}/metric.yaml:1: is missing; write it, or remove the folder"


def unread(folder: Path, shown: str) -> Iterator[str]:
    """What lies in a metric's folder as if it were read, and is not."""
    for name in _names(folder):
        path = folder / name
        if path.is_dir():
            if name != "tests" and difflib.get_close_matches(name.lower(), ["tests", "test", "metric_tests"], n=1):
                yield f"{shown}/{name}:1: is read by nobody; call the folder tests"
        elif name not in _READ and path.suffix.lower() in _CONTENT:
            near = difflib.get_close_matches(name.lower(), _READ, n=1)
            yield f"{shown}/{name}:1: is read by nobody; " + (
                f"rename it to {near[0]}, or remove it" if near and near[0] not in _names(folder) else "remove it"
            )
    for name in _names(folder / "tests"):
        if Path(name).suffix.lower() in (".yml", ".yaml", ".json") and not name.endswith(".yaml"):
            yield f"{shown}/tests/{name}:1: is read by nobody; rename it to {Path(name).stem}.yaml"


def _entries(folder: Path) -> list[Path]:
    return [folder / name for name in _names(folder)]


def _names(folder: Path) -> list[str]:
    """What a folder holds, hidden things and caches left out; nothing where there is no folder."""
    try:
        return sorted(one.name for one in folder.iterdir() if not one.name.startswith((".", "__")))
    except OSError:
        return []

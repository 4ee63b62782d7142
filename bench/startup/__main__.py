"""`python -m bench.startup`: installs the wheel with its extras into environments of their own and starts each.

Needs the package registry once, for what its cache does not hold.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).parent / "uv")
INSTALLED = ("", "rollup", "analytics", "airflow")


@dataclass(frozen=True)
class Installation:
    extra: str
    packages: int
    megabytes: float
    """Files of the environment, without compiled caches."""
    seconds: float
    """Median wall time of `consume --help`."""
    cpu_seconds: float
    peak_mb: float
    """Median of the highest resident memory."""


def main(
    runs: Annotated[int, typer.Option(min=1, help="Starts of each; the median counts.")] = 15,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """Install the core and each extra, start `fleetgauge consume --help` in each, and print a table."""
    with tempfile.TemporaryDirectory(prefix="fleetgauge-startup-") as folder:
        wheel = _wheel(Path(folder))
        found = [_measure(Path(folder), wheel, extra, runs) for extra in INSTALLED]
    print("| installed | packages | MB | consume --help: s | processor s | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for one in found:
        name = f"fleetgauge[{one.extra}]" if one.extra else "fleetgauge"
        print(
            f"| `{name}` | {one.packages} | {one.megabytes:.0f} | {one.seconds:.2f} | {one.cpu_seconds:.2f} "
            f"| {one.peak_mb:.0f} |"
        )
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", encoding="utf-8")


def _wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _measure(folder: Path, wheel: Path, extra: str, runs: int) -> Installation:
    home = folder / (extra or "core")
    python = home / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, home], check=True)
    wanted = f"fleetgauge[{extra}] @ {wheel.as_uri()}"
    constraints = ROOT / "constraints.txt"
    install: list[str | Path] = [
        UV,
        "pip",
        "install",
        "--quiet",
        "--compile-bytecode",
        "--python",
        python,
        "--constraint",
        constraints,
        wanted,
    ]
    subprocess.run(install, check=True)
    listed = subprocess.run(
        [UV, "pip", "list", "--python", python, "--format", "json"], check=True, capture_output=True, text=True
    )
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file() and path.suffix != ".pyc")
    command = [str(home / "bin" / "fleetgauge"), "consume", "--help"]
    _start(command)  # reads the files from the disk
    starts = [_start(command) for _ in range(runs)]
    wall, cpu, peak = (statistics.median(column) for column in zip(*starts, strict=True))
    return Installation(extra, len(json.loads(listed.stdout)), size / 1e6, wall, cpu, peak)


def _start(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak megabytes of one run."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    typer.run(main)

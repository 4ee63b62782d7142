"""Dashboards are the same whoever makes them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_deterministic_across_processes() -> None:
    program = (
        "import hashlib, dashboards.build as b; print(hashlib.sha256(repr(list(b.render())).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1

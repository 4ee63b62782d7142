"""What a shell is told where the user presses the key for completion."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_shell_gets_its_completion(tmp_path: Path) -> None:
    config = tmp_path / "elsewhere.toml"
    config.write_text(f'content = "{ROOT}"\n')
    asked = {
        **os.environ,
        "FLEETGAUGE_CONFIG": str(config),
        "_FLEETGAUGE_COMPLETE": "complete_bash",
        "COMP_WORDS": "fleetgauge show ren",
        "COMP_CWORD": "2",
    }
    tool = Path(sys.executable).parent / "fleetgauge"
    done = subprocess.run([tool], env=asked, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["rental"], done.stderr
    options = subprocess.run([tool, "--help"], capture_output=True, text=True, timeout=60).stdout
    assert "--install-completion" in options and "--show-completion" in options

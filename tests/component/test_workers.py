"""Workers of xdist run what they are told to."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
import scheduling

def pytest_xdist_make_scheduler(config, log):
    return scheduling.Scheduling(config, log)
"""
TEST = """
import os, pytest

@pytest.mark.parametrize("number", range(4))
def test_of_it(number):
    with open({log!r}, "a") as log:
        log.write(os.environ["PYTEST_XDIST_WORKER"] + " " + __file__ + "\\n")
"""


def test_workers_of_xdist_obey(tmp_path: Path) -> None:
    log = tmp_path / "log"
    filled = ["analytics/test_f.py", "dashboards/test_g.py"]
    files = ["demo/test_a.py", "dags/test_b.py", "hostile/test_c.py", "hostile/test_d.py", "rollup/test_e.py", *filled]
    for file in files:
        (tmp_path / "tests" / "integration" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / "integration" / file).write_text(TEST.format(log=str(log)))
    (tmp_path / "conftest.py").write_text(CONFTEST.format(tests=str(TESTS)))
    options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "xdist", "-n", "3", "--dist", "loadfile", str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [tuple(line.split()) for line in log.read_text().splitlines()]
    assert len(ran) == 28 and {file for _, file in ran} == {str(tmp_path / "tests" / "integration" / f) for f in files}
    assert next(file for worker, file in ran if worker == "gw2").endswith("demo/test_a.py")
    assert len({worker for worker, file in ran if file.endswith(tuple(filled))}) == 1

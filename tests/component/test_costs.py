"""The account at the end of a test run, also when workers did the work."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
from costs import Costs

def pytest_configure(config):
    config.pluginmanager.register(Costs(), "costs")
"""
STARTS = """
import os, pytest

@pytest.mark.parametrize("number", range(3))
def test_starts_a_server(number):
    with open(os.environ["FLEETLAB_JOURNAL"], "a") as journal:
        journal.write("kafka-format\\nkafka\\n")
"""
BURNS = """
import time

def test_computes():
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_files_tests_and_servers_are_told(tmp_path: Path, workers: int) -> None:
    tests = {"conftest.py": CONFTEST.format(tests=str(Path(__file__).parents[1]))}
    tests |= {"test_starts.py": STARTS, "test_burns.py": BURNS}
    for name, text in tests.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    options += ["-p", "xdist", "-n", str(workers), "--dist", "loadfile"] if workers else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +[\d.]+ +[\d.]+ +3  test_starts.py kafka 3$", done.stdout, re.M), done.stdout
    burnt = re.search(r"^ +[\d.]+ +([\d.]+) +1  test_burns.py$", done.stdout, re.M)
    assert burnt and 0.4 < float(burnt[1]) < 5, done.stdout
    assert re.search(r"^ +[\d.]+  test_burns.py::test_computes$", done.stdout, re.M)
    assert done.stdout.count("started: kafka 3") == 1
    assert not list(tmp_path.glob("fleetgauge-started-*"))


KEEPS = """
import os, subprocess, sys, time

BURN = "import time\\nwhile time.process_time() < 0.7: pass\\nprint('burnt', flush=True)\\ntime.sleep(60)"
START = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {BURN!r}], start_new_session=True).pid)"

def test_a_command_leaves_a_server_running():
    with open(os.environ["FLEETLAB_JOURNAL"], "a") as journal:
        journal.write("kafka\\n")
    started = subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True)
    pid = int(started.stdout.readline())
    assert started.stdout.readline() == "burnt\\n"
    started.wait()
    with open("pid", "w") as file:
        file.write(str(pid))
"""


def test_servers_that_outlive_their_command_are_counted(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(textwrap.dedent(CONFTEST.format(tests=str(Path(__file__).parents[1]))))
    (tmp_path / "test_keeps.py").write_text(KEEPS)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)],
            env={
                **os.environ,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "TMPDIR": str(tmp_path),
                "FLEETLAB_OWNER": str(tmp_path),
            },
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        found = re.search(r"^ +[\d.]+ +([\d.]+) +1  \S*test_keeps.py kafka 1$", done.stdout, re.MULTILINE)
        assert found, done.stdout
        assert float(found[1]) >= 0.7
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

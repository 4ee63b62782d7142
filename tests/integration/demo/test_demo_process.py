"""However a test run of the demo ends, the demo ends too; with a small program in its place."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from demo_process import processes_of, wait_until_gone

HERE = Path(__file__).parent
TEST = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from demo_process import DemoProcess

DEMO = "print('at work', flush=True); import time; time.sleep(600)"

def test_of_the_demo():
    with DemoProcess(Path({home!r}), Path({log!r}), command=(sys.executable, "-c", DEMO)) as demo:
        demo.wait_for_line("at work")
        time.sleep(600)
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_an_interrupted_test(tmp_path: Path, how: signal.Signals, workers: int) -> None:
    """In a process group of its own, as on a terminal, whose Ctrl-C reaches pytest and its workers."""
    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir()
    test = tmp_path / "test_inner.py"
    test.write_text(textwrap.dedent(TEST).format(here=str(HERE), home=str(home), log=str(log)))
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    if workers:
        options += ["-p", "xdist", "-n", str(workers)]
    pytest_ = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(test)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not (log.exists() and "at work" in log.read_text()):
            assert time.monotonic() < deadline and pytest_.poll() is None
            time.sleep(0.05)
        assert processes_of(home)
        os.killpg(pytest_.pid, how) if how is signal.SIGINT else pytest_.send_signal(how)
        if how is signal.SIGKILL and workers:
            pytest_.wait(10)  # its worker notices that by itself
        wait_until_gone(home, timeout_s=30)
    finally:
        pytest_.kill()
        pytest_.wait()

"""Every line that a component writes is one JSON object with the agreed keys, and holds no secret."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from fleetgauge.observability.logs import IDS, KEYS, configure, masked

ROOT = Path(__file__).parents[3]
SECRET = "Tr0ub4dor-and-three"
SETTINGS = {
    "FLEETGAUGE_LOGS__FORMAT": "json",
    "FLEETGAUGE_CONTENT": str(ROOT),
    "FLEETGAUGE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "FLEETGAUGE_KAFKA__REPLAY_KEY": SECRET,
    "FLEETGAUGE_ELASTICSEARCH__URL": "http://127.0.0.1:9",
    "FLEETGAUGE_ELASTICSEARCH__USERNAME": "writer",
    "FLEETGAUGE_ELASTICSEARCH__PASSWORD": SECRET,
    "FLEETGAUGE_ELASTICSEARCH__START_LIMIT_S": "0.1",
    "FLEETGAUGE_METRICS__URL": f"postgresql://fleetgauge:{SECRET}@127.0.0.1:9/metrics",
    "FLEETGAUGE_SOURCES__OPERATIONS__URL": f"postgresql://reader:{SECRET}@127.0.0.1:9/scooter",
    "FLEETGAUGE_ROLLUP__DISTINCT_KEY": SECRET * 3,
}
SERVERLESS = {
    "consume": (["consume", "device-events"], 75),
    "run": (["run", "rental"], 75),
    "migrate": (["migrate"], 78),
}
"""By component: arguments with which it has something to say though no server answers, and its exit code."""


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FLEETGAUGE_", "OTEL_", "SENTRY_"))}
    return kept | SETTINGS | more


def checked(said: str, component: str) -> list[dict[str, Any]]:
    """The lines, once they are what a collector may rely on."""
    assert SECRET not in said
    lines = [json.loads(line) for line in said.splitlines()]
    assert lines, "it said nothing, so nothing was tested"
    for line in lines:
        assert not set(KEYS) - line.keys(), line
        assert line["component"] == component
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}
        assert isinstance(line["event"], str) and line["event"]
    assert len({line["process"] for line in lines}) == 1
    return lines


@pytest.mark.parametrize("component", sorted(SERVERLESS))
def test_every_line_is_json_with_the_agreed_keys(component: str, tmp_path: Path) -> None:
    arguments, code = SERVERLESS[component]
    ended = subprocess.run(
        [sys.executable, "-m", "fleetgauge", *arguments],
        capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert SECRET not in ended.stdout
    lines = checked(ended.stderr, component)
    if code:
        assert lines[-1]["event"] == "ended" and lines[-1]["exit_code"] == code and lines[-1]["error"]


LASTING = {
    "run": (["run", "--follow", "--source", "operations", "--http-port", "0"], ("following", "run failed", "ended")),
    "exporter": (["exporter", "--http-port", "0"], ("serving",)),
}
"""By component that goes on until it is told to stop: arguments, and what it says."""


@pytest.mark.parametrize("component", sorted(LASTING))
def test_so_is_every_line_of_what_goes_on(component: str, tmp_path: Path) -> None:
    (arguments, events), log = LASTING[component], tmp_path / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "fleetgauge", *arguments]
        process = subprocess.Popen(command, stderr=file, env=environment(), cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not all(f'"{event}"' in log.read_text() for event in events if event != "ended"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    finally:
        process.kill()
        process.wait()
    assert set(events) <= {line["event"] for line in checked(log.read_text(), component)}


def test_what_a_library_says_is_masked() -> None:
    line = masked(None, "", {"event": f"no answer from postgresql://me:{SECRET}@db/x", "api_key": SECRET, "n": 1})
    assert line == {"event": "no answer from postgresql://me:***@db/x", "api_key": "***", "n": 1}


def test_text_is_for_people_and_json_for_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleetgauge", "run", "rental"]
    text = environment(FLEETGAUGE_LOGS__FORMAT="text")
    said = subprocess.run(command, capture_output=True, text=True, env=text, cwd=tmp_path, timeout=120, check=False)
    assert SECRET not in said.stderr and said.stderr.splitlines()[-1].startswith("fleetgauge: ")
    assert "{" not in said.stderr.splitlines()[0]


def test_ids_are_never_keys_of_every_line() -> None:
    assert not set(IDS) & set(KEYS)


def test_a_line_is_written_with_its_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else lines of two threads could end up as one that no collector reads."""
    written = list[str]()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Stream())
        configure("run", "json")
        structlog.get_logger("one").warning("of ours")
        logging.getLogger("a_library").warning("of a library")
    assert [json.loads(line)["event"] for line in written] == ["of ours", "of a library"]
    assert all(line.endswith("\n") for line in written)

"""The collector's configuration takes the keys that lines have; where it is installed, lines go through it."""

import json
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import snappy
from tests.loopback_receiver import receiver

from fleetgauge.observability.logs import IDS, KEYS

CONFIG = Path(__file__).parents[3] / "deploy" / "loki" / "fleetgauge.alloy"


def _values(block: str) -> set[str]:
    found = re.search(rf"stage\.{block} \{{.*?= \{{(.*?)\}}", CONFIG.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return set(re.findall(r"(\w+) =", found[1]))


def test_it_reads_every_agreed_key_and_labels_only_those_with_few_values() -> None:
    taken = _values("json")
    assert taken == {*KEYS, *IDS, "trace_id", "span_id"} - {"event"}
    assert _values("labels") == {"level", "component"}
    assert _values("structured_metadata") == taken - {"level", "component", "timestamp"}


@pytest.mark.skipif(shutil.which("alloy") is None, reason="Grafana Alloy is not installed")
def test_lines_go_through_it(tmp_path: Path) -> None:
    line = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "level": "error",
        "event": "run failed",
        "component": "run",
        "process": "0123456789ab",
        "run": 4711,
    }
    (tmp_path / "one.log").write_text(f"{json.dumps(line)}\nno json\n")
    with receiver() as loki:
        environment = {
            "PATH": "/usr/bin:/bin",
            "FLEETGAUGE_LOGS": str(tmp_path / "*.log"),
            "LOKI_URL": f"http://{loki.address}/loki/api/v1/push",
        }
        command = [
            str(shutil.which("alloy")), "run", f"--storage.path={tmp_path / 'state'}",
            "--server.http.listen-addr=127.0.0.1:0", "--disable-reporting", str(CONFIG),
        ]  # fmt: skip
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            pushed = b""
            while b"run failed" not in pushed or b"no json" not in pushed:
                assert process.poll() is None and time.monotonic() < deadline, pushed
                pushed = b"".join(snappy.decompress(body) for _, body in list(loki.posted))
                time.sleep(0.2)
        finally:
            process.terminate()
            process.wait(30)
    assert b'component="run"' in pushed and b'level="error"' in pushed
    assert b"4711" in pushed and b'run="4711"' not in pushed, "an id is no label"

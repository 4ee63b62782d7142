"""Every server is away, or takes a connection and says nothing."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_table import fault

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["refused", "silent"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Where nobody listens, or somebody who never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listening.listen(100)
        yield listening.getsockname()[1]


@fault(
    "All servers are away, or take a connection and say nothing",
    number="as before; nothing is computed",
    freshness="an error that names the metrics database",
    doctor="fail: each of them by name, within 15 s",
    exporter="fleetgauge_exporter_up 0",
    exit_code="78 of doctor",
)
def test_doctor_names_each_within_seconds(port: int, tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{port}/db"
    environment = {
        "FLEETGAUGE_CONTENT": str(ROOT),
        "FLEETGAUGE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        "FLEETGAUGE_ELASTICSEARCH__URL": f"http://127.0.0.1:{port}",
        "FLEETGAUGE_METRICS__URL": url,
        "FLEETGAUGE_SOURCES__OPERATIONS__URL": url,
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLEETGAUGE_")}
    code = (
        "import sys, time\n"
        "import fleetgauge.pipeline, fleetgauge.elasticsearch.client\n"
        "began = time.monotonic()\n"
        "from fleetgauge.cli import main\n"
        "sys.argv = ['fleetgauge', 'doctor', '--json']\n"
        "try:\n    main()\n"
        "finally:\n    print(time.monotonic() - began, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 78 and "Traceback" not in done.stderr, done.stderr
    assert float(done.stderr.splitlines()[-1]) < 25  # one after the other it was 98 s; loading takes its time too
    failed = {one["about"] for one in json.loads(done.stdout)["findings"] if one["status"] == "fail"}
    assert {"metrics database", "source operations", "consumer group of device_events"} <= failed
    assert {"documents of device_events", "topics of device-events", "dead letters of device-commands"} <= failed
    assert {"index template of device-events", "commands", "documents of device_commands"} <= failed

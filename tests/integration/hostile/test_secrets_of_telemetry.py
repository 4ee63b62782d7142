"""Tracing and error reports whose variables are wrong or servers are away: no word of their secrets is written."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_world import Shell
from fault_table import fault
from rollup_world import World

SECRET = "s3cr3tV4lue"
HERE = "http://127.0.0.1:1"
ENDPOINT, HEADERS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"
CASES: dict[str, tuple[dict[str, str], int]] = {
    "away, secrets in the address": ({ENDPOINT: f"http://user:{SECRET}@127.0.0.1:1/x?token={SECRET}"}, 0),
    "away, secrets in a header": ({ENDPOINT: HERE, HEADERS: f"authorization=Bearer%20{SECRET}"}, 0),
    "a header with a line's end": ({ENDPOINT: HERE, HEADERS: f"authorization=Bearer%0A{SECRET}"}, 0),
    "headers that are none": ({ENDPOINT: HERE, HEADERS: f"authorization: Bearer {SECRET}"}, 0),
    "another scheme": ({ENDPOINT: f"htp://user:{SECRET}@host:1/"}, 0),
    "an address that is none": ({ENDPOINT: f"http://user:{SECRET}@[::1/"}, 0),
    "a DSN that is a key alone": ({"SENTRY_DSN": SECRET}, 78),
    "a DSN without a project": ({"SENTRY_DSN": f"https://{SECRET}@host/"}, 78),
    "a DSN with a wrong port": ({"SENTRY_DSN": f"https://{SECRET}@host:bad/1"}, 78),
    "Sentry is away": ({"SENTRY_DSN": f"http://{SECRET}@127.0.0.1:1/1"}, 0),
}


@fault(
    "An address, a header or a key of tracing or error reports is wrong, or its server is away",
    number="right; a wrong SENTRY_DSN stops every command before it begins",
    freshness="ok, or 78 with the variable's name, never its text",
    doctor="ok, or 78 with the variable's name",
    exporter="ok, or it does not start",
    exit_code="0, or 78 for a wrong SENTRY_DSN",
)
@pytest.mark.parametrize(
    ("case", "style"),
    [*((case, "json") for case in CASES), ("away, secrets in the address", "text"), ("headers that are none", "text")],
)
def test_telemetry_fails_without_a_word_of_the_secret(world: World, tmp_path: Path, case: str, style: str) -> None:
    variables, code = CASES[case]
    shell = Shell(world, tmp_path)
    shell.configure()
    one = shell.write()
    shell("migrate")
    world.forget(one)
    world.insert(datetime.now(UTC) - timedelta(hours=3))
    world.beat()
    world.catch_up()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SENTRY_"))}
    own = {"FLEETGAUGE_CONFIG": str(shell.config), "FLEETGAUGE_LOGS__FORMAT": style, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    command = [sys.executable, "-c", "from fleetgauge.cli import main; main()", "run", "ride"]
    done = subprocess.run(command, env={**clean, **own, **variables}, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert SECRET not in said and "Traceback" not in said
    if code:
        assert "SENTRY_DSN" in said
    else:
        assert world.metrics.execute("SELECT sum(n) FROM metrics.ride_day").fetchone() == (1,)

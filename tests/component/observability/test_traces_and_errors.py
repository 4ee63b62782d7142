"""Traces reach a collector and errors reach Sentry where they are wanted; else nothing is imported."""

import json
import subprocess
import sys
from pathlib import Path

from test_log_lines import SECRET, checked, environment
from tests.loopback_receiver import receiver
from tests.silent_peers import silent_peer

PROGRAM = """
from fleetgauge.observability import logs, tracing
import structlog
logs.configure("trial", "json")
with tracing.in_span("run", metric="rental", version=None):
    with tracing.in_span("ComputeCells", reason="changed"), logs.about(run=7):
        structlog.get_logger().info("within")
try:
    with tracing.in_span("broken"):
        raise ValueError("no")
except ValueError:
    pass
"""


def _python(program: str, folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, env=environment(**more), cwd=folder, timeout=120, check=True,
    )  # fmt: skip


def test_spans_arrive_nested_and_log_lines_name_them(tmp_path: Path) -> None:
    with receiver() as collector:
        ended = _python(PROGRAM, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.address}")
        spans = dict(collector.spans())
    assert spans == {
        "run": {"fleetgauge.metric": "rental"},
        "ComputeCells": {"fleetgauge.reason": "changed"},
        "broken": {},
    }
    (line,) = checked(ended.stderr, "trial")
    assert line["run"] == 7 and len(line["trace_id"]) == 32 and len(line["span_id"]) == 16


def test_a_collector_that_is_away_holds_up_nothing(tmp_path: Path) -> None:
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    assert "within" in _python(PROGRAM, tmp_path, **more).stderr


def test_a_flush_ends_where_a_collector_answers_a_byte_at_a_time(tmp_path: Path) -> None:
    program = PROGRAM + "tracing.FLUSH_S = 0.3; tracing.flush(); print('flushed', flush=True); import os; os._exit(0)"
    with silent_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", bytes(2000)) as port:
        assert "flushed" in _python(program, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}").stdout


def test_without_an_endpoint_nothing_is_imported(tmp_path: Path) -> None:
    program = PROGRAM + "import sys; print([m for m in sys.modules if m.startswith(('opentelemetry', 'sentry'))])"
    assert _python(program, tmp_path).stdout.strip() == "[]"


def test_errors_reach_sentry_without_secrets_or_variables(tmp_path: Path) -> None:
    program = f"""
from fleetgauge.observability import errors_sentry, logs
import structlog
logs.configure("trial", "json")
log = structlog.get_logger()
log.warning("no error")
log.error("run failed", metric="rental", error="no answer")
local = "{SECRET}"
try:
    1 / 0
except ZeroDivisionError:
    log.exception("a defect")
errors_sentry.flush()
"""
    with receiver() as sentry:
        _python(program, tmp_path, SENTRY_DSN=f"http://public@{sentry.address}/1")
        envelopes = [body.decode() for path, body in sentry.posted if path.startswith("/api/1/envelope")]
    events = [json.loads(body.splitlines()[-1]) for body in envelopes]
    events = [event for event in events if event.get("level") == "error"]
    assert len(events) == 2
    assert "run failed: no answer" in json.dumps(events[0]) and events[0]["tags"]["component"] == "trial"
    assert events[1]["exception"]["values"][0]["type"] == "ZeroDivisionError"
    assert SECRET not in "".join(envelopes) and "'vars'" not in str(events)

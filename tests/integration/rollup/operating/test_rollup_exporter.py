"""What Prometheus sees of the rollup: true, and telling when the database is away."""

import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cli_world import METRIC, Shell
from prometheus_client import CollectorRegistry
from rollup_world import World

from fleetgauge.observability.status_server import Http, StatusServer
from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.operating.exported_series import CATALOGUE, renewed
from fleetgauge.rollup.operating.exports import RollupCollector

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
PAGE = Path(__file__).parents[4] / "docs" / "operating-rollups.md"


@pytest.fixture(scope="module")
def shell(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(world, tmp_path_factory.mktemp("content"))
    made.configure()
    made.write(METRIC + "source_kept: 100d\n")
    made("migrate")
    for hours in range(1, 30):
        world.insert(NOW - timedelta(hours=hours))
    world.beat()
    world.catch_up()
    made("run", "ride")
    return made


def _scrape(shell: Shell) -> dict[str, float]:
    lines = shell("exporter", "--once").out.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_it_tells_what_ledger_and_runs_say(shell: Shell) -> None:
    found = _scrape(shell)
    assert found["fleetgauge_exporter_up"] == 1
    assert found['fleetgauge_source_primary{source="operations"}'] == 0
    assert 0 <= found['fleetgauge_rollup_lag_seconds{grain="minute",metric="ride"}'] < 300
    assert found['fleetgauge_rollup_lag_seconds{grain="day",metric="ride"}'] < 86_400 + 300
    assert found['fleetgauge_rollup_overdue_seconds{grain="day",metric="ride"}'] < 300
    assert found['fleetgauge_rollup_pending_minutes{metric="ride"}'] < 5
    assert found['fleetgauge_rollup_runs_total{metric="ride"}'] == 1
    assert found['fleetgauge_rollup_windows_total{metric="ride"}'] > 29 * 60 - 5
    assert found['fleetgauge_rollup_failing{metric="ride"}'] == 0
    frozen = found['fleetgauge_rollup_frozen_before_timestamp_seconds{metric="ride"}']
    assert timedelta(days=98) < NOW - datetime.fromtimestamp(frozen, UTC) < timedelta(days=101)
    assert {re.match("[a-z_]+", name).group() for name in found} == {one.name for one in CATALOGUE} - {
        "fleetgauge_rollup_left_out_rows",
        "fleetgauge_reconcile_completed_timestamp_seconds",
        "fleetgauge_rollup_delay_seconds",  # of a second run: before the first everything is history
    }  # type: ignore[union-attr]


def test_nothing_is_frozen_while_days_are_kept_and_the_source_is_whole(shell: Shell) -> None:
    shell.write(METRIC + "retention: {minute: 60d, hour: 300d}\n")
    shell("retention", "--only", "partitions")
    found = _scrape(shell)
    assert 'fleetgauge_rollup_frozen_before_timestamp_seconds{metric="ride"}' not in found


def test_holes_and_blocked_minutes_are_counted(shell: Shell) -> None:
    shell.world.metrics.execute(
        "UPDATE fleetgauge.ledger SET done = done - tstzmultirange(tstzrange(%s, %s)) WHERE metric = 'ride'",
        [NOW - timedelta(hours=9), NOW - timedelta(hours=8)],
    )
    shell.world.metrics.execute(
        "INSERT INTO fleetgauge.blocked (metric, version, window_start, reason)"
        " SELECT metric, version, %s, 'n > 0' FROM fleetgauge.metric_version",
        [NOW - timedelta(hours=3)],
    )
    found = _scrape(shell)
    assert 60 <= found['fleetgauge_rollup_pending_minutes{metric="ride"}'] < 70
    assert found['fleetgauge_rollup_blocked_windows{metric="ride"}'] == 1
    assert found['fleetgauge_rollup_blocked_cells{metric="ride"}'] == 1
    assert found['fleetgauge_rollup_condition{condition="blocked",metric="ride"}'] == 1


def test_without_the_database_a_scrape_still_answers(shell: Shell) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://x@127.0.0.1:{nobody.getsockname()[1]}/metrics"
        settings = shell.world.settings.model_copy(
            update={"metrics": shell.world.settings.metrics.model_validate({"url": url})}
        )
        registry = CollectorRegistry()
        registry.register(RollupCollector(settings, load_definitions(shell.folder)))
        server = StatusServer(Http(), registry, {}, {})
        try:
            answer = httpx.get(f"http://127.0.0.1:{server.port}/metrics", trust_env=False)
            healthy = httpx.get(f"http://127.0.0.1:{server.port}/healthz", trust_env=False)
        finally:
            server.close()
    assert (answer.status_code, healthy.status_code) == (200, 200)
    assert "fleetgauge_exporter_up 0.0" in answer.text
    assert 'fleetgauge_source_primary{source="operations"} 0.0' in answer.text
    assert "lag_seconds" not in answer.text


def test_the_documentation_lists_them() -> None:
    page = PAGE.read_text("utf-8")
    assert renewed(page) == page, "run python -m fleetgauge.rollup.operating.exported_series docs/operating-rollups.md"
    assert CATALOGUE[0].name in page

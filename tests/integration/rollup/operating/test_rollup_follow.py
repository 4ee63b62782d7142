"""Runs in a loop: the same numbers, seconds old, and a run log that stays short."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_world import METRIC, SOURCE, Shell
from rollup_world import World

from fleetgauge import following, settings
from fleetgauge.following import Follower
from fleetgauge.rollup.execute import summed_runs
from fleetgauge.rollup.operating.runs import LoggedRun, list_runs

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture(scope="module")
def shell(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(world, tmp_path_factory.mktemp("content"))
    made.configure()
    made.write()
    made("migrate")
    world.insert(NOW - timedelta(hours=2))
    _ready(made)
    made("run", "ride")
    return made


@pytest.fixture
def follower(shell: Shell) -> Iterator[Follower]:
    shell.world.metrics.execute("DELETE FROM fleetgauge.run")
    made = Follower(settings.load(shell.config), "operations")
    yield made
    made.close()


def _ready(shell: Shell) -> None:
    shell.world.beat()
    shell.world.catch_up()


def _count(shell: Shell, metric: str = "ride") -> int:
    found = shell.world.metrics.execute(f"SELECT coalesce(sum(n), 0) FROM metrics.{metric}_minute").fetchone()
    assert found is not None
    return int(found[0])


def _runs(shell: Shell, metric: str = "ride") -> list[LoggedRun]:
    return list_runs(shell.world.settings, metric)[::-1]


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_change_is_in_the_tables_after_the_next_round_and_one_row_sums_them_up(
    shell: Shell, follower: Follower
) -> None:
    before = _count(shell)
    for done in range(1, 6):
        shell.world.insert(datetime.now(UTC))  # in the minute that is not over
        _ready(shell)
        follower.one_round()
        assert _count(shell) == before + done
    (running,) = _runs(shell)
    assert (running.command, running.outcome, running.ended_at) == ("run --follow", "running", None)
    follower.close()
    (ended,) = _runs(shell)
    assert (ended.id, ended.outcome, ended.cells >= 5) == (running.id, "ok", True)
    assert ended.rows >= 5 and {"ComputeCells"} <= {stage["stage"] for stage in ended.stages}
    assert sum(stage.get("cells", 0) for stage in ended.stages) == ended.cells


def test_rounds_that_change_nothing_leave_no_row_but_are_counted(shell: Shell, follower: Follower) -> None:
    def counted() -> int:
        found = shell.world.metrics.execute("SELECT runs FROM fleetgauge.activity WHERE metric = 'ride'").fetchone()
        assert found is not None
        return int(found[0])

    # What changed within seconds is read again, in case a clock was set back.
    shell.world.app.execute("UPDATE facts SET changed_at = now() - interval '1 hour'")
    _ready(shell)
    follower.one_round()
    follower.close()
    shell.world.metrics.execute("DELETE FROM fleetgauge.run")
    before = counted()
    quiet = Follower(follower.settings, "operations")
    for _ in range(3):
        _ready(shell)
        quiet.one_round()
    quiet.close()
    # A minute that has just ended is computed, with or without a fact.
    assert [run for run in _runs(shell) if run.cells or run.rows] == []
    assert counted() == before + 3


def test_a_row_ends_after_an_hour(shell: Shell, follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summed_runs, "SUMMED_S", 0.0)
    for _ in range(2):
        shell.world.insert(NOW - timedelta(minutes=30))
        _ready(shell)
        follower.one_round()
    assert [run.outcome for run in _runs(shell)] == ["ok", "ok"]


def test_how_long_changes_waited_is_exported(shell: Shell, follower: Follower) -> None:
    def told() -> dict[str, float]:
        lines = [line for line in shell("exporter", "--once").out.splitlines() if "delay_seconds" in line]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    began = time.monotonic()
    _ready(shell)
    follower.one_round()
    follower.runs.tell(at_once=True)
    before = told()
    time.sleep(1.5)
    _ready(shell)
    follower.one_round()
    follower.runs.tell(at_once=True)
    took, after = time.monotonic() - began, told()
    name = "fleetgauge_rollup_delay_seconds"
    seconds = after[f'{name}_count{{metric="ride"}}'] - before.get(f'{name}_count{{metric="ride"}}', 0)
    assert 1.5 <= seconds <= took + 3, "each second of the source is one observation"
    assert after[f'{name}_bucket{{le="+Inf",metric="ride"}}'] == after[f'{name}_count{{metric="ride"}}']
    assert after[f'{name}_bucket{{le="1.0",metric="ride"}}'] <= after[f'{name}_bucket{{le="10.0",metric="ride"}}']


def test_a_new_definition_is_taken_up_and_a_broken_one_stops_nothing(shell: Shell, follower: Follower) -> None:
    follower.one_round()
    shell.write(METRIC.replace("metric: ride", "metric: trip"), name="trip")
    shell("migrate")
    before = _count(shell)
    shell.world.insert(NOW - timedelta(minutes=10))
    _ready(shell)
    follower.one_round()
    assert _count(shell, "trip") == _count(shell) == before + 1
    (shell.folder / "sql" / "metrics" / "trip" / "metric.yaml").write_text("metric: [")
    shell.world.insert(NOW - timedelta(minutes=10))
    _ready(shell)
    follower.one_round()
    assert _count(shell) == before + 2 and follower.patience_of("ride").failures == 0
    shell.write(METRIC.replace("metric: ride", "metric: trip"), name="trip")


def test_a_metric_that_fails_is_set_aside_told_once_and_the_others_go_on(shell: Shell, follower: Follower) -> None:
    home = shell.folder / "sql" / "metrics" / "lost"
    shell.write(METRIC.replace("metric: ride", "metric: lost"), SOURCE.replace("FROM facts", "FROM nothing"), "lost")
    before = _count(shell)
    for _ in range(3):
        shell.world.insert(NOW - timedelta(minutes=20))
        _ready(shell)
        follower.patience.clear()  # as if its time had come
        follower.one_round()
    assert _count(shell) == before + 3
    assert follower.patience_of("lost").failures == 1 and follower.patience_of("lost").until > time.monotonic()
    (failed,) = _runs(shell, "lost")
    assert (failed.outcome, failed.error_type) == ("failed", "Terminal")
    shutil.rmtree(home)


def test_another_worker_on_a_metric_is_left_alone(
    shell: Shell, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOCK_S", 0.2)
    held = Follower(follower.settings, "operations")
    with shell.world.metrics.transaction():
        shell.world.metrics.execute("SELECT pg_advisory_xact_lock(hashtextextended('fleetgauge rollup ride', 0))")
        held.one_round()
    assert held.patience_of("ride").failures == 1
    before = _count(shell)
    shell.world.insert(NOW - timedelta(minutes=40))
    _ready(shell)
    held.patience.clear()
    held.one_round()
    assert held.patience_of("ride").failures == 0 and _count(shell) == before + 1
    held.close()
    failed, *_ = _runs(shell)
    assert failed.outcome == "failed" and "another worker holds metric ride" in str(failed.reason)


def test_the_process_follows_until_it_is_told_to_stop(shell: Shell, tmp_path: Path) -> None:
    before, said = _count(shell), tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "fleetgauge",
        "--config",
        str(shell.config),
        "run",
        "--follow",
        "--interval",
        "0.3",
    ]
    with said.open("w") as log:
        process = subprocess.Popen([*command, "--http-port", "0"], stderr=log, start_new_session=True)
    try:
        _until(lambda: "serving metrics" in said.read_text(), said.read_text())
        shell.world.insert(datetime.now(UTC))

        def readable() -> bool:
            assert process.poll() is None, said.read_text()
            _ready(shell)
            return _count(shell) == before + 1

        _until(readable, "the number never came")
        children = _children(process.pid)
        assert len(children) == 1, "a process for each source"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, said.read_text()
        assert not any(Path(f"/proc/{child}").exists() for child in children)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in said.read_text()
    assert _runs(shell)[-1].outcome == "ok"


def _children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]


def test_options_that_contradict_it_are_refused(shell: Shell) -> None:
    assert "--follow" in shell("run", "--follow", "--dry-run", code=78).err

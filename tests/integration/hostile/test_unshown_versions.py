"""What nothing shows any more, or not yet: it is told everywhere, and goes when nothing depends on it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from built_views import report_of_an_analyst
from cli_world import METRIC, Shell
from fault_table import fault
from rollup_world import World


@pytest.fixture(scope="module", autouse=True)
def report(world: World) -> Iterator[None]:
    yield from report_of_an_analyst(world)


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    found = Shell(world, tmp_path)
    found.configure()
    return found


def _tables(world: World, metric: str) -> list[str]:
    rows = world.metrics.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'store'::regnamespace AND relkind IN ('r', 'p')"
        " AND starts_with(relname, %s || '_') ORDER BY 1",
        [metric],
    )
    return [name for (name,) in rows]


def test_versions_that_nothing_shows_are_pruned(shell: Shell) -> None:
    world = shell.world
    old = shell.write(name="ride")
    near = shell.write(METRIC.replace("metric: ride", "metric: ride_by"), name="ride_by")
    assert old.version == near.version  # so that names alone could not tell their tables apart
    shell("migrate")
    world.beat()
    world.catch_up()
    shell("run", "--source", "operations")
    before = [name for name in _tables(world, "ride_by") if not name.startswith("ride_by_zone")]
    new = shell.write(METRIC.replace("limit: 16", "limit: 17"), name="ride")
    assert "nothing to drop" in shell("metrics", "prune").out
    shell("migrate")
    assert "nothing to drop" in shell("metrics", "prune").out  # what is shown stays, while the new one waits
    shell("run", "ride")
    world.metrics.execute(f"CREATE VIEW report.on_table AS SELECT n FROM store.{old.table(old.levels[1])}")
    (kept,) = shell("metrics", "prune", "--json").json["versions"]
    assert "view report.on_table" in kept["kept"]
    world.metrics.execute("DROP VIEW report.on_table")
    (dry,) = shell("metrics", "prune", "--dry-run", "--json").json["versions"]
    assert (dry["metric"], dry["version"], dry["kept"]) == ("ride", old.version, None)
    assert any(old.version in name for name in _tables(world, "ride_minute"))
    (done,) = shell("metrics", "prune", "--json").json["versions"]
    assert done["tables"] == dry["tables"]
    assert not any(old.version in name for name in _tables(world, "ride_minute"))
    assert [name for name in _tables(world, "ride_by") if not name.startswith("ride_by_zone")] == before
    assert not any(old.version in name for name in _tables(world, "ride_by_zone"))
    assert {row[0] for row in world.metrics.execute("SELECT version FROM metrics.ride_hour")} == {new.version}
    assert "nothing to drop" in shell("metrics", "prune").out


def test_a_deleted_metric_is_dropped_when_nothing_depends_on_it(shell: Shell) -> None:
    world = shell.world
    one = shell.write(METRIC.replace("metric: ride", "metric: lost"), name="lost")
    (shell.folder / "sql/metrics/lost/views.sql").write_text(
        "CREATE OR REPLACE VIEW metrics.lost_sum AS SELECT sum(n) AS n FROM metrics.lost_day;"
    )
    shell.write(METRIC.replace("metric: ride", "metric: found"), name="found")
    shell("migrate")
    assert "is defined" in shell("metrics", "drop", "lost", code=78).err
    shutil.rmtree(shell.folder / "sql/metrics/lost")
    world.metrics.execute("CREATE VIEW report.lost AS SELECT n FROM metrics.lost_sum")
    assert "view report.lost" in shell("metrics", "drop", "lost", code=78).err
    world.metrics.execute("DROP VIEW report.lost")
    views = {"lost_minute", "lost_hour", "lost_day", "lost_by_zone_hour", "lost_by_zone_day", "lost_sum"}
    dry = shell("metrics", "drop", "lost", "--dry-run", "--json").json
    assert set(dry["views"]) == views
    assert _tables(world, "lost")
    assert set(shell("metrics", "drop", "lost", "--json").json["views"]) == views
    assert not _tables(world, "lost")
    left = "SELECT count(*) FROM fleetgauge.{} WHERE metric = 'lost'"
    assert [world.metrics.execute(left.format(t)).fetchone() for t in ("metric_version", "ledger")] == [(0,), (0,)]
    assert one.metric not in shell("metrics", "drop", "lost", code=78).err.partition("makes:")[2]
    assert _tables(world, "found")


def test_a_waiting_version_is_told_everywhere(shell: Shell) -> None:
    world = shell.world
    text = METRIC.replace("metric: ride", "metric: told")

    def ready() -> Any:
        world.beat()
        world.catch_up()
        return shell("run", "told", "--json").json[0]

    def verdicts(code: int = 0) -> dict[str, tuple[str, str | None]]:
        answer = shell("freshness", "told", "--json", code=code)
        return {
            one["grain"]: (one["verdict"], "; ".join(held["said"] for held in one["conditions"]) or None)
            for one in answer.json
        }

    def samples(name: str) -> dict[str, str]:
        lines = shell("exporter", "--once").out.splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(name) and 'metric="told"' in line)
        return {line: value for line, _, value in found}

    def gauge() -> str:
        return samples("fleetgauge_rollup_waiting")['fleetgauge_rollup_waiting{metric="told"}']

    def held() -> set[str]:
        found = samples("fleetgauge_rollup_condition")
        return {line.partition('condition="')[2].partition('"')[0] for line, value in found.items() if value == "1.0"}

    old = shell.write(text, name="told")
    shell("migrate")
    ready()
    world.metrics.execute("CREATE VIEW report.told AS SELECT length FROM metrics.told_day")
    world.metrics.execute("GRANT SELECT ON metrics.told_day TO finance")
    assert verdicts()["day"] == ("ok", None)
    assert gauge() == "0.0"

    # Another ratio needs no new version: the views are made anew by the next run.
    shell.write(text.replace("numerator: open", "numerator: length"), name="told")
    assert "the next run makes them anew" in str(verdicts()["day"])
    assert held() == {"waiting"}
    ready()
    assert verdicts()["day"] == ("ok", None)
    assert world.metrics.execute("SELECT max(share) FROM metrics.told_day").fetchone() == (4.0,)

    # A new version that is not filled yet.
    new = shell.write(text.replace("type: integer", "type: numeric"), name="told")
    assert new.version != old.version
    (said,) = shell("plan", "told", "--json", code=None).json["metrics"]
    assert said["views"]["dependents"] == ["view report.told (on metrics.told_day)"]
    assert said["views"]["grants"] == ["SELECT to finance (on metrics.told_day)"]
    assert "view report.told" in said["views"]["refused"]
    assert "depends on its views: view report.told" in shell("plan", "told", code=None).out
    assert "view report.told" in shell("metrics", "describe", "told").out
    shell("migrate")
    assert verdicts(code=75)["day"][0] == "error"
    assert f"the views show version {old.version}" in str(verdicts(code=75)["day"][1])

    # Filled, but it may not be shown.
    assert "view report.told" in ready()["warnings"][0]
    for verdict, reason in verdicts(code=75).values():
        assert verdict == "error"
        assert f"version {new.version} is filled, but not shown" in str(reason)
    assert gauge() == "1.0"
    assert held() == {"not_shown"}
    assert "fail numbers: metric told: " in shell("doctor", code=78).out
    shown = shell("show", "told", "--last", "2h", "--json").json
    assert "is filled, but not shown" in shown["waiting"]
    assert {row["length"] for row in shown["rows"]} == {3, 4}
    assert "view report.told" in shell("migrate", code=78).err
    world.metrics.execute("DROP VIEW report.told")
    assert ready()["warnings"] == []
    assert verdicts()["day"] == ("ok", None)
    assert shell("show", "told", "--last", "2h", "--json").json["waiting"] is None


@fault(
    "A metric is renamed or deleted; its views are still there, and nothing computes them",
    number="the last ones, as they were",
    freshness="error: the metric is not defined any more, and what to do",
    doctor="fail: the same",
    exporter='fleetgauge_rollup_undefined 1, `fleetgauge_rollup_condition{condition="undefined"}` 1',
    exit_code="75 of freshness",
)
def test_a_renamed_metric_is_told_everywhere(shell: Shell) -> None:
    world = shell.world
    shell.write(METRIC.replace("metric: ride", "metric: before"), name="before")
    shell("migrate")
    world.beat()
    world.catch_up()
    shell("run", "--source", "operations")
    (shell.folder / "sql/metrics/before").rename(shell.folder / "sql/metrics/after")
    shell.write(METRIC.replace("metric: ride", "metric: after"), name="after")
    shell("migrate")
    shell("run", "--source", "operations")
    told = {one["metric"]: one for one in shell("freshness", "--json", code=75).json}
    assert (told["after"]["verdict"], told["before"]["verdict"]) == ("ok", "error")
    assert [one["condition"] for one in told["before"]["conditions"]] == ["undefined"]
    assert "fleetgauge metrics drop before" in told["before"]["conditions"][0]["said"]
    assert 'fleetgauge_rollup_undefined{metric="before"} 1.0' in shell("exporter", "--once").out
    assert 'fleetgauge_rollup_condition{condition="undefined",metric="before"} 1.0' in shell("exporter", "--once").out
    assert "fail numbers: metric before: it is not defined any more" in shell("doctor", code=None).out
    (left,) = (one for one in shell("plan", "--json").json["leftovers"] if one["name"] == "before")
    assert "before is not defined any more" in shell("plan").out
    assert set(shell("metrics", "drop", "before", "--json").json["views"]) == set(left["views"])
    told = {one["metric"]: one for one in shell("freshness", "--json", code=None).json}
    assert (told["after"]["verdict"], "before" in told) == ("ok", False)
    assert 'metric="before"' not in shell("exporter", "--once").out
    assert "metric before" not in shell("doctor", code=None).out


def test_a_subset_that_a_definition_gives_up_leaves_a_view_that_can_be_dropped(shell: Shell) -> None:
    world = shell.world
    text = METRIC.replace("metric: ride", "metric: less")
    shell.write(text, name="less")
    shell("migrate")
    world.beat()
    world.catch_up()
    shell("run", "less")
    shell.write(text.replace("rollups: {by_zone: [zone]}", "rollups: {by_kind: [kind]}"), name="less")
    shell("migrate")
    shell("run", "less")
    (kept,) = shell("metrics", "prune", "--json").json["versions"]
    assert "view metrics.less_by_zone_day" in kept["kept"]
    for view in ("less_by_zone_hour", "less_by_zone_day"):
        assert shell("metrics", "drop", view, "--json").json["views"] == [view]
    (done,) = shell("metrics", "prune", "--json").json["versions"]
    assert done["kept"] is None
    assert world.metrics.execute("SELECT sum(n) FROM metrics.less_by_kind_day").fetchone() == (2,)

"""Garbage fills a dimension: it is told, a command makes room, and what was counted together is kept apart again."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_world import METRIC, Shell
from fault_table import fault
from rollup_world import World

from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.exports import RollupCollector

NOON = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0)
GARBAGE = [f"\\x{n:02x}garbage" for n in range(10)]
LIMITED = METRIC.replace("zone: {column: zone, limit: 16}", "zone: {column: zone, limit: 10}")


def ago(days: float, minutes: int = 0) -> datetime:
    return NOON - timedelta(days=days) + timedelta(minutes=minutes)


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Iterator[Shell]:
    made = Shell(world, tmp_path)
    made.configure()
    yield made


def begin(shell: Shell, metric: str = LIMITED) -> Definition:
    one = shell.write(metric)
    shell("migrate")
    shell.world.forget(one)
    shell.world.metrics.execute("DELETE FROM fleetgauge.restatement")
    return one


def run(shell: Shell, one: Definition) -> None:
    """Roll up what is there."""
    shell.world.beat()
    shell.world.catch_up()
    shell("run", one.metric)


def settle(world: World) -> None:
    """All facts changed long ago, so that no run reads them again for its overlap."""
    world.app.execute("UPDATE facts SET changed_at = changed_at - interval '1 day'")


def counted(world: World, one: Definition, level: str) -> dict[tuple[datetime, str], int]:
    """By window and zone, what the view counts."""
    rows = world.metrics.execute(f"SELECT window_start, zone, n FROM metrics.{one.metric}_{level}").fetchall()
    return {(at.astimezone(UTC), zone): n for at, zone, n in rows}


def true(world: World, grain: str, zone: str = "Asia/Seoul") -> dict[tuple[datetime, str], int]:
    """The same of all facts, by the source's own calendar."""
    rows = world.app.execute(
        "SELECT date_trunc(%s, happened_at, %s), zone, count(*) FROM facts GROUP BY 1, 2", [grain, zone]
    ).fetchall()
    return {(at.astimezone(UTC), value): n for at, value, n in rows}


def told(shell: Shell, one: Definition) -> tuple[str, str, dict[str, float]]:
    """What freshness and doctor say of the limit, and the exporter's samples of it."""
    world = shell.world
    said = shell("freshness", one.metric, code=None).out
    findings = [f for f in examine(world.settings, {one.metric: one}, {}) if "dimension" in f.said]
    found = " ".join(f"{f.said} {f.remedy}" for f in findings)
    samples = {
        sample.name: sample.value
        for family in RollupCollector(world.settings, {one.metric: one}).collect()
        for sample in family.samples
        if sample.labels.get("dimension") == "zone" or sample.labels.get("condition") == "dimension_limit"
    }
    return said, found, samples


def assert_true(world: World, one: Definition, *grains: str) -> None:
    for grain in grains or ("minute", "hour", "day"):
        assert counted(world, one, grain) == true(world, grain), grain


@fault(
    "garbage fills a dimension, such as 128 strings that are no firmware, and later firmware finds no room",
    number="right in sum, as `(other)`; after `dimensions expire` the firmware has rows of its own at every grain",
    freshness="warn from 80 % of the limit on, with the dimension",
    doctor="warn, with the dimension and the command that makes room",
    exporter="fleetgauge_dimension_values beside fleetgauge_dimension_limit, fleetgauge_rollup_condition",
    exit_code="0",
)
def test_garbage_goes_and_later_values_have_rows_of_their_own(shell: Shell) -> None:
    world = shell.world
    one = begin(shell)
    for n, value in enumerate(GARBAGE[:7]):
        world.insert(ago(40, n), zone=value)
    run(shell, one)
    said, doctor, samples = told(shell, one)
    assert "dimension zone" not in said + doctor and samples["fleetgauge_dimension_values"] == 7
    world.insert(ago(40, 7), zone=GARBAGE[7])
    run(shell, one)
    said, doctor, samples = told(shell, one)
    assert "dimension zone has 8 of 10 values; beyond it" in said and "8 of 10 values" in doctor
    assert "fleetgauge dimensions expire" in doctor
    assert samples["fleetgauge_dimension_values"] == 8 and samples["fleetgauge_dimension_limit"] == 10
    assert samples["fleetgauge_rollup_condition"] == 1
    for value in GARBAGE[8:]:
        world.insert(ago(40, 8), zone=value)
    run(shell, one)
    said, doctor, samples = told(shell, one)
    assert "dimension zone has 10 of 10 values; further values are counted together" in said
    assert "10 of 10 values" in doctor and samples["fleetgauge_dimension_values"] == 10

    for at in (ago(40, 0), ago(2), ago(2, 1), ago(1), ago(1)):
        world.insert(at, zone="v1", length=3)
    world.insert(ago(1), zone="v2", length=5)
    run(shell, one)
    before = {grain: counted(world, one, grain) for grain in ("minute", "hour", "day")}
    assert all("v1" not in {zone for _, zone in found} for found in before.values())
    assert before["minute"][ago(1), "(other)"] == 3 and sum(before["day"].values()) == 16

    asked = ("dimensions", "expire", one.metric, "zone", "--unused-for", "30d")
    dry = shell(*asked, "--dry-run", "--json").json
    assert sorted(dry["expired"]) == sorted(GARBAGE) and len(dry["plans"]) == 2
    assert "nothing was changed" in shell(*asked, "--dry-run").out
    assert {grain: counted(world, one, grain) for grain in before} == before
    assert len(shell("dimensions", "ls", one.metric, "--json").json[0]["values"]) == 10

    done = shell(*asked, "--json").json
    assert (done["windows"], done["restated"]) == (3, 7)  # the overflow of each goes, the values in it come
    assert done["plans"] and len(done["kept"]) == 1 and done["frozen"] == []
    minute = counted(world, one, "minute")
    mixed = {key: n for key, n in true(world, "minute").items() if key[0] != ago(40, 0)}
    assert minute == {**mixed, (ago(40, 0), GARBAGE[0]): 1, (ago(40, 0), "(other)"): 1}  # history keeps what it shows
    for grain in ("hour", "day"):
        recent = {key: n for key, n in true(world, grain).items() if key[0] > ago(30)}
        assert {key: n for key, n in counted(world, one, grain).items() if key[0] > ago(30)} == recent
    changed = shell("restatements", one.metric, "--json").json
    assert {r["reason"] for r in changed if r["dimensions"] and r["dimensions"]["zone"] == "v1"} == {
        "dimension values expired"
    }
    values = {v["value"]: v for v in shell("dimensions", "ls", one.metric, "--json").json[0]["values"]}
    assert set(values) == {"v1", "v2"}
    assert datetime.fromisoformat(values["v1"]["last_seen"]) == ago(1)
    assert "v1" in shell("dimensions", "ls").out
    assert "dimension zone" not in "".join(told(shell, one)[:2])

    # What comes late is beside one that is in `(other)` there: a row of its own would count that one twice.
    settle(world)
    world.insert(ago(40, 0), zone="v1")
    run(shell, one)
    assert_true(world, one)
    assert shell(*asked, "--json").json["plans"] == []


def test_overflow_that_is_frozen_stays_and_is_told(shell: Shell) -> None:
    world = shell.world
    one = begin(shell, LIMITED + "source_kept: 60d\n")
    for value in GARBAGE:
        world.insert(ago(75), zone=value)
    world.insert(ago(70), zone="v1")
    world.insert(ago(1), zone="v1")
    run(shell, one)
    before = counted(world, one, "day")
    said = shell("dimensions", "expire", one.metric, "zone", "--unused-for", "30d").out
    assert f"overflow stays, source is not whole any more: {ago(70):%Y-%m-%d %H:%M}Z" in said
    assert "1 minutes were computed anew; 2 cells of final ones changed" in said
    for grain in ("minute", "hour", "day"):
        found = counted(world, one, grain)
        assert sorted(zone for at, zone in found if at > ago(72)) == ["(other)", "v1"]
        assert sum(found.values()) == sum(before.values()) == 12


def test_hours_whose_minutes_are_gone_come_from_the_source(shell: Shell) -> None:
    world = shell.world
    one = begin(shell, LIMITED + "retention: {minute: 3d}\n")
    for value in GARBAGE:
        world.insert(ago(80), zone=value)
    for at in (ago(45), ago(45, 7), ago(1)):
        world.insert(at, zone="v1")
    run(shell, one)
    assert (ago(45), "(other)") in counted(world, one, "hour")
    assert (ago(45), "(other)") not in counted(world, one, "minute")
    shell("dimensions", "expire", one.metric, "zone", "--unused-for", "30d")
    assert_true(world, one, "hour", "day")
    assert counted(world, one, "minute")[ago(1), "v1"] == 1


def test_a_named_value_goes_and_what_comes_late_for_it_counts_once(shell: Shell) -> None:
    world = shell.world
    one = begin(shell)
    for n, value in enumerate(GARBAGE):
        world.insert(ago(2, n), zone=value)
    run(shell, one)
    asked = ("dimensions", "expire", one.metric, "zone")
    assert "name them, or give --unused-for" in shell(*asked, code=78).err
    assert "'nowhere' of dimension zone has no rows of its own" in shell(*asked, "nowhere", code=78).err
    assert "has no dimension place; it has zone, kind" in shell(*asked[:3], "place", "x", code=78).err
    assert shell(*asked, GARBAGE[0], "--unused-for", "30d", "--json").json["expired"] == []
    assert shell(*asked, GARBAGE[0], "--json").json["expired"] == [GARBAGE[0]]
    assert_true(world, one)
    settle(world)
    world.insert(ago(1), zone="v1")  # takes its place
    run(shell, one)
    assert_true(world, one)
    world.insert(ago(2, 0), zone=GARBAGE[0])
    run(shell, one)
    minute = counted(world, one, "minute")
    assert minute[ago(2, 0), "(other)"] == 2 and (ago(2, 0), GARBAGE[0]) not in minute
    for grain in ("hour", "day"):
        assert sum(counted(world, one, grain).values()) == sum(true(world, grain).values()) == 12

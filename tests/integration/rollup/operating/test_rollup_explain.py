"""How a number came about is told: value, source rows with the query that shows them, changes, final or not and why."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cli_world import METRIC, Shell
from rollup_world import QUICK, World, definition

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.backfill import backfill_metrics
from fleetgauge.rollup.operating.backfill_record import BackfillOrder
from fleetgauge.rollup.operating.explain import explain
from fleetgauge.rollup.operating.runs import list_runs

AT = (datetime.now(UTC) - timedelta(days=3)).replace(hour=4, minute=5, second=0, microsecond=0)


def run(world: World, one: object) -> None:
    world.beat()
    world.catch_up()
    assert world.run(one).error is None  # type: ignore[arg-type]


def test_a_number_is_explained_down_to_its_source_rows(world: World) -> None:
    one = definition("explained", source_kept="400d", grace="1h")
    world.migrate(one)
    world.forget(one)
    for zone, amount in (("a", 10), ("a", 5), ("b%'s", 7)):
        world.insert(AT, zone=zone, state="done", amount=amount)
    run(world, one)
    run(world, one)
    world.insert(AT + timedelta(minutes=9), zone="a", state="done", amount=1)
    run(world, one)

    found = explain(world.settings, one, AT + timedelta(minutes=20), "hour", {"zone": "a"})
    assert (found.begin.astimezone(UTC), found.end.astimezone(UTC)) == (
        AT.replace(minute=0),
        AT.replace(minute=0) + timedelta(hours=1),
    )
    assert (found.version, found.shown, found.final, found.waits_for) == (one.version, one.version, True, None)
    assert {v.measure: v.value for v in found.values}["amount"] == "16"
    assert found.source_rows.count == 3
    with psycopg.connect(world.settings.source("operations").url.get_secret_value()) as reader:
        assert len(reader.execute(found.source_rows.query.encode()).fetchall()) == 3
    changed = {r.measure: (r.before, r.after) for r in found.restatements}
    assert changed["amount"] == ("15", "16")

    assert explain(world.settings, one, AT, "day", {"zone": "b%'s"}).source_rows.count == 1
    assert explain(world.settings, one, AT, "day", {"zone": "b%'s"}).restatements == ()
    late = explain(world.settings, one, datetime.now(UTC) - timedelta(minutes=5), "minute", {})
    assert not late.final
    assert late.waits_for is not None
    assert late.waits_for.startswith("the watermark of source operations to reach ")
    with pytest.raises(Terminal, match="no dimension 'zoned'; it has zone, kind"):
        explain(world.settings, one, AT, "day", {"zoned": "a"})
    assert found.to_dict()["source_rows"]["count"] == 3


def _run_ids(world: World, one: Definition, command: str = "run") -> list[int]:
    return [found.id for found in list_runs(world.settings, one.metric) if found.command == command]


def test_it_names_the_runs_that_wrote_the_window(world: World) -> None:
    one = definition("wrote", source_kept="400d")
    world.migrate(one)
    world.forget(one)
    world.insert(AT, zone="a", state="done", amount=10)
    run(world, one)
    (first,) = _run_ids(world, one)
    run(world, one)
    world.insert(AT, zone="a", state="done", amount=1)
    run(world, one)
    late, nothing, _ = _run_ids(world, one)
    span = (AT - timedelta(minutes=5), AT + timedelta(minutes=5))
    list(backfill_metrics(world.settings, [one], BackfillOrder(*span, reason="a test", max_lag=None), options=QUICK))
    (backfill,) = _run_ids(world, one, "backfill")

    def wrote(at: datetime, grain: str) -> list[int]:
        return [found.id for found in explain(world.settings, one, at, grain, {}).runs]  # type: ignore[arg-type]

    assert wrote(AT, "minute") == [backfill, late, first]
    assert wrote(AT + timedelta(minutes=4), "minute") == [backfill, first]
    assert wrote(AT + timedelta(minutes=30), "minute") == [first]
    assert wrote(AT, "day") == wrote(AT, "hour") == [backfill, late, first]
    world.run(one, "hour", (AT, AT + timedelta(hours=1)))
    hour = _run_ids(world, one)[0]
    assert wrote(AT, "hour")[0] == wrote(AT, "day")[0] == hour
    assert wrote(AT, "minute")[0] == backfill
    world.metrics.execute("DELETE FROM fleetgauge.run")
    assert wrote(AT, "minute") == []
    assert nothing not in (first, late)


def test_it_tells_left_out_rows_and_the_verdict_of_each_check(world: World) -> None:
    one = definition(
        "verdict", source_kept="400d", checks={"fail": ["n < 3", "open >= 0"], "warn": ["amount < 50", "n >= 0"]}
    )
    world.migrate(one)
    world.forget(one)
    world.insert(AT, zone="a", state="done", amount=10)
    world.insert(AT, zone="b", state="done", amount=60)
    world.insert(AT, zone="b", state="done", amount="NaN")
    world.insert(AT + timedelta(minutes=1), zone="b", state="done", score=float("inf"))
    run(world, one)
    for _ in range(3):
        world.insert(AT, zone="a", state="done", amount=10)
    run(world, one)

    found = explain(world.settings, one, AT, "hour", {})
    lost = {(row.reason, row.count) for row in found.left_out}
    assert lost == {("amount is not finite or too large", 1), ("score is not finite or too large", 1)}
    assert all(len(row.keys) == 1 for row in found.left_out)
    said = {(v.check, v.kind): v.cells for v in found.checks}
    assert said == {("n < 3", "fail"): 1, ("open >= 0", "fail"): 0, ("amount < 50", "warn"): 1, ("n >= 0", "warn"): 0}
    first = {v.check: v.first for v in found.checks}
    assert first["n < 3"] is not None and "zone=a" in first["n < 3"]
    assert first["amount < 50"] is not None and '"b"' in first["amount < 50"]
    assert not found.final and "check 'n < 3'" in (found.waits_for or "")
    of_b = {v.check: v.cells for v in explain(world.settings, one, AT, "hour", {"zone": "b"}).checks}
    assert of_b == {"n < 3": 0, "open >= 0": 0, "amount < 50": 1, "n >= 0": 0}
    earlier = explain(world.settings, one, AT - timedelta(hours=2), "hour", {})
    assert earlier.left_out == ()
    assert {v.cells for v in earlier.checks} == {0}


def test_a_window_of_an_older_version_is_told_by_that_version(world: World) -> None:
    old, new = (
        definition("aged", source_kept=kept, late="1d", dimensions={"zone": {"column": "zone", "limit": limit}})
        for kept, limit in ((None, 32), ("36d", 33))
    )
    at = AT - timedelta(days=40)
    world.migrate(old)
    world.forget(old)
    world.insert(at, zone="a", state="done", amount=10)
    run(world, old)
    world.migrate(new)
    run(world, new)
    found = explain(world.settings, new, at, "hour", {})
    assert (found.version, found.computed) == (old.version, new.version)
    assert {v.measure: v.value for v in found.values}["amount"] == "10"
    assert [one.command for one in found.runs] == ["run"]
    shown = {v.version: (v.shows_window, v.can_compute) for v in found.versions}
    assert shown == {old.version: (True, True), new.version: (False, False)}
    assert explain(world.settings, new, AT, "hour", {}).version == new.version


def test_the_command_tells_all_of_it(world: World, tmp_path: Path) -> None:
    shell = Shell(world, tmp_path)
    shell.configure()
    one = shell.write(METRIC + "checks: {warn: [n < 1], fail: [open >= 0]}\n")
    shell("migrate")
    world.forget(one)
    world.insert(AT, zone="a", state="open", score=1.0)
    world.insert(AT, zone="a", state="open", score=float("nan"))
    world.beat()
    world.catch_up()
    shell("run", "ride")
    answer = shell("explain", "ride", AT.isoformat(), "zone=a").out
    assert "left out: 1 row(s), score is not finite or too large: " in answer
    assert "check 'open >= 0' (fail): holds" in answer
    assert "check 'n < 1' (warn): broken in 1 cell(s), first " in answer
    assert "run, first run, missing, ok at " in answer
    assert ", shows this window" in answer
    found = shell("explain", "ride", AT.isoformat(), "zone=a", "--json").json
    assert [run["command"] for run in found["runs"]] == ["run"]
    assert found["left_out"][0]["count"] == 1

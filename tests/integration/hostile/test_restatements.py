"""A number that changes after it was final says so: before, after, when and why; nothing else is written down."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from fault_table import fault
from rollup_world import QUICK, World, definition

from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.execute import restatement_log
from fleetgauge.rollup.execute.activity import record_within
from fleetgauge.rollup.execute.options import RunOptions
from fleetgauge.rollup.execute.restatement_log import cells_of
from fleetgauge.rollup.operating.backfill import backfill_metrics
from fleetgauge.rollup.operating.backfill_record import BackfillOrder
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.operating.restatements import restated
from fleetgauge.rollup.operating.runs import list_runs
from fleetgauge.rollup.store import version_changes
from fleetgauge.rollup.store.migrate import migrate

AT = (datetime.now(UTC) - timedelta(days=3)).replace(hour=4, minute=5, second=0, microsecond=0)


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    """Two facts of a day that is final."""
    found = definition("said", source_kept="400d")
    world.migrate(found)
    world.forget(found)
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    world.insert(AT, zone="a", state="done", amount=10, length=3)
    world.insert(AT, zone="b", state="done", amount=20, length=3)
    run(world, found)
    run(world, found)
    assert said(world) == []
    yield found


def run(world: World, one: Definition) -> None:
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    world.assert_right(one)


def said(world: World, columns: str = "*", where: str = "true") -> list[tuple[Any, ...]]:
    """What a viewer sees."""
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name)) as viewer:
        return viewer.execute(
            f"SELECT {columns} FROM metrics.restatement WHERE {where} ORDER BY level, dimensions::text, measure"
        ).fetchall()


@fault(
    "a row of a day that is final comes late, or changes",
    number="right at every grain, and what it was before stays to be read in metrics.restatement",
    freshness="ok",
    doctor="ok: how many values changed in the last day",
    exporter="fleetgauge_rollup_restatements_last_day",
    exit_code="0",
)
def test_a_late_row_is_written_down_with_before_and_after(world: World, one: Definition) -> None:
    world.insert(AT, zone="a", state="done", amount=5, length=9, score=1.0)
    run(world, one)
    shown = "level, before, after, change, cells, reason"
    assert said(world, shown, "measure = 'amount' AND grain = 'day'") == [
        ("by_zone_day", "10", "15", 5, 1, "late or changed rows"),
        ("day", "10", "15", 5, 1, "late or changed rows"),
        ("total_day", "30", "35", 5, 1, "late or changed rows"),
    ]
    assert set(said(world, "level, cells", "measure = 'n'")) == {(level.name, 1) for level in one.levels}
    found = said(world, "measure, before, after", "level = 'minute'")
    minute = {name: (before, after) for name, before, after in found}
    assert minute["n"] == ("1", "2")
    assert minute["kinds"] == ("1", "2")
    assert minute["latest"] == ("3", "9")
    assert minute["score"][0].startswith("count 1, p50 ")
    assert minute["score"][1].startswith("count 2, p50 ")
    assert "least" not in minute  # it did not change
    assert said(world, "dimensions", "measure = 'n' AND level = 'hour'") == [({"zone": "a", "kind": "x"},)]
    samples = {
        sample.name: sample.value
        for family in RollupCollector(world.settings, {one.metric: one}).collect()
        for sample in family.samples
    }
    assert samples["fleetgauge_rollup_restatements_last_day"] == len(said(world)) > 0
    (listed,) = {r.reason for r in restated(world.settings, one, (AT, AT + timedelta(minutes=1)))}
    assert listed == "late or changed rows"
    assert restated(world.settings, one, (AT - timedelta(days=9), AT - timedelta(days=7))) == []
    findings = examine(world.settings, {one.metric: one}, {})
    assert any("said" in found.said and "were final" in found.said for found in findings)


def test_rows_that_appear_and_vanish_are_told_with_nothing_on_the_other_side(world: World, one: Definition) -> None:
    fact = world.insert(AT, zone="c", state="done", amount=5, length=9)
    run(world, one)
    assert said(world, "before, after, change", "measure = 'n' AND level = 'hour'") == [(None, "1", 1)]
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    world.app.execute("DELETE FROM facts WHERE id = %s", [fact])
    world.beat()
    world.catch_up()
    span = (AT - timedelta(hours=5), AT + timedelta(hours=5))
    assert reconcile_metrics(world.settings, [one], span, options=QUICK)[0].different == 1
    world.assert_right(one)
    assert said(world, "before, after, change, reason", "measure = 'n' AND level = 'hour'") == [
        ("1", None, -1, "reconcile")
    ]


def test_a_change_without_a_change_time_is_told_by_the_backfill_that_finds_it(world: World, one: Definition) -> None:
    world.app.execute("UPDATE facts SET length = 4 WHERE zone = 'a'")
    world.beat()
    world.catch_up()
    order = BackfillOrder(AT - timedelta(hours=1), AT + timedelta(hours=1), reason="a test", max_lag=None)
    list(backfill_metrics(world.settings, [one], order, options=QUICK))
    world.assert_right(one)
    found = said(world, "measure, before, after, reason", "level = 'hour'")
    assert ("kinds", "1", "1 (of other values)", "backfill") in found
    assert ("length", "3", "4", "backfill") in found
    assert {measure for measure, *_ in found} == {"kinds", "length", "least", "latest"}


def test_many_changes_are_added_up_by_window_and_measure(
    world: World, one: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restatement_log, "MOST", 3)
    world.insert(AT, zone="a", state="done", amount=5, length=9)
    world.insert(AT, zone="b", state="done", amount=7, length=9)
    run(world, one)
    assert said(world, "dimensions, before, after, change, cells", "measure = 'amount' AND level = 'hour'") == [
        (None, "30", "42", 12, 2)
    ]
    assert said(world, "before, after, change, cells", "measure = 'latest' AND level = 'hour'") == [
        (None, None, None, 2)
    ]


def test_what_is_not_final_is_not_written_down(world: World) -> None:
    patient = definition("patient", source_kept="400d", grace="1h")
    world.migrate(patient)
    world.forget(patient)
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    at = datetime.now(UTC) - timedelta(minutes=5)
    for length in (1, 2):
        world.insert(at, length=length)
        run(world, patient)
    assert said(world) == []


def test_what_a_check_withheld_of_a_final_window_is_told_once_it_is_released(world: World) -> None:
    strict = definition("strict", source_kept="400d", checks={"fail": ["open < 2"]})
    world.migrate(strict)
    world.forget(strict)
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    first = world.insert(AT, zone="a", state="open", amount=10)
    run(world, strict)
    fact = world.insert(AT, zone="a", state="open", amount=5)
    world.beat()
    world.catch_up()
    assert world.run(strict).blocked
    assert said(world) == []
    world.change(fact, state="done")
    run(world, strict)
    assert {reason for (reason,) in said(world, "reason")} <= {"late or changed rows", "a check passes again"}
    assert said(world, "before, after", "measure = 'n' AND level = 'day'") == [("1", "2")]
    assert world.metrics.execute(
        "SELECT bool_and(isempty(reopened)) FROM fleetgauge.ledger WHERE metric = 'strict'"
    ).fetchone() == (True,)
    world.change(first, state="done")
    run(world, strict)
    assert said(world, "before, after", "measure = 'open' AND level = 'day'")[-1] == ("1", "0")


def test_what_was_final_by_a_wrong_clock_is_told_when_it_is_taken_back(world: World) -> None:
    early = definition("early", source_kept="400d")
    world.migrate(early)
    world.forget(early)
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    world.insert(AT, zone="a", state="done", amount=10)
    world.app.execute(
        "INSERT INTO fleetgauge_heartbeat SELECT 1, at, at FROM (SELECT clock_timestamp() + interval '3 hours')"
        " AS _(at)"
    )
    world.catch_up()
    blind = replace(QUICK, tolerance=None)
    assert run_metrics(world.settings, [early], "minute", options=blind)[0].error is None
    at = datetime.now(UTC) - timedelta(minutes=3)
    world.insert(at, zone="a", state="done", amount=3)
    world.beat()
    world.catch_up()
    assert world.run(early).error is None
    world.assert_right(early)
    found = said(world, "before, after", "reason = 'clock taken back' AND measure = 'amount' AND level = 'minute'")
    assert found == [(None, "3")]
    assert said(world, "reason", "reason <> 'clock taken back'") == []
    world.insert(at, zone="a", state="done", amount=4)
    run(world, early)
    assert said(world, "before, after", "reason <> 'clock taken back' AND measure = 'amount' AND level = 'minute'") == [
        ("3", "7")
    ]
    assert world.metrics.execute(
        "SELECT bool_and(upper(reopened) > now()) FROM fleetgauge.ledger WHERE metric = 'early'"
    ).fetchone() == (True,)


def test_days_and_hours_that_a_new_version_shows_otherwise_are_told(world: World, one: Definition) -> None:
    world.insert(AT, zone="a", state="paid", amount=7, length=3)
    long_ago = AT - version_changes.HOURS_BACK - timedelta(days=2)
    world.insert(long_ago, zone="a", state="paid", amount=7, length=3)
    run(world, one)
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    new = definition(
        "said",
        source_kept="400d",
        measures={"n": {"agg": "count", "where": {"state": "done"}}, "extra": {"agg": "count"}, "length": {
            "agg": "sum", "of": "length"}},
        rollups={},
    )  # fmt: skip
    world.migrate(new)
    world.beat()
    world.catch_up()
    report = world.run(new)
    assert report.error is None
    found = said(world, "level, version, dimensions, measure, before, after, change, cells, reason")
    told = (new.version, {"zone": "a", "kind": "x"}, "n")
    assert sorted(found) == [
        ("day", *told, "1", "0", -1, 1, "new version"),
        ("day", *told, "2", "1", -1, 1, "new version"),
        ("hour", *told, "2", "1", -1, 1, "new version"),  # hours so long ago are not compared
    ]
    (run_id,) = {run_id for (run_id,) in said(world, "run_id")}
    assert run_id == list_runs(world.settings, "said", 1)[0].id
    world.run(new)
    assert len(said(world)) == 3

    # The version of before comes again: the run that brings it up to the other's turns the views back.
    assert migrate(world.settings, {"said": one}).waiting == ("said",)
    assert world.run(one).error is None
    logged = list_runs(world.settings, "said", 1)[0]
    assert (logged.command, logged.outcome, logged.version) == ("run", "ok", one.version)
    back = said(world, "level, before, after", f"run_id = {logged.id}")
    assert sorted(back) == [("day", "0", "1"), ("day", "1", "2"), ("hour", "1", "2")]
    migrate(world.settings, {"said": one}, record=partial(record_within, world.settings, "migrate"))
    assert all(run.command != "migrate" for run in list_runs(world.settings, "said", 5))  # there was nothing to do
    world.forget(new)  # else those after this find a version that knows of older days than they have


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_days_of_another_zone_are_said_to_be_incomparable(world: World, one: Definition, zone: str) -> None:
    new = definition("said", source_kept="400d", time_zone=zone)
    world.migrate(new)
    world.beat()
    world.catch_up()
    assert world.run(new).error is None
    assert said(world, "measure, before, after, cells, reason") == [("time_zone", "Asia/Seoul", zone, 0, "new version")]


def test_many_days_that_a_new_version_shows_otherwise_are_added_up(
    world: World, one: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_changes, "MOST", 1)
    new = definition("said", source_kept="400d", measures={"length": {"agg": "sum", "of": "amount"}, "n": {
        "agg": "count"}}, dimensions={"zone": {"column": "zone", "limit": 16}})  # fmt: skip
    world.migrate(new)
    world.beat()
    world.catch_up()
    assert world.run(new).error is None
    assert said(world, "level, dimensions, measure, before, after, change, cells") == [
        (level, None, "length", "6", "30", 24, 2) for level in ("day", "hour")
    ]


def test_what_is_read_again_and_stays_the_same_is_no_restatement(world: World, one: Definition) -> None:
    """Runs read the last minute of changes again, and those in a loop often."""
    world.insert(AT, zone="a", state="done", amount=5)
    counted = []
    for _ in range(3):
        world.beat()
        world.catch_up()
        (report,) = run_metrics(world.settings, [one], "minute", options=RunOptions(pause_s=0.0))
        assert report.error is None
        counted.append((report.cells, report.restated))
    assert [restated for _, restated in counted] == [1, 0, 0]
    assert all(cells >= 1 for cells, _ in counted)  # so that the cell was computed each time


def test_cells_are_counted_once_whatever_measures_change() -> None:
    at, later = AT, AT + timedelta(minutes=1)
    rows = [(at, "a", 1), (at, "a", 1), (at, "b", 1), (later, "a", 1)]
    assert cells_of(rows) == 3
    assert cells_of([(at, None, 700), (at, None, 650), (later, None, 10)]) == 710
    assert cells_of([]) == 0

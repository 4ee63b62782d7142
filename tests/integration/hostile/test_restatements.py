"""A number that changes after it was final says so: before, after, when and why; nothing else is written down."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from fault_table import fault
from rollup_world import QUICK, World, definition

from fleetgauge.rollup import Definition
from fleetgauge.rollup.execute import restatement_log
from fleetgauge.rollup.operating.backfill import backfill_metrics
from fleetgauge.rollup.operating.backfill_record import BackfillOrder
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.exports import RollupCollector
from fleetgauge.rollup.operating.reconcile import reconcile_metrics
from fleetgauge.rollup.operating.restatements import restated

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
    (listed,) = {r.reason for r in restated(world.settings, one.metric, one.time_zone, (AT, AT + timedelta(minutes=1)))}
    assert listed == "late or changed rows"
    assert restated(world.settings, one.metric, one.time_zone, (AT - timedelta(days=9), AT - timedelta(days=7))) == []
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

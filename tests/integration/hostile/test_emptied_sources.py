"""A source that suddenly lacks what was counted of final hours: nothing is restated to nothing without being asked."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from clock_world import doctor_says, gauge
from fault_table import fault
from rollup_world import QUICK, World, definition

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition, run_metrics
from fleetgauge.rollup.definitions.loader import load_definition
from fleetgauge.rollup.operating.accept import accept_frozen
from fleetgauge.rollup.operating.backfill import backfill_metrics
from fleetgauge.rollup.operating.backfill_record import BackfillOrder
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import EMPTIED, Reconciliation, reconcile_metrics

AT = (datetime.now(UTC) - timedelta(days=3)).replace(hour=4, minute=5, second=0, microsecond=0)
HOUR = timedelta(hours=1)
SPAN = (AT - 30 * HOUR, AT + 30 * HOUR)


def ready(world: World) -> None:
    world.beat()
    world.catch_up()


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    """Two hours of 12 facts, one of 3, and a day later one of 4: without `source_kept`."""
    found = definition("emptied")
    world.migrate(found)
    world.forget(found)
    world.metrics.execute("DELETE FROM fleetgauge.restatement; DELETE FROM fleetgauge.emptied")
    for hour, n in ((0, 12), (1, 12), (2, 3), (26, 4)):
        for minute in range(n):
            world.insert(AT + hour * HOUR + timedelta(minutes=minute), state="done", length=minute)
    for _ in range(2):
        ready(world)
        assert world.run(found).error is None
    world.assert_right(found)
    yield found
    world.metrics.execute("DELETE FROM fleetgauge.emptied")


def compare(world: World, one: Definition, **more: Any) -> Reconciliation:
    ready(world)
    found = reconcile_metrics(world.settings, [one], SPAN, options=QUICK, anew=True, **more)[0]
    assert found.error is None
    return found


def numbers(world: World, one: Definition) -> dict[str, Any]:
    return {grain: world.stored(one, grain) for grain in ("minute", "hour", "day")}


def told(world: World, one: Definition) -> list[tuple[str, str]]:
    """What freshness says, once doctor and exporter have said the same."""
    said = {
        (held.condition.name, held.said)
        for standing in freshness(world.settings, [one])
        for held in standing.conditions
    }
    count = gauge(world, one, "fleetgauge_rollup_condition", condition="emptied_source")
    assert bool(said) == ("has lost most facts" in doctor_says(world, one, "fail")) == bool(count)
    return sorted(said)


@fault(
    "Production detaches an old partition, truncates a table or restores it in part, and no `source_kept` says so",
    number="of final hours as before; an hour and a day that lose at most half, or few facts, are restated",
    freshness="error: how many hours, and the two commands that decide",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="emptied_source"}`, as many as there are hours',
    exit_code="0 of reconcile, which names the hours; 78 of freshness",
)
@pytest.mark.parametrize("lost", ["all", "most"])
def test_final_hours_are_not_restated_to_nothing(world: World, one: Definition, lost: str) -> None:
    before = numbers(world, one)
    world.app.execute("UPDATE facts SET changed_at = happened_at")  # what comes back later carries an old change time
    world.app.execute("CREATE TABLE detached AS TABLE facts")
    try:
        keep = "false" if lost == "all" else "length %% 3 = 0"
        world.app.execute(f"DELETE FROM facts WHERE happened_at < %s AND NOT ({keep})", [AT + 3 * HOUR])
        dry = compare(world, one, dry_run=True)
        assert (dry.different, dry.not_compared) == (0, {EMPTIED: 3})
        assert told(world, one) == []  # a dry run notes nothing
        found = compare(world, one)
        assert (found.different, found.not_compared) == (0, {EMPTIED: 3})
        assert [one.window_start for one in found.skipped] == [AT.replace(minute=0) + n * HOUR for n in range(3)]
        ((name, said),) = told(world, one)
        assert name == "emptied_source" and "3 final hour(s)" in said and f"{AT:%Y-%m-%dT%H}:00Z" in said

        # A late row of that time, a backfill and another comparison take nothing away either.
        world.insert(AT, state="done", length=99)
        ready(world)
        report = world.run(one)
        assert (report.error, report.late_unapplied) == (None, 1)
        order = BackfillOrder(SPAN[0], SPAN[1], reason="try", who="test")
        list(backfill_metrics(world.settings, [one], order, options=QUICK))
        assert compare(world, one).not_compared == {EMPTIED: 3}
        assert numbers(world, one) == before

        world.app.execute("INSERT INTO facts SELECT * FROM detached ON CONFLICT DO NOTHING")
        assert compare(world, one).different == 1  # the late row
        world.assert_right(one)
        assert told(world, one) == []
    finally:
        world.app.execute("DROP TABLE detached")


def test_a_backfill_finds_it_first(world: World, one: Definition) -> None:
    before = numbers(world, one)
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [AT + HOUR - timedelta(minutes=5)])
    world.app.execute("UPDATE facts SET length = 50 WHERE length = 11")
    ready(world)
    order = BackfillOrder(SPAN[0], SPAN[1], reason="try", who="test")
    list(backfill_metrics(world.settings, [one], order, options=QUICK))
    ((_, said),) = told(world, one)
    assert "1 final hour(s)" in said
    hours = {key[0]: row for key, row in numbers(world, one)["hour"].items()}
    first = AT.replace(minute=0)
    old = {key[0]: row for key, row in before["hour"].items()}
    assert hours[first] == old[first]
    assert hours[first + HOUR] != old[first + HOUR]  # which was computed


def test_somebody_says_that_the_numbers_are_right(world: World, one: Definition) -> None:
    before = numbers(world, one)
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [AT + 3 * HOUR])
    compare(world, one)
    with pytest.raises(Terminal, match="needs a reason"):
        accept_frozen(world.settings, one, " ")
    assert len(accept_frozen(world.settings, one, "detached by plan", dry_run=True).emptied) == 3
    assert len(told(world, one)) == 1
    assert len(accept_frozen(world.settings, one, "detached by plan").emptied) == 3
    assert told(world, one) == []
    assert compare(world, one).not_compared == {EMPTIED: 3}
    assert told(world, one) == []
    assert numbers(world, one) == before


def test_somebody_says_that_the_rows_are_rightly_gone(world: World, one: Definition) -> None:
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [AT + 3 * HOUR])
    compare(world, one)
    found = compare(world, one, accept_losses=True)
    assert (found.different, found.not_compared) == (3, {})
    world.assert_right(one)
    assert told(world, one) == []
    gone = world.metrics.execute(
        "SELECT sum(change) FROM fleetgauge.restatement WHERE metric = 'emptied' AND level = 'hour' AND measure = 'n'"
    ).fetchone()
    assert gone == (-27,)


def test_a_new_version_leaves_the_older_numbers_there(world: World, one: Definition) -> None:
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [AT + 3 * HOUR])
    compare(world, one)
    newer = definition("emptied", grace="1m")
    world.migrate(newer)
    for _ in range(2):
        ready(world)
        assert world.run(newer).error is None
    rows = world.metrics.execute("SELECT sum(n) FROM metrics.emptied_hour").fetchone()
    assert rows == (31,)


@fault(
    "Of final hours whose rows the source has lost in silence, a late row comes before any comparison",
    number="as before; the late row is counted as late, and no cell is computed from what is left",
    freshness="error: the same as above",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="emptied_source"}`, as many as there are hours',
    exit_code="0 of the run, which warns; 78 of freshness",
)
def test_a_late_row_in_a_cell_that_was_emptied_takes_nothing_away(world: World, one: Definition) -> None:
    """Before any comparison has looked: the cell of the late row is not computed from what the source has left."""
    for _ in range(3):
        world.insert(AT, state="done", length=7)  # four facts in one cell
    ready(world)
    assert world.run(one).error is None
    world.assert_right(one)
    before = numbers(world, one)
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [AT + HOUR])
    world.insert(AT, state="done", length=99)
    world.insert(AT + 26 * HOUR, state="done", length=98)  # of another hour: counted
    ready(world)
    report = world.run(one)
    assert (report.error, report.late_unapplied) == (None, 1)
    after = numbers(world, one)
    first, last = AT.replace(minute=0), (AT + 26 * HOUR).replace(minute=0)
    for grain in ("minute", "hour"):
        kept = {key: row for key, row in after[grain].items() if key[0] < last}
        assert kept == {key: row for key, row in before[grain].items() if key[0] < last}
        assert {key: row for key, row in after[grain].items() if key[0] >= last} == {
            key: row for key, row in world.expected(one, grain).items() if key[0] >= last
        }
    ((name, said),) = told(world, one)
    assert name == "emptied_source" and f"{first:%Y-%m-%dT%H:%MZ}: 1 of 15" in said


@fault(
    "The same, of a metric that sums amounts or times and counts no rows",
    number="as before: `source_rows` counts them for it",
    freshness="error: the same as above",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="emptied_source"}`, as many as there are hours',
    exit_code="0 of the run, which warns; 78 of freshness",
)
@pytest.mark.parametrize("agg", ["sum", "duration"])
def test_a_late_row_takes_nothing_away_from_a_metric_that_counts_nothing(
    world: World, tmp_path: Path, agg: str
) -> None:
    """One cell a minute, which has lost most of its rows and is there nevertheless."""
    one = load_definition(of_no_count(tmp_path, agg))
    world.migrate(one)
    world.app.execute("DELETE FROM facts")
    for minute in range(20):
        for _ in range(3):
            world.insert(AT + timedelta(minutes=minute), state="done", length=30)
    for _ in range(2):
        ready(world)
        assert world.run(one).error is None
    before = totals(world, one)
    assert set(before.values()) == {20 * 3 * 30}
    world.app.execute("DELETE FROM facts WHERE id % 3 <> 0")
    world.insert(AT + timedelta(minutes=5), state="done", length=30)
    ready(world)
    report = world.run(one)
    assert report.error is None and report.late_unapplied > 0
    assert totals(world, one) == before
    ((name, said),) = told(world, one)
    assert name == "emptied_source" and "of 60" in said
    assert compare(world, one, accept_losses=True).different == 1
    assert set(totals(world, one).values()) == {21 * 30}
    world.metrics.execute("DELETE FROM fleetgauge.emptied")


def of_no_count(folder: Path, agg: str) -> Path:
    """A metric's folder, whose only measure adds lengths, of 30 seconds each, or the times that they last."""
    name = f"uncounted_{agg}"
    measure = {"agg": "sum", "of": "length"} if agg == "sum" else {"agg": "duration"}
    text: dict[str, Any] = {
        "metric": name,
        "source": "operations",
        "event_time": "happened_at",
        "change_time": "changed_at",
        "immutable": "Facts of the tests stay where they are.",
        "grace": "0s",
        "measures": {"whole": measure},
    }
    if agg == "duration":
        text["interval"] = {"until": "until", "longest": "2h"}
    (folder / name).mkdir()
    (folder / name / "metric.yaml").write_text(yaml.safe_dump(text))
    until = "happened_at + make_interval(secs => length) AS until"
    (folder / name / "source.sql").write_text(f"SELECT happened_at, changed_at, length, {until} FROM facts\n")
    return folder / name


def totals(world: World, one: Definition) -> dict[str, int]:
    return {
        grain: int(world.metrics.execute(f"SELECT sum(whole) FROM metrics.{one.metric}_{grain}").fetchone()[0])
        for grain in ("minute", "hour", "day")
    }


def test_a_late_row_where_a_few_are_rightly_gone_brings_its_hour_up_to_date(world: World, one: Definition) -> None:
    for _ in range(3):
        world.insert(AT, state="done", length=7)
    ready(world)
    assert world.run(one).error is None
    world.app.execute("DELETE FROM facts WHERE happened_at = %s AND length = 7", [AT])
    world.app.execute("DELETE FROM facts WHERE happened_at = %s", [AT + timedelta(minutes=3)])
    world.insert(AT, state="done", length=99)
    ready(world)
    report = world.run(one)
    assert (report.error, report.late_unapplied) == (None, 0)
    world.assert_right(one)
    assert told(world, one) == []


@fault(
    "A source of few facts an hour loses whole days, hour by hour",
    number="restated while at most half of a day is gone, or nine facts of days that have fewer; then as before",
    freshness="error: how many hours, and the two commands that decide",
    doctor="fail: the same",
    exporter='`fleetgauge_rollup_condition{condition="emptied_source"}`, as many as there are hours',
    exit_code="0 of reconcile, which names the hours; 78 of freshness",
)
def test_days_that_are_lost_hour_by_hour_are_told(world: World) -> None:
    """Four facts an hour, of which an hour is lost each night."""
    one = definition("emptied")
    world.migrate(one)
    world.forget(one)
    world.metrics.execute("DELETE FROM fleetgauge.restatement; DELETE FROM fleetgauge.emptied")
    begin = AT.astimezone(ZoneInfo(one.time_zone)).replace(hour=0, minute=0).astimezone(UTC)
    for hour in range(10):
        for minute in range(4):
            world.insert(begin + hour * HOUR + timedelta(minutes=minute), state="done")
    for _ in range(2):
        ready(world)
        assert world.run(one).error is None
    world.assert_right(one)
    for hour in range(10):
        world.app.execute("DELETE FROM facts WHERE happened_at < %s", [begin + (hour + 1) * HOUR])
        compare(world, one)
    for grain in ("minute", "hour", "day"):
        assert sum(row[0] for row in world.stored(one, grain).values()) == 20
    ((name, said),) = told(world, one)
    assert name == "emptied_source" and "5 final hour(s)" in said
    found = compare(world, one, accept_losses=True)
    assert found.different == 5
    world.assert_right(one)
    world.insert(begin, state="done")
    world.insert(begin, state="done")
    ready(world)
    assert world.run(one).error is None
    world.app.execute("DELETE FROM facts")
    assert compare(world, one).different == 1  # what was accepted is not counted again
    assert told(world, one) == []
    world.assert_right(one)


def test_days_of_few_facts_that_are_all_lost_are_told(world: World) -> None:
    """Four facts a day: none of its hours and days is large enough to be judged alone."""
    one = definition("emptied")
    world.migrate(one)
    world.forget(one)
    world.metrics.execute("DELETE FROM fleetgauge.restatement; DELETE FROM fleetgauge.emptied")
    for day in range(6):
        for hour in range(4):
            world.insert(AT - day * 24 * HOUR + hour * HOUR, state="done")
    for _ in range(2):
        ready(world)
        assert world.run(one).error is None
    world.app.execute("DELETE FROM facts")
    ready(world)
    span = (AT - 8 * 24 * HOUR, AT + 24 * HOUR)
    found = reconcile_metrics(world.settings, [one], span, options=QUICK, anew=True)[0]
    assert found.error is None
    for grain in ("minute", "hour", "day"):
        assert sum(row[0] for row in world.stored(one, grain).values()) == 16
    ((name, said),) = told(world, one)
    assert name == "emptied_source" and "16 final hour(s)" in said


@fault(
    "Most rows of a final hour move to another one at once, such as when an application corrects its times",
    number="right: rows are followed by their key, and an hour that they have left is not taken for emptied",
    freshness="ok",
    doctor="ok: how many values changed in the last day",
    exporter="fleetgauge_rollup_restatements_last_day",
    exit_code="0",
)
@pytest.mark.parametrize("dense", [3, 600])
def test_an_hour_that_its_rows_have_left_is_not_taken_for_emptied(world: World, dense: int) -> None:
    one = definition("departed", key="id")
    world.migrate(one)
    world.forget(one)
    world.metrics.execute("DELETE FROM fleetgauge.restatement; DELETE FROM fleetgauge.emptied")
    for minute in range(14):
        world.insert(AT + timedelta(minutes=minute % 5), state="done", length=minute)
    for _ in range(2):
        ready(world)
        assert world.run(one).error is None
    world.assert_right(one)
    world.app.execute(
        "UPDATE facts SET happened_at = happened_at + interval '5 hours', changed_at = now() WHERE length < 12"
    )
    ready(world)
    report = run_metrics(world.settings, [one], "minute", options=replace(QUICK, dense=dense))[0]
    assert (report.error, report.late_unapplied) == (None, 0)
    world.assert_right(one)
    assert told(world, one) == []
    # What is lost beside what has moved is seen as before.
    for minute in range(12):
        world.insert(AT + timedelta(minutes=minute % 3), state="done", length=50)
    ready(world)
    assert world.run(one).error is None
    before = numbers(world, one)
    world.app.execute("DELETE FROM facts WHERE length = 50")
    world.app.execute(
        "UPDATE facts SET happened_at = happened_at + interval '2 hours', changed_at = now() WHERE length = 12"
    )
    ready(world)
    run_metrics(world.settings, [one], "minute", options=replace(QUICK, dense=dense))
    at = AT.replace(minute=0)
    assert {k: v for k, v in numbers(world, one)["hour"].items() if k[0] == at} == {
        k: v for k, v in before["hour"].items() if k[0] == at
    }
    assert len(told(world, one)) == 1

"""What changes without its change column is found by comparing, whichever measure it is in, and is written down."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clock_world import doctor_says, gauge
from fault_table import fault
from rollup_world import QUICK, World, definition

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.operating.reconcile import Reconciliation, reconcile_metrics
from fleetgauge.rollup.operating.runs import list_runs
from fleetgauge.rollup.sources.port import Conflict
from fleetgauge.rollup.sources.postgres import PostgresFacts

AT = (datetime.now(UTC) - timedelta(days=3)).replace(hour=4, minute=5, second=0, microsecond=0)
HOUR = timedelta(hours=1)


def ready(world: World) -> None:
    world.beat()
    world.catch_up()


@pytest.fixture
def one(world: World) -> Iterator[Definition]:
    found = definition("weighed", source_kept="400d")
    world.migrate(found)
    world.forget(found)
    world.metrics.execute("DELETE FROM fleetgauge.restatement")
    for minutes, length in ((0, 3), (10, 5), (20, 7)):
        world.insert(AT + timedelta(minutes=minutes), state="done", amount=length, length=length, score=float(length))
    for _ in range(2):
        ready(world)
        assert world.run(found).error is None
    yield found


def compare(world: World, one: Definition, **more: Any) -> Reconciliation:
    ready(world)
    found = reconcile_metrics(world.settings, [one], (AT - 30 * HOUR, AT + 30 * HOUR), options=QUICK, **more)[0]
    assert found.error is None
    return found


CHANGES = {
    "two values swapped within the hour: the sum is the same": (
        "UPDATE facts SET length = 10 - length, score = 10 - score WHERE length IN (3, 7)",
        {"latest"},
    ),
    "another value in a distinct count, a last, an extreme": ("UPDATE facts SET length = 8 WHERE length = 7", None),
    "a percentile alone": ("UPDATE facts SET score = 4 WHERE score = 3", {"score"}),
    "a greatest value": ("UPDATE facts SET score = 70 WHERE score = 7", {"score", "most"}),
    "a row deleted": ("DELETE FROM facts WHERE length = 7", None),
    "moved forty minutes, into the next hour": (
        "UPDATE facts SET happened_at = happened_at + interval '40 minutes' WHERE length = 7",
        None,
    ),
}


@fault(
    "rows change without their change time: two values are swapped within an hour, another rider, a time that moves",
    number="wrong until `reconcile` has compared the hour, right then; the change is in metrics.restatement",
    freshness="ok, with when it was last compared; warn once that is 50 h ago",
    doctor="ok: how many values changed in the last day",
    exporter="fleetgauge_reconcile_differed_total, fleetgauge_rollup_restatements_last_day",
    exit_code="0 (1 with --dry-run)",
)
@pytest.mark.parametrize("kind", CHANGES)
def test_a_silent_change_of_any_measure_is_found_restated_and_written_down(
    world: World, one: Definition, kind: str
) -> None:
    assert compare(world, one).different == 0
    change, only = CHANGES[kind]
    world.app.execute(change)
    dry = compare(world, one, dry_run=True)
    assert dry.different > 0
    assert dry.plans
    if only is not None:
        assert {difference.measure.removesuffix("_at") for difference in dry.differences} == only
    assert compare(world, one).different == dry.different
    world.assert_right(one)
    assert compare(world, one).different == 0
    told = world.metrics.execute("SELECT DISTINCT level FROM fleetgauge.restatement WHERE reason = 'reconcile'")
    assert {"minute", "hour"} <= {level for (level,) in told}


@fault(
    "the daily comparison has stopped, or never came to its end: nobody finds what only a comparison can",
    number="as before: rows that were deleted, or changed without their change time, are in it as they were",
    freshness="warn: since when, and what to look at",
    doctor="warn: the same",
    exporter='`fleetgauge_rollup_condition{condition="unreconciled"}` 1, '
    "fleetgauge_reconcile_completed_timestamp_seconds",
    exit_code="0",
)
def test_a_comparison_that_has_stopped_is_told(world: World, one: Definition) -> None:
    now = datetime.now(UTC)
    world.metrics.execute("DELETE FROM fleetgauge.activity WHERE metric = %s", [one.metric])
    assert told(world, one) == (set(), None)
    shown = "UPDATE fleetgauge.metric_version SET published_at = now() - interval '51 hours' WHERE metric = %s"
    world.metrics.execute(shown, [one.metric])
    assert told(world, one) == ({"unreconciled"}, None)
    assert "never compared" in doctor_says(world, one, "warn")
    assert gauge(world, one, "fleetgauge_rollup_condition", condition="unreconciled") == 1

    ready(world)
    for short in ((now - timedelta(days=3), now), (now - timedelta(days=50), now - timedelta(days=2))):
        assert reconcile_metrics(world.settings, [one], short, options=QUICK)[0].error is None
        assert told(world, one) == ({"unreconciled"}, None)  # the rest was not compared
    assert reconcile_metrics(world.settings, [one], (now - timedelta(days=35), now), options=QUICK)[0].error is None
    held, at = told(world, one)
    assert at is not None
    assert (held, now < at < datetime.now(UTC)) == (set(), True)
    assert gauge(world, one, "fleetgauge_reconcile_completed_timestamp_seconds") == at.timestamp()

    world.metrics.execute(
        "INSERT INTO fleetgauge.reconcile_progress (metric, version, span, started_at) VALUES (%s, %s,"
        " tstzrange(%s, %s), %s)",
        [one.metric, one.version, now - timedelta(days=35), now, now - timedelta(hours=19)],
    )
    assert reconcile_metrics(world.settings, [one], (now - timedelta(days=35), now), options=QUICK)[0].error is None
    assert told(world, one)[1] == now - timedelta(hours=19)  # what goes on was begun then

    ahead = "UPDATE fleetgauge.activity SET reconciled_at = now() + interval '1 day' WHERE metric = %s"
    world.metrics.execute(ahead, [one.metric])
    assert told(world, one) == ({"unreconciled"}, None)  # a clock was wrong

    aged = "UPDATE fleetgauge.activity SET reconciled_at = now() - interval '51 hours' WHERE metric = %s"
    world.metrics.execute(aged, [one.metric])
    ready(world)
    assert world.run(one).error is None
    assert told(world, one)[0] == {"unreconciled"}
    assert "2 days ago" in doctor_says(world, one, "warn")


def told(world: World, one: Definition) -> tuple[set[str], datetime | None]:
    """What holds of the metric, and when it was last compared."""
    found = freshness(world.settings, [one])
    assert {standing.verdict for standing in found} == {"warn" if found[0].conditions else "ok"}
    return {held.condition.name for held in found[0].conditions}, found[0].reconciled_at


@fault(
    "rows change again while they are compared",
    number="right after the next run",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0: the hours are named, with the reason",
)
def test_hours_that_were_touched_just_now_are_named(world: World, one: Definition) -> None:
    world.insert(AT, state="done", amount=1)
    found = compare(world, one)
    assert found.different == 0
    assert [skipped.window_start.astimezone(UTC) for skipped in found.skipped] == [AT.replace(minute=0)]
    assert found.not_compared == {"changed since the last run, which the next one applies": 1}
    ready(world)
    assert world.run(one).error is None
    assert compare(world, one).not_compared == {}


@fault(
    "the replica breaks off while it is compared",
    number="right",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0: it is asked again, for less at a time",
)
def test_a_comparison_that_breaks_off_is_asked_again_for_less(
    world: World, one: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.app.execute("UPDATE facts SET score = 4 WHERE score = 3")
    asked: list[int] = []
    totals = PostgresFacts.totals

    def broken_off(self: PostgresFacts, edges: Any) -> Any:
        asked.append(len(edges) - 1)
        if len(asked) <= 2:
            raise Conflict("canceling statement due to conflict with recovery")
        return totals(self, edges)

    monkeypatch.setattr(PostgresFacts, "totals", broken_off)
    found = compare(world, one)
    assert (found.conflicts, found.different) == (2, 1)
    assert asked[0] > asked[1] > asked[2] > 0
    world.assert_right(one)


def test_an_interval_that_ends_later_is_found_in_both_hours(world: World) -> None:
    busy = definition(
        "busy",
        source_kept="400d",
        measures={"n": {"agg": "count"}, "busy": {"agg": "duration"}, "score": {"agg": "percentile", "of": "score"}},
        interval={"until": "until", "longest": "4h", "known_within": "30m"},
        source_sql="SELECT *, happened_at + length * interval '1 second' AS until FROM facts",
    )
    world.migrate(busy)
    world.forget(busy)
    world.insert(AT, length=1200)
    world.insert(AT + 5 * HOUR, length=60)
    ready(world)
    assert world.run(busy).error is None
    assert compare(world, busy).different == 0
    world.app.execute("UPDATE facts SET length = length + 3600 WHERE length = 1200")
    found = compare(world, busy)
    assert found.different == 2
    assert {(d.measure, d.stored, d.source) for d in found.differences if d.stored is not None} >= {
        ("busy", "1200.000000", "3300.000000")
    }
    assert compare(world, busy).different == 0


def _interrupted_at(monkeypatch: pytest.MonkeyPatch, nth: int, error: BaseException) -> list[list[datetime]]:
    """The n-th question breaks off with this; returns the edges that were asked for, as they come."""
    asked: list[list[datetime]] = []
    totals = PostgresFacts.totals

    def broken_off(self: PostgresFacts, edges: Any) -> Any:
        asked.append(list(edges))
        if len(asked) == nth:
            raise error
        return totals(self, edges)

    monkeypatch.setattr(PostgresFacts, "totals", broken_off)
    return asked


@fault(
    "a comparison is killed, or the source breaks off too often",
    number="right; what was compared and restated stays",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="75, or none; the next one goes on where it stood",
)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminal("its disk is full")], ids=["killed", "failed"])
def test_a_comparison_that_was_interrupted_goes_on_where_it_stood(
    world: World, one: Definition, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.app.execute("UPDATE facts SET score = 4 WHERE score = 3")
    ready(world)
    span = (AT - 30 * HOUR, AT + 30 * HOUR)
    with monkeypatch.context() as patch:
        asked = _interrupted_at(patch, 3, error)
        if isinstance(error, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                reconcile_metrics(world.settings, [one], span, options=QUICK)
        else:
            (failed,) = reconcile_metrics(world.settings, [one], span, options=QUICK)
            assert failed.error == "its disk is full"
            assert (failed.hours, failed.different) == (48, 1)
        assert [len(edges) - 1 for edges in asked] == [24, 24, 13]
        world.assert_right(one)  # the first two pieces are done, and restated
    later = (span[0] + timedelta(minutes=5), span[1] + timedelta(minutes=5))
    with monkeypatch.context() as patch:
        asked_again = _interrupted_at(patch, 0, error)
        ready(world)
        (dry,) = reconcile_metrics(world.settings, [one], later, options=QUICK, dry_run=True)
        assert (dry.hours, dry.resumed) == (61, 0)
        asked_again.clear()
        (found,) = reconcile_metrics(world.settings, [one], later, options=QUICK)
        assert (found.error, found.hours, found.resumed, found.different) == (None, 13, 48, 0)
        assert asked_again == [asked[2]]
        asked_again.clear()
        (whole,) = reconcile_metrics(world.settings, [one], later, options=QUICK)
        assert (whole.hours, whole.resumed) == (61, 0)
    outcomes = [run.outcome for run in list_runs(world.settings, one.metric) if run.command == "reconcile"]
    assert outcomes[:3] == ["ok", "ok", "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"]


def test_another_span_an_older_one_and_anew_begin_at_the_beginning(
    world: World, one: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    span = (AT - 30 * HOUR, AT + 30 * HOUR)
    for other, anew, aged in (
        ((span[0] + 10 * HOUR, span[1]), False, False),
        (span, True, False),
        (span, False, True),
    ):
        ready(world)
        with monkeypatch.context() as patch:
            _interrupted_at(patch, 2, Terminal("no"))
            assert reconcile_metrics(world.settings, [one], span, options=QUICK, anew=True)[0].hours == 24
        if aged:
            world.metrics.execute(
                "UPDATE fleetgauge.reconcile_progress SET started_at = started_at - interval '21 hours'"
            )
        ready(world)
        found = reconcile_metrics(world.settings, [one], other, options=QUICK, anew=anew)[0]
        assert (found.error, found.resumed) == (None, 0)

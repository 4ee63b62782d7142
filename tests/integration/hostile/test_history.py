"""History belongs to who computed it: a changed definition takes away no number that it cannot compute itself."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fault_table import fault
from rollup_world import World, definition, window_start

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition, raise_failures
from fleetgauge.rollup.operating.accept import accept_frozen
from fleetgauge.rollup.operating.doctor import examine
from fleetgauge.rollup.operating.expire import drop_expired
from fleetgauge.rollup.operating.freshness import freshness
from fleetgauge.rollup.store.migrate import migrate

SEOUL = ZoneInfo("Asia/Seoul")
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
DAY = timedelta(days=1)
TODAY = NOW.astimezone(SEOUL).replace(hour=0, minute=0)
KEPT = 40
MEASURES: dict[str, Any] = {
    "n": {"agg": "count"},
    "length": {"agg": "sum", "of": "length"},
    "share": {"agg": "ratio", "numerator": "length", "denominator": "n"},
}
Rows = dict[tuple[datetime, str], tuple[int, int]]


def metric(name: str, limit: int = 16, **changes: Any) -> Definition:
    """With a limit, for another limit makes another version of the same numbers."""
    given: dict[str, Any] = {"measures": MEASURES, "source_kept": f"{KEPT}d"} | changes
    return definition(name, dimensions={"zone": {"column": "zone", "limit": limit}}, **given)


@pytest.fixture(autouse=True)
def facts(world: World) -> Iterator[None]:
    """Facts at 03, 11 and 19 o'clock of days 43 to 37 ago, about the day on which the source ceases to be whole, and
    of yesterday; more on each day than on the one before."""
    world.app.execute("TRUNCATE facts; DELETE FROM fleetgauge_heartbeat")
    n = 0
    for ago in (*range(KEPT + 3, KEPT - 4, -1), 1):
        for hour in (3, 11, 19):
            n += 1
            for zone in ("a", "b"):
                world.insert((TODAY - ago * DAY).replace(hour=hour), zone=zone, length=n)
    ready(world)
    yield


def ready(world: World) -> None:
    world.beat()
    world.catch_up()


def filled(world: World, one: Definition) -> None:
    world.migrate(one)
    ready(world)
    report = world.run(one)
    assert (report.error, report.warnings) == (None, [])


def shown(world: World, name: str, grain: str, columns: str = "n, length") -> dict[tuple[datetime, str], Any]:
    rows = world.metrics.execute(f"SELECT window_start, zone, {columns} FROM metrics.{name}_{grain}").fetchall()
    found = {(row[0].astimezone(UTC), row[1]): row[2:] for row in rows}
    assert len(found) == len(rows), "a window is shown twice"
    return found


def truth(world: World, grain: str, zone: str = "Asia/Seoul") -> Rows:
    """From all facts there are, without the engine."""
    found: Rows = {}
    for at, kind, length in world.app.execute("SELECT happened_at, zone, length FROM facts"):
        key = window_start(at.astimezone(UTC), grain, zone), kind
        count, total = found.get(key, (0, 0))
        found[key] = count + 1, total + length
    return found


GRAINS = ("minute", "hour", "day")


@fault(
    "A dimension's limit is raised when the source keeps only the last 90 days of 2 years of history",
    number="older windows stay from the older version, marked with it; the rest is computed anew; no part is a day",
    freshness="ok",
    doctor="ok",
    exporter="ok",
    exit_code="0; plan says what stays",
)
def test_what_a_new_version_cannot_compute_stays_from_the_old_one(world: World) -> None:
    old, new = metric("kept", 32), metric("kept", 33)
    filled(world, metric("kept", 32, source_kept=None))  # two years of it, when the source had all
    whole = {grain: truth(world, grain) for grain in GRAINS}
    assert {grain: shown(world, "kept", grain) for grain in GRAINS} == whole
    closed = world.ledger(old, "day")[1]
    # The source deletes at a moment that cuts an hour, and a day.
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY + timedelta(hours=11)])
    filled(world, new)
    edge = (TODAY - KEPT * DAY + DAY).astimezone(UTC)
    for grain in GRAINS:
        assert shown(world, "kept", grain) == whole[grain], grain
        for (window, _), (version, provisional) in shown(world, "kept", grain, "version, provisional").items():
            assert version == (new.version if window >= edge else old.version), (grain, window)
            assert not provisional
    assert closed == world.ledger(old, "day")[1]
    again = world.run(new)
    assert (again.windows, again.warnings) == (0, [])
    assert migrate(world.settings, {"kept": new}).published == ()
    for grain in GRAINS:
        assert shown(world, "kept", grain) == whole[grain], grain


def test_any_number_of_versions_back_and_one_that_comes_again(world: World) -> None:
    first, second, third = (metric("many", limit, source_kept=None) for limit in (32, 33, 34))
    filled(world, first)
    whole = {grain: truth(world, grain) for grain in GRAINS}
    cuts = []
    for one, ago in ((second, KEPT + 1), (third, KEPT - 2)):
        cuts.append((TODAY - ago * DAY + timedelta(hours=5)).astimezone(UTC))
        world.app.execute("DELETE FROM facts WHERE happened_at < %s", [cuts[-1]])
        filled(world, one)
    for grain in GRAINS:
        assert shown(world, "many", grain) == whole[grain], grain
        for (window, _), (version,) in shown(world, "many", grain, "version").items():
            # the first fact that is left decides, at 11 o'clock: its minute, hour and day may be a part
            begins = [cut + timedelta(hours=6) for cut in cuts]
            whole_from = [next_window(at, grain) for at in begins]
            expected = first if window < whole_from[0] else second if window < whole_from[1] else third
            assert version == expected.version, (grain, window)
    filled(world, first)  # as it was before: what it has computed is there, newer facts are added
    world.insert(NOW - timedelta(hours=30), zone="a", length=7)
    filled(world, first)
    for grain in GRAINS:
        assert {version for (version,) in shown(world, "many", grain, "version").values()} == {first.version}
        assert sum(n for n, _ in shown(world, "many", grain).values()) == sum(n for n, _ in whole[grain].values()) + 1


def next_window(at: datetime, grain: str) -> datetime:
    """The first window that begins after the minute of an instant."""
    local = at.astimezone(SEOUL)
    if grain == "minute":
        return at + timedelta(minutes=1)
    if grain == "hour":
        return (local.replace(minute=0) + timedelta(hours=1)).astimezone(UTC)
    return (local.replace(hour=0, minute=0) + DAY).astimezone(UTC)


def test_a_source_that_was_not_said_to_forget_is_asked_whether_it_has(world: World) -> None:
    old = metric("asked", source_kept=None)
    filled(world, old)
    whole = {grain: truth(world, grain) for grain in GRAINS}
    # Nothing is lost: a definition that leaves facts out replaces all of the old one, from its first day on.
    fewer = metric(
        "asked", source_kept=None, source_sql="SELECT * FROM facts WHERE extract(hour FROM happened_at) <> 18"
    )
    filled(world, fewer)
    assert {version for (version,) in shown(world, "asked", "day", "version").values()} == {fewer.version}
    assert sum(n for n, _ in shown(world, "asked", "day").values()) == sum(n for n, _ in whole["day"].values()) * 2 // 3
    # All is lost: everything stays.
    world.app.execute("TRUNCATE facts")
    filled(world, metric("asked", 17, source_kept=None))
    assert len(shown(world, "asked", "day")) == len(whole["day"])
    # What still comes for that time would be a part beside what is gone: it is counted, and changes nothing.
    before = shown(world, "asked", "day")
    world.insert(NOW - timedelta(hours=5), zone="a", length=7)
    ready(world)
    assert world.run(metric("asked", 17, source_kept=None)).late_unapplied == 1
    assert shown(world, "asked", "day") == before


@fault(
    "A blocked window is older than what its source keeps",
    number="the rows that it had, provisional until somebody accepts them, then final",
    freshness="error: check and cell, and the command that accepts them",
    doctor="fail: the same",
    exporter='fleetgauge_rollup_blocked_windows 1, `fleetgauge_rollup_condition{condition="frozen_blocked"}` 1',
    exit_code="0 of run, 78 of freshness",
)
def test_a_blocked_window_that_the_source_has_no_more_keeps_its_rows(world: World) -> None:
    one = metric("blocked", source_kept=None, checks={"fail": ["length < 1000"]})
    filled(world, one)
    whole = {grain: truth(world, grain) for grain in GRAINS}
    at = (TODAY - (KEPT + 2) * DAY).replace(hour=11)
    world.app.execute("UPDATE facts SET length = 5000, changed_at = now() WHERE happened_at = %s AND zone = 'a'", [at])
    ready(world)
    assert len(world.run(one).blocked) == 1
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY])
    expired = metric("blocked", checks={"fail": ["length < 1000"]})
    assert expired.version == one.version
    for _ in range(2):
        ready(world)
        report = world.run(expired)
        assert [b.window_start for b in report.blocked] == [at]
        for grain in GRAINS:
            assert shown(world, "blocked", grain) == whole[grain], grain
        raise_failures([report])  # nothing, for no run can end it
    assert shown(world, "blocked", "minute", "provisional")[at.astimezone(UTC), "a"] == (True,)
    told = freshness(world.settings, [expired])[0].conditions
    assert [one.condition.name for one in told] == ["frozen_blocked"]
    assert "zone=a" in told[0].said and "fleetgauge metrics accept blocked --reason" in told[0].said
    lines = [one for one in examine(world.settings, {"blocked": expired}, {}) if "metric blocked: " in one.said]
    assert [(one.status, told[0].said in one.said) for one in lines] == [("fail", True)]
    with pytest.raises(Terminal, match="needs a reason"):
        accept_frozen(world.settings, expired, " ")
    assert len(accept_frozen(world.settings, expired, "looked at", dry_run=True).cells) == 1
    world.metrics.execute("ALTER TABLE fleetgauge.run RENAME TO run_away")
    try:
        with pytest.raises(Terminal, match="run"):  # what cannot be kept on record is not done
            accept_frozen(world.settings, expired, "looked at")
    finally:
        world.metrics.execute("ALTER TABLE fleetgauge.run_away RENAME TO run")
    (cell,) = accept_frozen(world.settings, expired, "looked at").cells
    assert (cell.window_start, cell.check) == (at, "length < 1000")
    assert accept_frozen(world.settings, expired, "looked at").cells == ()
    ready(world)
    assert world.run(expired).blocked == ()
    for grain in GRAINS:
        window = window_start(at.astimezone(UTC), grain, "Asia/Seoul")
        assert shown(world, "blocked", grain) == whole[grain], grain
        assert shown(world, "blocked", grain, "provisional")[window, "a"] == (False,), grain
    assert freshness(world.settings, [expired])[0].conditions == ()
    kept = "SELECT stages -> 0 ->> 'reason' FROM fleetgauge.run WHERE metric = 'blocked' AND command = 'metrics accept'"
    assert world.metrics.execute(kept).fetchall() == [("looked at",)]


def test_a_day_that_is_half_gone_before_anybody_computed_it_is_never_final(world: World) -> None:
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY + timedelta(hours=11)])
    one = metric("young")
    filled(world, one)
    first = (TODAY - KEPT * DAY).astimezone(UTC)
    for grain in GRAINS:
        assert shown(world, "young", grain) == truth(world, grain)
        part = first if grain == "day" else None  # its hours are whole, as far as anybody can tell
        for (window, _), (provisional,) in shown(world, "young", grain, "provisional").items():
            assert provisional == (window == part), (grain, window)
    ready(world)
    again = world.run(one)  # of a minute that has passed since, no more
    assert (again.cells, again.rows, again.restated) == (0, 0, 0)


def test_windows_that_were_never_computed_and_cannot_be_any_more_are_given_up(world: World) -> None:
    one = metric("gap", source_kept=None)
    filled(world, one)
    whole = {grain: truth(world, grain) for grain in GRAINS}
    begin, end = ((TODAY - ago * DAY + timedelta(hours=7)).astimezone(UTC) for ago in (KEPT + 2, KEPT + 1))
    world.metrics.execute(  # as if no run had come to them
        "UPDATE fleetgauge.ledger SET done = done - tstzmultirange(tstzrange(%s, %s)),"
        " closed = closed - tstzmultirange(tstzrange(fleetgauge.window_start(%s, grain, 'Asia/Seoul'),"
        " fleetgauge.window_end(%s, grain, 'Asia/Seoul'))) WHERE metric = 'gap'",
        [begin, end, begin, end],
    )
    ready(world)
    assert world.run(metric("gap")).error is None
    for grain in GRAINS:
        assert shown(world, "gap", grain) == whole[grain]
        lost = {window_start(at, grain, "Asia/Seoul") for at in (begin, end - timedelta(minutes=1))}
        for (window, _), (provisional,) in shown(world, "gap", grain, "provisional").items():
            assert provisional == (min(lost) <= window <= max(lost)), (grain, window)
    assert world.run(metric("gap")).windows == 0


def test_columns_that_differ_are_null_where_their_version_did_not_measure_them(world: World) -> None:
    filled(world, metric("wider", source_kept=None))
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY + timedelta(hours=11)])
    measures = {"n": MEASURES["n"], "most": {"agg": "max", "of": "length", "description": "The longest."}}
    new = definition(
        "wider",
        dimensions={"zone": {"column": "zone", "limit": 16}, "kind": {"column": "kind", "limit": 16}},
        measures=measures,
        rollups={"by_zone": ["zone"]},
        source_kept=f"{KEPT}d",
    )
    filled(world, new)
    edge = (TODAY - KEPT * DAY + DAY).astimezone(UTC)
    for grain in GRAINS:
        for (window, _), (n, length, most, kind, share) in shown(
            world, "wider", grain, "n, length, most, kind, share"
        ).items():
            assert n in (1, 3)
            assert (length is None, most is None, kind, share is None) == (
                (True, False, "x", True) if window >= edge else (False, True, None, False)
            )
    # The subset is new: older windows are merged for it from what the older version has.
    for grain in ("hour", "day"):
        expected = {k: v[:1] for k, v in shown(world, "wider", grain, "n").items()}
        assert shown(world, "wider", f"by_zone_{grain}", "n") == expected
    note = world.metrics.execute(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute"
        " WHERE attrelid = 'metrics.wider_day'::regclass AND attname IN ('most', 'length', 'kind') ORDER BY 1"
    ).fetchall()
    local = f"{edge.astimezone(SEOUL):%Y-%m-%dT%H:%M%z}"
    old = metric("wider").version
    assert note == [
        ("kind", f"Column kind of the source. [NULL before {local} (version {old})]"),
        ("length", f"[NULL from {local} (version {new.version})]"),
        ("most", f"The longest. [NULL before {local} (version {old})]"),
    ]


def test_a_query_reads_only_the_partitions_of_its_range(world: World) -> None:
    filled(world, metric("pruned", 32, source_kept=None))
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY + timedelta(hours=11)])
    new = metric("pruned", 33)
    filled(world, new)

    def scanned(grain: str, where: str) -> set[str]:
        lines = world.metrics.execute(
            f"EXPLAIN SELECT zone, sum(n) FROM metrics.pruned_{grain} WHERE {where} GROUP BY zone"
        ).fetchall()
        return {line.split(" on ")[1].split()[0] for (line,) in lines if " on pruned_" in line}

    recent = f"window_start >= '{NOW - 2 * DAY}' AND window_start < '{NOW}'"
    for grain in GRAINS:
        assert scanned(grain, recent)
        assert all(new.version in name for name in scanned(grain, recent)), scanned(grain, recent)
    old = scanned("minute", f"window_start < '{TODAY - (KEPT + 1) * DAY}'")
    assert old and not any(new.version in name for name in old)


def test_another_zone_begins_with_a_day_of_its_own_and_counts_nothing_twice(world: World) -> None:
    filled(world, metric("moved", source_kept=None))
    before = shown(world, "moved", "day")
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY + timedelta(hours=11)])
    new = metric("moved", time_zone="UTC")
    filled(world, new)
    rows = world.metrics.execute(
        "SELECT window_start, version, date FROM metrics.moved_day WHERE zone = 'a' ORDER BY window_start"
    ).fetchall()
    ends = [at + DAY for at, _, _ in rows]
    assert all(end <= at for end, (at, _, _) in zip(ends, rows[1:], strict=False))
    assert len({day for *_, day in rows}) == len(rows)
    assert {version for _, version, _ in rows} == {metric("moved").version, new.version}
    kept = {k: v for k, v in shown(world, "moved", "day", "n, length, version").items() if v[2] != new.version}
    assert {k: v[:2] for k, v in kept.items()}.items() <= before.items()
    assert shown(world, "moved", "minute", "n")


def test_retention_holds_for_older_versions_too(world: World) -> None:
    filled(world, metric("expiring", 32, source_kept=None))
    whole = {grain: truth(world, grain) for grain in GRAINS}
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY + timedelta(hours=11)])
    new = metric("expiring", 33, retention={"minute": "1d", "hour": "3650d"})
    filled(world, new)
    (dropped,) = drop_expired(world.settings, [new])
    old = metric("expiring", 32).version
    assert dropped.error is None
    assert any(old in name and "_minute_" in name for name in dropped.partitions)
    assert not any(old in name and "_minute_" not in name for name in dropped.partitions)
    for grain in ("hour", "day"):
        assert shown(world, "expiring", grain) == whole[grain]
    assert {version for (version,) in shown(world, "expiring", "minute", "version").values()} <= {new.version}


def test_every_kind_of_measure_stays_as_it_was(world: World) -> None:
    def whole(limit: int, **more: Any) -> Definition:
        zones = {"zone": {"column": "zone", "limit": limit}, "kind": {"column": "kind", "limit": 16}}
        return definition("kinds", dimensions=zones, rollups={"by_zone": ["zone"], "total": []}, **more)

    old = whole(32)
    filled(world, old)
    world.assert_right(old)
    before = {level.name: world.stored(old, level) for level in old.levels}
    world.app.execute("DELETE FROM facts WHERE happened_at < %s", [TODAY - KEPT * DAY + timedelta(hours=11)])
    filled(world, whole(33, source_kept=f"{KEPT}d"))
    assert {level.name: world.stored(old, level) for level in old.levels} == before

"""What operators do on the command line: backfill, reconcile, look at freshness and numbers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cli_world import METRIC, SOURCE, Shell
from rollup_world import World

from fleetgauge.rollup import GRAINS, Definition, Grain
from fleetgauge.rollup.operating.backfill import backfill_metrics
from fleetgauge.rollup.operating.backfill_record import BackfillOrder

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
DAY = timedelta(days=1)
TODAY = datetime.now(ZoneInfo("Asia/Seoul")).date()


def _ready(world: World) -> None:
    world.beat()
    world.catch_up()


@pytest.fixture(scope="module")
def shell(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(world, tmp_path_factory.mktemp("content"))
    made.configure()
    made.write()
    made("migrate")
    return made


@pytest.fixture
def ride(shell: Shell) -> Iterator[Definition]:
    """Facts of five days, rolled up."""
    world = shell.world
    found = shell.write()
    world.forget(found)
    world.metrics.execute("DELETE FROM fleetgauge.backfill")
    _ready(world)
    for hours in range(2, 110, 4):
        for zone in ("a", "b"):
            world.insert(NOW - timedelta(hours=hours), zone=zone, length=hours, score=float(hours))
    _ready(world)
    shell("run", "ride")
    yield found


def _sum(world: World, begin: datetime | None = None) -> int:
    row = world.metrics.execute(
        "SELECT sum(length) FROM metrics.ride_day WHERE window_start >= %s", [begin or NOW - 400 * DAY]
    ).fetchone()
    assert row is not None
    return int(row[0])


def _tamper(world: World, one: Definition, grains: Sequence[str] = GRAINS) -> None:
    for level in (level for level in one.levels if level.grain in grains):
        world.metrics.execute(f"UPDATE store.{one.table(level)} SET length = 0")


def _span(days: int) -> tuple[str, ...]:
    return "--from", str(TODAY - days * DAY), "--to", str(TODAY + DAY)


# --- backfill -------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_computed_and_changes_nothing(shell: Shell, ride: Definition) -> None:
    answer = shell("backfill", "ride", *_span(3), "--dry-run", "--json")
    (outline,) = answer.json
    assert len(outline["pieces"]) == 4  # local days, the last of them not over yet
    assert outline["facts"] > 0
    assert shell("backfill", "--list", "--json").json == []
    assert "nothing was changed" in shell("backfill", "ride", *_span(3), "--dry-run").out


def test_a_backfill_needs_a_reason_and_a_span_that_makes_sense(shell: Shell, ride: Definition) -> None:
    assert "give --reason" in shell("backfill", "ride", *_span(3), code=78).err
    turned = ("--from", str(TODAY), "--to", str(TODAY - DAY), "--reason", "x")
    assert "turn it round" in shell("backfill", "ride", *turned, code=78).err
    assert "not defined" in shell("backfill", "rider", *_span(3), "--reason", "x", code=78).err


@pytest.mark.parametrize("grain", ["minute", "hour", "day"])
def test_it_computes_anew_whatever_the_ledger_says(shell: Shell, ride: Definition, grain: Grain) -> None:
    right, counted = _sum(shell.world), _counted(shell.world)
    _tamper(shell.world, ride, [g for g in GRAINS if GRAINS.index(g) >= GRAINS.index(grain)])
    assert _sum(shell.world) == 0
    answer = shell("backfill", "ride", *_span(6), "--grain", grain, "--reason", "tampered with", "--json")
    assert len(answer.json) == 7
    assert _sum(shell.world) == right
    last = shell("backfill", "--list", "--json").json[0]
    assert (last["status"], last["reason"], last["done_s"]) == ("finished", "tampered with", last["span_s"])
    windows, restated, source_seconds = _counted(shell.world)
    assert windows - counted[0] == sum(piece["windows"] for piece in answer.json)
    assert restated == counted[1]
    assert (source_seconds > counted[2]) == (grain == "minute")


def _counted(world: World) -> tuple[int, int, float]:
    (found,) = world.metrics.execute(
        "SELECT windows, restated, source_seconds FROM fleetgauge.activity WHERE metric = 'ride'"
    ).fetchall()
    return found


def test_ctrl_c_leaves_a_record(shell: Shell, ride: Definition) -> None:
    """A real process, stopped while it waits for another worker on the metric."""
    world = shell.world
    with world.metrics.transaction():
        world.metrics.execute("SELECT pg_advisory_xact_lock(hashtextextended('fleetgauge rollup ride', 0))")
        process = subprocess.Popen(
            [sys.executable, "-m", "fleetgauge", "backfill", "ride", *_span(5), "--reason", "again"],
            env={**os.environ, "FLEETGAUGE_CONFIG": str(shell.config)},
            stderr=subprocess.PIPE,
            text=True,
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        deadline = time.monotonic() + 60
        while world.metrics.execute(waiting).fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "goes on where" in said
    assert "Traceback" not in said
    (record,) = shell("backfill", "--list", "--json").json
    assert (record["status"], record["done_s"], record["reason"]) == ("open", 0, "again")


def test_the_same_request_goes_on_where_it_stood(shell: Shell, ride: Definition) -> None:
    world = shell.world
    right = _sum(world)
    _tamper(world, ride)
    midnight = datetime.combine(TODAY, datetime.min.time())  # local, as on the command line
    request = BackfillOrder(midnight - 5 * DAY, midnight + DAY, reason="again", backwards=True, max_lag=None)
    work = backfill_metrics(world.settings, [ride], request)
    done = [next(work), next(work)]
    work.close()  # the process dies
    assert [step.piece[0].astimezone(ZoneInfo("Asia/Seoul")).date() for step in done] == [TODAY, TODAY - DAY]
    again = shell("backfill", "ride", *_span(5), "--reason", "again", "--json")
    assert len(again.json) == 4
    (record,) = shell("backfill", "--list", "--json").json
    assert (record["status"], record["done_s"]) == ("finished", record["span_s"])
    assert _sum(world) == right
    assert len(shell("backfill", "ride", *_span(5), "--reason", "anew", "--json").json) == 6


def test_it_waits_for_a_replica_that_is_behind(shell: Shell, ride: Definition) -> None:
    world = shell.world
    world.app.execute("UPDATE fleetgauge_heartbeat SET beat_at = beat_at - interval '10 minutes'")
    world.catch_up()
    midnight = datetime.combine(TODAY, datetime.min.time())
    request = BackfillOrder(midnight - DAY, midnight, reason="x")
    steps = list(backfill_metrics(world.settings, [ride], request, sleep=lambda _: _ready(world)))
    assert [type(step).__name__ for step in steps] == ["ReplicaBehind", "Done"]
    assert steps[0].lag >= timedelta(minutes=10)


def test_what_is_frozen_stays_and_is_named(shell: Shell, ride: Definition) -> None:
    world = shell.world
    frozen = shell.write(METRIC + "source_kept: 40d\n")
    assert frozen.version == ride.version
    late = "SELECT late_unapplied FROM fleetgauge.ledger WHERE metric = 'ride' AND grain = 'minute'"
    before = world.metrics.execute(late).fetchone()
    (outline,) = shell("backfill", "ride", *_span(42), "--dry-run", "--json").json
    (part,) = outline["frozen"]
    assert datetime.fromisoformat(part[1]) < datetime.now(UTC) - 39 * DAY  # a day may have ended since NOW
    done = shell("backfill", "ride", *_span(42), "--reason", "x", "--json").json
    assert len(done) == len(outline["pieces"])
    assert world.metrics.execute(late).fetchone() == before


def test_a_failure_is_recorded_and_the_other_metrics_go_on(shell: Shell, ride: Definition) -> None:
    broken = shell.write(
        METRIC.replace("metric: ride", "metric: gone"), SOURCE.replace("score", "1/0 AS score"), "gone"
    )
    try:
        shell("migrate")
        answer = shell("backfill", "gone", "ride", *_span(2), "--reason", "x", "--json", code=78)
        assert "metric gone" in answer.err
        assert {one["metric"] for one in answer.json} == {"ride"}
        status = {one["metric"]: one["status"] for one in shell("backfill", "--list", "--json").json}
        assert status == {"gone": "failed", "ride": "finished"}
    finally:
        shell.world.metrics.execute("DELETE FROM fleetgauge.metric_version WHERE metric = 'gone'")
        _remove(shell, broken)


def _remove(shell: Shell, one: Definition) -> None:
    home = shell.folder / "sql" / "metrics" / one.metric
    for path in home.iterdir():
        path.unlink()
    home.rmdir()


# --- run, reconcile, freshness, show --------------------------------------------------------------------------------


def test_run_prints_its_reports_even_when_a_metric_fails(shell: Shell, ride: Definition) -> None:
    shell.write(source=SOURCE.replace("length", "length_m AS length"))  # a renamed column
    shell("migrate")
    answer = shell("run", "--source", "operations", "--json", code=78)
    (report,) = answer.json
    assert "length_m" in report["error"]
    assert "length_m" in answer.err
    shell.write()


def test_a_first_fill_tells_how_far_it_is(shell: Shell, ride: Definition) -> None:
    world = shell.world
    world.metrics.execute("UPDATE fleetgauge.ledger SET done = '{}', closed = '{}', cursor_at = NULL, beat_at = NULL")
    assert "[first run]" in shell("run", "--dry-run").out
    answer = shell("run", "--json")
    (report,) = answer.json
    assert [one["stage"] for one in report["stages"]] == ["Begin", "ComputeSpan", "Advance"]
    assert "rows written; done" in answer.err
    shell("run", "ride", "--from", str(TODAY), "--to", str(TODAY), code=78)
    assert "+09:00 to" in shell("run", "ride", "--from", str(TODAY - DAY), "--to", str(TODAY)).err


def test_reconcile_names_what_differs_and_mends_it(shell: Shell, ride: Definition) -> None:
    world = shell.world
    world.app.execute("UPDATE facts SET changed_at = now() - interval '1 hour'")  # else the next run reads them again
    _ready(world)
    (report,) = shell("reconcile", "ride", "--days", "6", "--json").json["metrics"]
    assert (report["different"], report["hours"] > 100) == (0, True)
    world.app.execute("DELETE FROM facts WHERE happened_at = %s AND zone = 'a'", [NOW - timedelta(hours=10)])
    _ready(world)
    dry = shell("reconcile", "--days", "6", "--dry-run", code=1)
    assert "1 differ; nothing was changed" in dry.out
    assert "zone=a kind=x: n is 1, the source says nothing" in dry.out
    assert "computed anew" in shell("reconcile", "ride", "--days", "6").out
    shell("reconcile", "ride", "--days", "6", "--dry-run")
    assert "reconcile" in shell("restatements", "ride").out
    assert any(one["reason"] == "reconcile" for one in shell("restatements", "ride", "--json").json)
    told = shell("explain", "ride", str(TODAY - DAY), "--grain", "day").out
    assert "rows of source operations; this shows them:" in told
    assert shell("explain", "ride", str(TODAY - DAY), "zone=a", "--json").json["where"] == {"zone": "a"}
    shell("explain", "ride", str(TODAY - DAY), "zone", code=78)


def test_freshness_is_an_exit_code(shell: Shell, ride: Definition) -> None:
    by_grain = {one["grain"]: one for one in shell("freshness", "--json").json}
    assert set(by_grain) == {"minute", "hour", "day"}
    assert all(one["verdict"] == "ok" for one in by_grain.values())
    assert by_grain["minute"]["behind_s"] < 300
    assert len(shell("freshness", "--source", "operations", "--json").json) == 3
    assert "no metric reads from source 'commands'" in shell("freshness", "--source", "commands", code=78).err
    shell.world.metrics.execute(
        "UPDATE fleetgauge.ledger SET closed = closed - tstzmultirange(tstzrange(%s, NULL)) WHERE metric = 'ride'",
        [NOW - DAY - timedelta(minutes=10)],
    )
    answer = shell("freshness", "--error", "2h", code=75)
    assert "ride by minute is 1d" in answer.err
    shell("freshness", "--error", "3d")


def test_a_blocked_minute_is_not_lateness(shell: Shell, ride: Definition) -> None:
    window = NOW - timedelta(hours=10)
    shell.world.metrics.execute(
        "INSERT INTO fleetgauge.blocked (metric, version, window_start, reason) VALUES ('ride', %s, %s, 'n > 0')",
        [ride.version, window],
    )
    shell.world.metrics.execute(
        "UPDATE fleetgauge.ledger SET closed = closed - tstzmultirange(tstzrange("
        "fleetgauge.window_start(%s, grain, 'Asia/Seoul'), fleetgauge.window_end(%s, grain, 'Asia/Seoul')))"
        " WHERE metric = 'ride'",
        [window, window],
    )
    answer = shell("freshness", "--json", code=78)
    assert "check 'n > 0' is broken in 1 cell(s)" in answer.err
    assert {one["late"] for one in answer.json} == {"ok"}
    assert {(one["verdict"], one["blocked"]) for one in answer.json} == {("error", 1)}


def test_show_reads_sketches_and_merges_dimensions(shell: Shell, ride: Definition) -> None:
    rows = shell("show", "ride", "--grain", "hour", "--last", "5h", "--by", "", "--json").json
    assert rows["view"] == "metrics.ride_by_zone_hour"
    first = rows["rows"][0]
    assert (first["n"], first["length"], first["kinds"], first["share"]) == (2, 4, 1, 1.0)
    assert first["score_p50"] == pytest.approx(first["length"] / 2, rel=0.01)
    whole = shell("show", "ride", "--grain", "hour", "--last", "5h", "--json").json["rows"]
    assert [row["zone"] for row in whole[:2]] == ["a", "b"]
    assert shell("show", "ride", "--last", "5h").out.count("\n") >= 3
    assert "no row of" in shell("show", "ride", "--last", "1m").out
    assert "longer than 100 years" in shell("show", "ride", "--last", "9999999999999999d", code=78).err
    assert "no dimension colour" in shell("show", "ride", "--by", "colour", code=78).err


def test_show_takes_a_span_of_local_time_and_says_times_in_the_metrics_zone(shell: Shell, ride: Definition) -> None:
    yesterday = ("--from", str(TODAY - DAY), "--to", str(TODAY))
    days = shell("show", "ride", "--grain", "day", "--by", "", *yesterday, "--json")
    assert f"span: {TODAY - DAY}T00:00+09:00 to {TODAY}T00:00+09:00" in days.err
    (day,) = days.json["rows"]
    assert (day["date"], day["window_start"]) == (str(TODAY - DAY), f"{TODAY - DAY}T00:00:00+09:00")
    hours = shell("show", "ride", "--grain", "hour", "--by", "", *yesterday, "--json").json["rows"]
    assert sum(hour["n"] for hour in hours) == day["n"] > 0
    assert all(hour["window_start"].startswith(str(TODAY - DAY)) for hour in hours)
    told = shell("show", "ride", "--grain", "day", "--by", "", *yesterday).out.splitlines()
    assert told[0].split()[0] == "date" and told[1].split()[0] == str(TODAY - DAY)
    assert f"{TODAY - DAY}T" in shell("show", "ride", "--grain", "hour", *yesterday).out
    assert "+09:00" in shell("show", "ride", "--grain", "hour", *yesterday).out
    assert "give one or the other" in shell("show", "ride", "--last", "1d", *yesterday, code=78).err

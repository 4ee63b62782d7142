"""A plan is what runs: on real servers, what was planned is what is reported, and then nothing is left to plan."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rollup_world import QUICK, Fuse, World, definition

from fleetgauge.rollup import GRAINS
from fleetgauge.rollup.operating.preview import preview_metrics
from fleetgauge.rollup.plan.planner import Plan
from fleetgauge.rollup.plan.request import RunRequest
from fleetgauge.rollup.plan.stages import ComputeCells, ComputeSpan
from fleetgauge.rollup.spans import MINUTE
from fleetgauge.rollup.windows import (
    BEGINNING,
    FOREVER,
    days,
    partition_start,
    whole_windows,
    window_end,
    window_start,
    windows,
)

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
ZONES = (
    *("Asia/Seoul", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Kathmandu"),
    *("America/St_Johns", "America/Sao_Paulo", "Africa/Cairo", "Pacific/Apia", "Asia/Beirut", "Europe/Dublin"),
)


def _instants(zone: str) -> list[datetime]:
    """Around each change of the offset in a few years, odd seconds included, and some others."""
    tz = ZoneInfo(zone)
    found = [datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(1905, 3, 3, 3, 3, 3, tzinfo=UTC)]
    at = datetime(2022, 1, 1, tzinfo=UTC)
    while at < datetime(2027, 1, 1, tzinfo=UTC):
        following = at + timedelta(hours=12)
        if at.astimezone(tz).utcoffset() != following.astimezone(tz).utcoffset():
            found += [at + timedelta(minutes=m, seconds=s) for m in range(-60, 840, 15) for s in (0, 1, 59)]
        at = following
    return found


def test_windows_are_those_of_the_metrics_database(world: World) -> None:
    world.migrate()
    for zone in ZONES:
        instants = _instants(zone)
        for grain in GRAINS:
            rows = world.metrics.execute(
                "SELECT fleetgauge.window_start(at, %(g)s, %(z)s), fleetgauge.window_end(at, %(g)s, %(z)s)"
                " FROM unnest(%(at)s::timestamptz[]) WITH ORDINALITY AS u(at, n) ORDER BY n",
                {"g": grain, "z": zone, "at": instants},
            ).fetchall()
            ours = [(window_start(at, grain, zone), window_end(at, grain, zone)) for at in instants]
            assert ours == rows, (zone, grain)
        for at in instants[:: max(1, len(instants) // 15)]:
            span = (at, at + timedelta(hours=50, minutes=7))
            assert windows(span, "hour", zone)[0][0] == window_start(at, "hour", zone)
            assert all(b == window_start(b, "day", zone) for b, _ in days(span, zone)[1:])
            for grain in GRAINS[1:]:
                (expected,) = world.metrics.execute(
                    "SELECT array(SELECT ARRAY[lower(r), upper(r)] FROM unnest(fleetgauge.whole_windows("
                    "tstzmultirange(tstzrange(NULL, %(a)s), tstzrange(%(b)s, %(c)s)), %(g)s, %(z)s)) AS r)",
                    {"a": at - timedelta(days=9), "b": span[0], "c": span[1], "g": grain, "z": zone},
                ).fetchone()
                spans = whole_windows([(BEGINNING, at - timedelta(days=9)), span], grain, zone)
                assert spans == [(begin or BEGINNING, end or FOREVER) for begin, end in expected]
                (begins,) = world.metrics.execute(
                    "SELECT fleetgauge.date_start(date_trunc(%(u)s, %(at)s AT TIME ZONE %(z)s)::date, %(z)s)",
                    {"u": "year", "at": at, "z": zone},
                ).fetchone()
                assert partition_start(at, grain, zone) == begins


def _windows(planned: Plan) -> int:
    return sum(int((s.span[1] - s.span[0]) / MINUTE) for s in planned.stages if isinstance(s, ComputeSpan))


FACTS = st.lists(st.tuples(st.integers(0, 3 * 1440), st.sampled_from("ab"), st.sampled_from("xy")), max_size=12)
INTERVALS = st.one_of(st.none(), st.tuples(st.integers(0, 2000), st.integers(1, 200)))


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.lists(st.tuples(FACTS, INTERVALS, st.sampled_from(["minute", "minute", "hour"])), min_size=1, max_size=3))
def test_what_was_planned_is_what_is_done(
    world: World, script: list[tuple[list[tuple[int, str, str]], tuple[int, int] | None, str]]
) -> None:
    one = definition("planned")
    world.migrate(one)
    world.forget(one)
    for facts, asked, grain in script:
        for ago, zone, kind in facts:
            world.insert(NOW - timedelta(minutes=ago), zone=zone, kind=kind)
        world.beat()
        world.catch_up()
        begin = NOW - timedelta(minutes=asked[0]) if asked else NOW
        interval = (begin, begin + timedelta(minutes=asked[1])) if asked else None
        request = RunRequest(grain, interval)  # type: ignore[arg-type]
        (shown,) = preview_metrics(world.settings, [one], request, options=QUICK)
        with world.engine_with(one, Fuse()) as engine:
            planned = engine.plan(request)
            assert shown.plan == planned
            report = engine.run(request.grain, interval)
            assert [done.stage for done in report.stages] == list(planned.stages)
            assert not any(done.skipped for done in report.stages)
            if grain == "minute":
                assert report.windows == _windows(planned)
                cells = (len(s.cells) for s in planned.stages if isinstance(s, ComputeCells))
                assert report.cells == sum(cells)
            again = engine.plan(RunRequest(request.grain))
            engine.close()
        assert again.empty, again
    if script[-1][2] == "minute":
        world.assert_right(one)

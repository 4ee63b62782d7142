"""The rows of a range, cut anywhere, are all of what lies in it and nothing else."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from rollup_world import World, definition, window_start

from fleetgauge.errors import Terminal
from fleetgauge.rollup import Definition
from fleetgauge.rollup.operating.expire import drop_expired
from fleetgauge.rollup.store import ranges
from fleetgauge.rollup.store.migrate import migrate
from fleetgauge.rollup.store.unused import drop, leftovers

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
GRAINS = ("minute", "hour", "day")
LENGTHS = [40, 1800, 5000, 40_000, 90_000, 200_000, 400_000]
"""Of ranges, in seconds."""
STEMS = {"": ("zone", "kind"), "_by_zone": ("zone",), "_total": ()}
MEASURES: dict[str, Any] = {
    "n": {"agg": "count"},
    "closed": {"agg": "count", "where": {"state": "done"}},
    "amount": {"agg": "sum", "of": "amount", "type": "numeric"},
    "score": {"agg": "percentile", "of": "score"},
    "kinds": {"agg": "distinct", "of": "length"},
    "share": {"agg": "ratio", "numerator": "closed", "denominator": "n"},
}


def last_change(zone: str) -> datetime:
    """The local midnight before the zone's offset last changed; a month ago where it never does."""
    tz = ZoneInfo(zone)
    day = NOW - timedelta(days=30)
    for back in range(2, 400):
        at = NOW - timedelta(days=back)
        if at.astimezone(tz).utcoffset() != (at - timedelta(days=1)).astimezone(tz).utcoffset():
            day = at - timedelta(days=1)
            break
    return window_start(day, "day", zone)


def filled(
    world: World, zone: str, rng: random.Random, name: str = "range"
) -> tuple[Definition, list[tuple[Any, ...]]]:
    """Four days of facts, some at the very ends of windows."""
    one = definition(f"{name}_{zone.split('/')[1].lower()}", time_zone=zone, measures=MEASURES)
    begin = last_change(zone) - timedelta(days=1)
    world.migrate(one)
    world.forget(one)
    facts = []
    for _ in range(700):
        at = begin + timedelta(seconds=rng.uniform(0, 4 * 86400))
        if rng.random() < 0.3:
            at = window_start(at, rng.choice(GRAINS), zone) - rng.choice([timedelta(0), timedelta(microseconds=1)])
        facts.append(
            (
                at,
                rng.choice("abc"),
                rng.choice("xy"),
                rng.choice(["open", "done"]),
                rng.randrange(100),
                rng.randrange(100),
            )
        )
    with world.app.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO facts (happened_at, zone, kind, state, amount, length, score) VALUES (%s,%s,%s,%s,%s,%s,1.5)",
            facts,
        )
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    return one, facts


@pytest.fixture
def grafana(world: World) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(world.postgres.url("metrics", "grafana", world.name), autocommit=True) as connection:
        connection.execute("SET TimeZone = 'America/St_Johns'")  # another zone with a half hour, which must not matter
        yield connection


def ceil_minute(at: datetime) -> datetime:
    cut = at.replace(second=0, microsecond=0)
    return cut if cut == at else cut + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("zone", "computed"),
    [
        ("Asia/Seoul", False),
        ("Asia/Kolkata", False),
        ("Asia/Kathmandu", False),
        ("Australia/Lord_Howe", False),
        ("Australia/Lord_Howe", True),
    ],
)
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_any_range_is_exact_to_the_minute(
    world: World, grafana: psycopg.Connection[Any], zone: str, computed: bool, rounds: int
) -> None:
    """`computed`: by functions as those of views that compute what they show."""
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)  # noqa: T201
    rng = random.Random(seed)
    one, facts = filled(world, zone, rng, "computed" if computed else "range")
    if computed:
        url = world.postgres.url("metrics", "fleetgauge_owner", world.name)
        with psycopg.connect(url) as owner:
            owner.execute("SET ROLE fleetgauge_writer")
            assert ranges.apply(owner, [replace(trio, computed=True) for trio in ranges.of_metric(one)]) == {}
    first = min(at for at, *_ in facts) - timedelta(hours=3)
    found = 0
    for seconds in LENGTHS * rounds:
        since = first + timedelta(seconds=rng.uniform(0, 4 * 86400))
        until = since + timedelta(seconds=seconds)
        if rng.random() < 0.3:
            since = window_start(since, rng.choice(GRAINS), zone)
        if rng.random() < 0.3:
            until = window_start(until, rng.choice(GRAINS), zone)
        low, high = ceil_minute(since), ceil_minute(max(since, until))
        inside = [fact for fact in facts if low <= fact[0] < high]
        found += len(inside)
        for stem, dimensions in STEMS.items():
            for grain in GRAINS:
                row = grafana.execute(
                    "SELECT coalesce(sum(n), 0), coalesce(sum(closed), 0), coalesce(sum(amount), 0),"
                    " fleetgauge.sketch_count(fleetgauge.sketch_merge(score)),"
                    " (SELECT coalesce(max(estimate), 0)"
                    f" FROM fleetgauge.distinct_count('{one.metric}{stem}', 'kinds', %s, %s, %s, whole => true))"
                    f" FROM metrics.{one.metric}{stem}_range(%s, %s, %s)",
                    [since, until, grain] * 2,
                ).fetchone()
                assert row == (
                    len(inside),
                    sum(state == "done" for _, _, _, state, *_ in inside),
                    sum((Decimal(amount) for *_, amount, _ in inside), Decimal(0)),
                    len(inside),
                    len({length for *_, length in inside}),
                ), (seed, since, until, stem, grain)
                buckets: dict[Any, int] = defaultdict(int)
                for at, in_zone, kind, *_ in inside:
                    key = {"zone": in_zone, "kind": kind}
                    buckets[window_start(at, grain, zone), *(key[name] for name in dimensions)] += 1
                columns = ", ".join(["bucket_start", *dimensions])
                rows = grafana.execute(
                    f"SELECT {columns}, sum(n) FROM metrics.{one.metric}{stem}_range(%s, %s, %s) GROUP BY {columns}",
                    [since, until, grain],
                ).fetchall()
                told = {(key[0].astimezone(UTC), *key[1:]): n for *key, n in rows}
                assert told == buckets, (seed, since, until, stem, grain)
        for bucket, grain in (("15 minutes", "hour"), ("6 hours", "day"), ("7 days", "week")):
            sums: dict[datetime, int] = defaultdict(int)
            for at, n in grafana.execute(
                f"SELECT bucket_start, sum(n) FROM metrics.{one.metric}_range(%s, %s, %s) GROUP BY 1",
                [since, until, bucket],
            ):
                sums[at.astimezone(UTC) if grain == "week" else window_start(at.astimezone(UTC), grain, zone)] += n
            wanted: dict[datetime, int] = defaultdict(int)
            for at, *_ in inside:
                wanted[monday(at, zone) if grain == "week" else window_start(at, grain, zone)] += 1
            assert sums == wanted, (seed, since, until, bucket)
    assert found > 50 * rounds


def monday(at: datetime, zone: str) -> datetime:
    local = at.astimezone(ZoneInfo(zone))
    day = (local - timedelta(days=local.weekday())).date()
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def test_where_finer_rows_have_expired_whole_windows_are_read_and_it_is_said(
    world: World, grafana: psycopg.Connection[Any]
) -> None:
    zone = ZoneInfo("Asia/Seoul")
    one = definition("range_old", measures=MEASURES, retention={"minute": "31d", "hour": "800d"})
    world.app.execute("TRUNCATE facts")
    local = (NOW - timedelta(days=100)).astimezone(zone).replace(hour=0, minute=0)
    times = [local + timedelta(minutes=7 * k) for k in range(600)]
    times += [NOW - timedelta(hours=k) for k in range(1, 60)]
    for at in times:
        world.insert(at.astimezone(UTC))
    world.migrate(one)
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    assert drop_expired(world.settings, [one])[0].error is None
    since, until = local + timedelta(hours=10, minutes=17), local + timedelta(days=1, hours=5, minutes=44)
    said = grafana.execute("SELECT fleetgauge.range_said(%s, %s, %s)", [one.metric, since, until]).fetchone()
    assert said == (f" ({local:%Y-%m-%d} 10:00 to {local + timedelta(days=1):%Y-%m-%d} 06:00)",)
    low, high = local + timedelta(hours=10), local + timedelta(days=1, hours=6)
    right = sum(low <= at < high for at in times)
    for grain in GRAINS:
        rows = grafana.execute(
            "SELECT sum(n), count(DISTINCT bucket_start) FROM metrics.range_old_range(%s, %s, %s)",
            [since, until, grain],
        ).fetchone()
        assert rows == (right, 2 if grain == "day" else 20), grain
    # One end in the time of minutes, the other before it.
    said = grafana.execute("SELECT fleetgauge.range_said(%s, %s, %s)", [one.metric, since, NOW]).fetchone()
    assert said == (f" ({local:%Y-%m-%d} 10:00 to {NOW.astimezone(zone):%Y-%m-%d %H:%M})",)
    found = grafana.execute("SELECT sum(n) FROM metrics.range_old_range(%s, %s)", [since, NOW]).fetchone()
    assert found == (sum(low <= at < NOW for at in times),)
    recent = [NOW - timedelta(hours=30, minutes=13), NOW - timedelta(minutes=5)]
    assert grafana.execute("SELECT fleetgauge.range_said(%s, %s, %s)", [one.metric, *recent]).fetchone() == ("",)
    wishes = [("minute", since, "hour"), ("hour", since, "hour"), ("day", since, "day"), ("minute", NOW, "minute")]
    for wish, at, grain in wishes:
        assert grafana.execute("SELECT fleetgauge.range_grain(%s, %s, %s)", [wish, at, one.metric]).fetchone() == (
            grain,
        )


def test_half_a_year_is_read_by_index_in_time(world: World, grafana: psycopg.Connection[Any]) -> None:
    """Days in the middle, at most 46 hours and 118 minutes at the edges, whatever lies between."""
    one = definition("range_long", measures=MEASURES)
    world.app.execute("TRUNCATE facts")
    world.app.execute(
        "INSERT INTO facts (happened_at, zone, kind, state, amount, length, score)"
        " SELECT %s::timestamptz - k * interval '20 minutes', 'a', chr(97 + k %% 8), 'done', 1, k %% 300, k"
        " FROM generate_series(0, 13000) AS k",
        [NOW],
    )
    world.migrate(one)
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    world.metrics.execute("ANALYZE")
    since, until = NOW - timedelta(days=179, hours=10, minutes=43), NOW - timedelta(minutes=17)
    query = (
        "SELECT sum(n), fleetgauge.quantile(fleetgauge.sketch_merge(score), 0.95),"
        f" (SELECT estimate FROM fleetgauge.distinct_count('range_long_total', 'kinds', '{since}', '{until}',"
        " whole => true)), sum(closed)::float8 / nullif(sum(n), 0)"
        f" FROM metrics.range_long_total_range('{since}', '{until}')"
    )
    row = grafana.execute(query).fetchone()
    assert row is not None
    assert row[0] == sum(since <= NOW - timedelta(minutes=20 * k) < until for k in range(13_001))
    plan = grafana.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}").fetchone()
    assert plan is not None
    read: dict[str, int] = defaultdict(int)
    for node in nodes(plan[0][0]["Plan"]):
        relation = node.get("Relation Name", "")
        if relation.startswith("range_long"):
            assert node["Node Type"] != "Seq Scan" or node["Actual Loops"] == 0 or "_day__" in relation, relation
            grain = next(grain for grain in GRAINS if f"_{grain}__" in relation)
            read[grain] += node["Actual Rows"] * node["Actual Loops"]
    assert 0 < read["minute"] <= 118, read
    assert 0 < read["hour"] <= 46, read
    assert 170 < read["day"] <= 181, read


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def test_its_columns_follow_the_views_and_nothing_that_hangs_on_it_is_lost(
    world: World, grafana: psycopg.Connection[Any]
) -> None:
    old = {name: MEASURES[name] for name in ("n", "amount")}
    world.app.execute("TRUNCATE facts")
    world.insert(NOW - timedelta(hours=3), state="done")
    world.beat()
    world.catch_up()
    one = definition("range_grows", measures=old)
    world.migrate(one)
    assert world.run(one).error is None
    grown = definition("range_grows", measures={**old, "closed": MEASURES["closed"]})
    world.migrate(grown)
    assert world.run(grown).error is None
    query = "SELECT sum(closed) FROM metrics.range_grows_range(%s, %s)"
    assert grafana.execute(query, [NOW - timedelta(days=1), NOW]).fetchone() == (1,)
    world.metrics.execute(
        "CREATE VIEW public.hangs AS SELECT sum(n) AS n FROM metrics.range_grows_range(now() - interval '1 day', now())"
    )
    more = definition(
        "range_grows", measures={**old, "closed": MEASURES["closed"], "most": {"agg": "max", "of": "length"}}
    )
    world.migrate(more)
    assert world.run(more).error is None
    refused = migrate(world.settings, {"range_grows": more}).refused
    assert "metrics.range_grows_range" in refused["range_grows"]
    assert "view hangs" in refused["range_grows"]
    assert world.metrics.execute("SELECT n FROM public.hangs").fetchone() == (1,)
    world.metrics.execute("DROP VIEW public.hangs")
    assert migrate(world.settings, {"range_grows": more}).refused == {}
    assert grafana.execute(query.replace("closed", "most"), [NOW - timedelta(days=1), NOW]).fetchone() == (1,)


def test_a_wrong_grain_is_told(world: World, grafana: psycopg.Connection[Any]) -> None:
    one = definition("range_wrong", measures=MEASURES)
    world.migrate(one)
    world.beat()
    world.catch_up()
    assert world.run(one).error is None
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="week; write minute, hour or day"):
        grafana.execute("SELECT * FROM metrics.range_wrong_range(now(), now(), 'week')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        grafana.execute("SELECT kept_from FROM fleetgauge.ledger")


def test_it_goes_with_the_metric_that_is_dropped(world: World) -> None:
    one = definition("range_gone", measures=MEASURES)
    world.migrate(one)
    query = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'range_gone%range'"
    in_metrics = f"{query} AND pronamespace = 'metrics'::regnamespace"
    assert world.metrics.execute(in_metrics).fetchone() == (3,)
    world.metrics.execute(
        "CREATE VIEW public.on_gone AS SELECT sum(n) AS n FROM metrics.range_gone_range(now(), now())"
    )
    (left,) = [found for found in leftovers(world.metrics, {}) if found.name == "range_gone"]
    with pytest.raises(Terminal, match="view on_gone"), world.metrics.transaction():
        drop(world.metrics, left)
    world.metrics.execute("DROP VIEW public.on_gone")
    with world.metrics.transaction():
        drop(world.metrics, left)
    assert world.metrics.execute(query).fetchone() == (0,)

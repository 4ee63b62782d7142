"""The SQL functions against zoneinfo and against the sketch's twin."""

import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import psycopg
import pytest
from rollup_world import World, definition, window_start

from fleetgauge.rollup.sketches import distinct, sketch, tally

# (zone, an instant near a change): half-hour changes, a midnight that is skipped or comes twice, a day that is skipped.
CHANGES = [
    ("Asia/Seoul", datetime(1987, 5, 9, 17, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 6, 1, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC)),
    ("UTC", datetime(2026, 1, 1, tzinfo=UTC)),
]


@pytest.fixture(scope="module", autouse=True)
def migrated(world: World) -> None:
    world.migrate(definition())


@pytest.mark.parametrize(("zone", "near"), CHANGES)
def test_windows_agree_with_zoneinfo(world: World, zone: str, near: datetime) -> None:
    instants = [near + timedelta(minutes=m, seconds=1.5 * (m % 3)) for m in range(-30 * 60, 30 * 60, 7)]
    instants += [near + timedelta(microseconds=m) for m in (-1, 0, 1)]
    for grain in ("minute", "hour", "day"):
        rows = world.metrics.execute(
            "SELECT t, fleetgauge.window_start(t, %(g)s, %(z)s), fleetgauge.window_end(t, %(g)s, %(z)s)"
            " FROM unnest(%(t)s) AS t",
            {"g": grain, "z": zone, "t": instants},
        ).fetchall()
        for at, start, end in rows:
            at, start, end = (x.astimezone(UTC) for x in (at, start, end))
            assert start == window_start(at, grain, zone), (grain, at)
            assert start <= at < end, (grain, at)
            # The end is where the next window begins, and nothing begins before it.
            assert window_start(end, grain, zone) == end, (grain, at)
            assert window_start(end - timedelta(microseconds=1), grain, zone) == start, (grain, at)


@pytest.mark.parametrize(("zone", "near"), CHANGES)
def test_a_day_is_a_union_of_hours(world: World, zone: str, near: datetime) -> None:
    days = world.metrics.execute(
        "SELECT DISTINCT fleetgauge.day_start(t, %(z)s), fleetgauge.day_end(t, %(z)s)"
        " FROM generate_series(%(t)s - interval '2 days', %(t)s + interval '2 days', '1 hour') AS t",
        {"z": zone, "t": near},
    ).fetchall()
    assert len(days) >= 4
    for begin, end in days:
        for instant in (begin, end):
            assert window_start(instant.astimezone(UTC), "hour", zone) == instant
        assert (end - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() == begin.astimezone(
            ZoneInfo(zone)
        ).date()


def test_whole_windows_keeps_complete_windows_only(world: World) -> None:
    (found,) = world.metrics.execute(
        "SELECT fleetgauge.whole_windows('{(,2026-11-20 03:10Z),[2026-11-20 03:20Z,2026-11-20 03:50Z),"
        "[2026-11-20 04:00Z,2026-11-20 06:30Z),[2026-11-20 06:40Z,2026-11-20 08:00Z)}', 'hour', 'UTC')::text"
    ).fetchone()
    with_zone = world.metrics.execute(
        "SELECT %s::tstzmultirange::text",
        ["{(,2026-11-20 03:00Z),[2026-11-20 04:00Z,2026-11-20 06:00Z),[2026-11-20 07:00Z,2026-11-20 08:00Z)}"],
    ).fetchone()
    assert (found,) == with_zone


def _samples() -> list[list[float]]:
    draw = random.Random(7)
    return [
        [],
        [0.0],
        [5.0],
        [-1.0, 0.0, 1.0],
        [1e-300, 1e300, 5e-324, 1.7e308],
        [draw.lognormvariate(6, 1.5) for _ in range(500)],
        [draw.uniform(-1000, 1000) for _ in range(500)],
        [float(draw.randint(0, 50)) for _ in range(300)],
    ]


@pytest.mark.parametrize("values", _samples())
def test_sql_sketches_are_their_twin_and_within_one_percent(world: World, values: list[float]) -> None:
    parts = [sketch.sketch(values[i::3]) for i in range(3)]
    (merged,) = world.metrics.execute(
        "SELECT fleetgauge.sketch_merge(s::bigint[]) FROM unnest(%s::text[]) AS s",
        [["{" + ",".join(map(str, p)) + "}" for p in parts]],
    ).fetchone()
    assert merged == sketch.merge(parts) == sketch.sketch(values)
    for q in (0, 0.01, 0.07, 0.5, 0.9, 0.95, 0.99, 1):
        found, n = world.metrics.execute(
            "SELECT fleetgauge.quantile(%(s)s::bigint[], %(q)s), fleetgauge.sketch_count(%(s)s::bigint[])",
            {"s": merged, "q": q},
        ).fetchone()
        assert n == len(values)
        if not values:
            assert found is None
            continue
        rank = max(1, math.ceil(round(q * len(values), 9)))
        exact = sorted(values)[rank - 1]
        assert found == pytest.approx(sketch.quantile(merged, q), rel=1e-12)
        if 1e-307 < abs(exact) < 1e307 or exact == 0:
            assert abs(found - exact) <= 0.01 * abs(exact)


def test_distinct_in_sql_is_its_twin_exact_when_small_and_within_two_percent(world: World) -> None:
    """The error is a standard error: the root mean square over many sets, at sizes of all ranges of the estimator."""
    sizes = ((0, 1), (1, 3), (10, 20), (128, 20), (129, 20), (300, 20), (3_000, 20), (20_000, 10))
    for size, sets in sizes:
        errors = []
        for number in range(sets):
            prints = [distinct.fingerprint(f"{size}-{number}-{i}") for i in range(size)]
            parts = [distinct.of_fingerprints(prints[k::2]) for k in range(2)]
            merged = distinct.merge(parts)
            row = world.metrics.execute(
                'SELECT fleetgauge.distinct_merge(s::bit varying), fleetgauge."distinct"('
                "fleetgauge.distinct_merge(s::bit varying)) FROM unnest(%s::text[]) AS s",
                [[*parts, distinct.short(merged)]],
            ).fetchone()
            assert row == (merged, distinct.estimate(merged))
            assert merged == distinct.of_fingerprints(prints)
            assert size > 128 or row[1] == size
            errors.append(row[1] / max(size, 1) - 1 if size else 0)
        assert math.sqrt(sum(e * e for e in errors) / sets) <= 0.02, size


def test_a_bitmap_of_all_coupons_says_so_many_or_more(world: World) -> None:
    full = "1" * distinct.COUPONS
    (found,) = world.metrics.execute('SELECT fleetgauge."distinct"(%s::bit varying)', [full]).fetchone()
    assert found == distinct.estimate(full) == 2**32


def test_a_set_has_the_form_of_its_size_however_it_came_together(world: World) -> None:
    """Of more than 128 values at once, of two minutes that have fewer each, and of few: as one sketch of all."""
    one = definition()
    world.forget(one)
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    for start, kind, lengths in (
        (minute, "large", range(3_000)),
        (minute, "parts", range(100)),
        (minute + timedelta(minutes=1), "parts", range(70, 170)),
        (minute, "small", range(128)),
    ):
        world.app.execute(
            "INSERT INTO facts (happened_at, zone, kind, state, amount, length, score)"
            " SELECT %s, 'a', %s, 'done', 1, n, 1 FROM unnest(%s::int[]) AS n",
            [start, kind, list(lengths)],
        )
    world.beat()
    world.catch_up()
    world.run(one)
    world.assert_right(one)
    sizes = dict(world.metrics.execute(f"SELECT kind, length(kinds) FROM store.{one.table(one.levels[2])}").fetchall())
    assert sizes == {"small": 128 * distinct.PRINT, "parts": distinct.COUPONS, "large": distinct.COUPONS}


def test_viewers_may_use_the_functions_and_see_views_but_no_table(world: World) -> None:
    one = definition()
    url = world.postgres.url("metrics", "grafana", world.name)
    with psycopg.connect(url, autocommit=True) as grafana:
        grafana.execute("SET default_transaction_read_only = off")  # the grants must do, not a session's setting
        grafana.execute("SELECT fleetgauge.quantile(fleetgauge.sketch_merge(score), 0.95) FROM metrics.fact_day")
        for forbidden in (
            "SELECT * FROM fleetgauge.ledger",
            f"SELECT * FROM store.{one.table(one.levels[2])}",
            "DELETE FROM metrics.fact_day",
            "CREATE VIEW metrics.mine AS SELECT 1",
            "UPDATE fleetgauge.ledger SET closed = '{}'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                grafana.execute(forbidden)


def test_tallies_agree_with_their_twin(world: World) -> None:
    dice = random.Random(9)
    parts = [
        [dice.choice((0, 72, 431, 432, -5, 2**40, dice.randrange(9_000))) for _ in range(n)] for n in (0, 1, 7, 900)
    ]
    whole = tally.tally([value for part in parts for value in part])
    row = world.metrics.execute(
        "SELECT fleetgauge.tally_merge(t.tally), fleetgauge.tally_count(fleetgauge.tally_merge(t.tally)),"
        " fleetgauge.billed_steps(fleetgauge.tally_merge(t.tally), 81, 512),"
        " fleetgauge.cost(fleetgauge.tally_merge(t.tally), 81, 512, 0.0000001),"
        " ARRAY[fleetgauge.tally_quantile(fleetgauge.tally_merge(t.tally), 0.01),"
        " fleetgauge.tally_quantile(fleetgauge.tally_merge(t.tally), 0.5),"
        " fleetgauge.tally_quantile(fleetgauge.tally_merge(t.tally), 1)]"
        " FROM (VALUES (%s::bigint[]), (%s), (%s), (%s)) AS t(tally)",
        [*map(tally.tally, parts)],
    ).fetchone()
    assert row is not None
    merged, count, steps, cost, quantiles = row
    assert merged == whole == tally.merge(map(tally.tally, parts))
    assert count == sum(map(len, parts))
    assert steps == tally.billed_steps(whole, 81, 512)
    assert cost == steps * Decimal("0.0000001")
    assert quantiles == [tally.quantile(whole, q) for q in (0.01, 0.5, 1)]


@pytest.mark.parametrize("given", [[0, 1, 47, 48, 72, 1_500], [1_048_576], [1_048_577, 3], [9, *range(5_000)], [-1, 5]])
@pytest.mark.parametrize(("overhead", "step"), [(81, 512), (0, 1), (65_536, 64), (40, 2**31 - 1)])
def test_small_sizes_and_large_are_billed_alike(world: World, given: list[int], overhead: int, step: int) -> None:
    whole = tally.tally(given * 3)
    row = world.metrics.execute("SELECT fleetgauge.billed_steps(%s::bigint[], %s, %s)", [whole, overhead, step])
    assert row.fetchone() == (tally.billed_steps(whole, overhead, step),)


@pytest.mark.parametrize(("given", "steps"), [([], 0), ([2**63 - 1], 2**63 - 1 + 81), ([0], 81), ([-81], 0)])
def test_any_size_is_billed_exactly(world: World, given: list[int], steps: int) -> None:
    row = world.metrics.execute(
        "SELECT fleetgauge.billed_steps(%s::bigint[], 81, 1), fleetgauge.cost(%s::bigint[], 81, 1, NULL)",
        [tally.tally(given)] * 2,
    ).fetchone()
    assert row == (steps, None)

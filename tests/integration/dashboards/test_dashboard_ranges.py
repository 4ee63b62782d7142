"""Whatever the range cuts, and at every grain: the sum of a panel is the sum of what lies in the range."""

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dashboard_world import Filled
from dashboards.definitions import metric
from dashboards.queries import panel_queries

from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.definitions.measures import Count, Duration, Sum

ROOT = Path(__file__).parents[3]
GRAINS = ("minute", "hour", "day")
SUMS = {
    "fleetgauge-service": {
        "Rentals": "sum(started) FROM metrics.rental_minute",
        "Revenue": "sum(fare_krw) - sum(refund_krw) FROM metrics.rental_minute",
        "Revenue per $bucket by vehicle model": "sum(fare_krw) - sum(refund_krw) FROM metrics.rental_minute",
        "Rentals by vehicle model": "sum(started) FROM metrics.rental_minute",
        "Zones": "sum(started) FROM metrics.rental_minute",
    },
    "fleetgauge-commands": {
        "Commands": "sum(requested) FROM metrics.device_command_minute",
        "Failures by command": "sum(requested) FROM metrics.device_command_minute",
        "Traffic cost": "sum(cost_krw) FROM metrics.command_cost_minute",
        "Cost per $bucket by command": "sum(cost_krw) FROM metrics.command_cost_minute",
        "Cost by carrier": "sum(cost_krw) FROM metrics.command_cost_minute",
        "Bytes per $bucket by direction": "sum(bytes) FROM metrics.traffic_minute",
    },
}
SINGLE = {
    "fleetgauge-service": {
        "Refund rate": "sum(refunded)::float8 / nullif(sum(completed), 0) FROM metrics.rental_minute",
        "Completed": "sum(completed)::float8 / nullif(sum(started), 0) FROM metrics.rental_minute",
    },
    "fleetgauge-commands": {
        "Failure rate": "sum(unsuccessful)::float8 / nullif(sum(requested), 0) FROM metrics.device_command_minute",
        "Latency p95": (
            "fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95) / 1000 FROM metrics.device_command_minute"
        ),
    },
}
"""One number over the range, which no sum over windows gives."""


def generated(uid: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "dashboards" / "generated" / f"{uid}.json").read_text("utf-8"))
    return found


def ceil_minute(at: datetime) -> datetime:
    cut = at.replace(second=0, microsecond=0)
    return cut if cut == at else cut + timedelta(minutes=1)


def ranges(filled: Filled, rng: random.Random) -> list[tuple[datetime, datetime]]:
    """Cuts in the middle of minutes, hours and days, and a range without any whole hour, or whole day."""
    found = [(filled.now - timedelta(days=2, hours=5, minutes=23, seconds=11), filled.now - timedelta(seconds=7))]
    found.append((filled.now - timedelta(hours=3, minutes=41), filled.now - timedelta(hours=2, minutes=50)))
    for _ in range(4):
        since = filled.now - timedelta(seconds=rng.uniform(3600, 3 * 86400))
        found.append((since, since + timedelta(seconds=rng.uniform(1800, 2 * 86400))))
    return found


def minutes(connection: psycopg.Connection[Any], select: str, since: datetime, until: datetime) -> Any:
    row = connection.execute(
        f"SELECT {select} WHERE window_start >= %s AND window_start < %s", [ceil_minute(since), ceil_minute(until)]
    ).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("uid", SUMS)
def test_every_sum_of_a_range_is_the_sum_of_its_minutes(filled: Filled, uid: str) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)  # noqa: T201
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        for since, until in ranges(filled, random.Random(seed)):
            for grain in GRAINS:
                queries = {q.name: q.sql for q in panel_queries(generated(uid), {"grain": grain}, since, until)}
                for title, select in SUMS[uid].items():
                    cursor = grafana.execute(queries[title])
                    names = [column.name for column in cursor.description or ()]
                    place = next(k for k, name in enumerate(names) if name not in ("time", "metric") and k > 0)
                    total = sum(row[place] for row in cursor)
                    right = minutes(grafana, select, since, until)
                    assert total == (right or 0), (seed, title, grain, since, until)
                for title, select in SINGLE[uid].items():
                    row = grafana.execute(queries[title]).fetchone()
                    assert row == (minutes(grafana, select, since, until),), (seed, title, grain, since, until)


@pytest.mark.parametrize("name", ["rental", "vehicle_state", "device_command", "traffic"])
def test_every_measure_of_a_metrics_dashboard_adds_up_too(filled: Filled, name: str) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)  # noqa: T201
    one = load_definitions(ROOT)[name]
    added = [measure for measure, kind in one.measures.items() if isinstance(kind, Count | Sum | Duration)]
    seen = Decimal(0)
    with psycopg.connect(filled.grafana_url, autocommit=True) as grafana:
        for since, until in ranges(filled, random.Random(seed)):
            for grain in GRAINS:
                chosen = {"grain": grain, "by": next(iter(one.dimensions))}
                queries = {q.name: q.sql for q in panel_queries(generated(f"metric-{name}"), chosen, since, until)}
                for measure in added:
                    title, (_, scale) = (ask(measure, one.measures[measure]) for ask in (metric.title, metric.shown_in))
                    total = sum(Decimal(row[2] or 0) for row in grafana.execute(queries[title])) * scale
                    right = Decimal(minutes(grafana, f"sum({measure}) FROM metrics.{name}_minute", since, until) or 0)
                    assert abs(total - right) <= (Decimal("1e-9") if scale > 1 else 0) * right, (seed, measure, grain)
                    seen += total
    assert seen > 0


def test_the_minutes_are_those_of_production(filled: Filled) -> None:
    """What the tests above call right is what production's own rows say."""
    since, until = filled.now - timedelta(days=2, hours=7, minutes=13), filled.now - timedelta(hours=1, minutes=1)
    with psycopg.connect(filled.grafana_url) as grafana, psycopg.connect(filled.replica_url) as replica:
        right = replica.execute(
            "SELECT count(*) FROM rentals WHERE started_at >= %s AND started_at < %s",
            [ceil_minute(since), ceil_minute(until)],
        ).fetchone()
        assert right is not None
        assert right[0] > 0
        queries = panel_queries(generated("fleetgauge-service"), {"grain": "day"}, since, until)
        tile = next(query.sql for query in queries if query.name == "Rentals")
        assert sum(row[1] for row in grafana.execute(tile)) == right[0]
        shown = min(row[0] for row in grafana.execute(tile)).astimezone(UTC)
        assert shown < since, "the first bucket begins before the range, and holds only what lies in it"

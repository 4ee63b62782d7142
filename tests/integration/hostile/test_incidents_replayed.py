"""The incidents that this pipeline was built for, from the fault on real servers to what is told of it.

The third, a disk that fills, is in `deploy/prometheus/incidents.yaml`: its series are node_exporter's, not ours.
"""

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from alert_replay import exposition, firing_at, healthy_consumer, shown_at
from command_weather import Weather
from command_world import document
from rollup_world import World

from fleetgauge.rollup import raise_failures, run_metrics
from fleetgauge.rollup.operating.business_exports import BusinessCollector
from fleetgauge.rollup.operating.statement_exports import StatementsCollector

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (docs/alerts.md)")

ROOT = Path(__file__).parents[3]
HEAVY = (
    "SELECT count(*) FROM (SELECT a.id FROM facts AS a CROSS JOIN generate_series(1, %s) AS n ORDER BY n %% 1009) AS x"
)
"""It sorts more than fits into memory."""
TOTALS = """
SELECT sum(total_exec_time) / 1000, sum(calls), sum(shared_blks_read), sum(temp_blks_read + temp_blks_written)
FROM pg_stat_statements AS s INNER JOIN pg_roles AS r ON r.oid = s.userid
WHERE r.rolname = 'scooter_app' AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
EXPORTER = "fleetgauge_exporter_up 1\n"
CHANGED, OTHER = "2.4.1", "2.3.0"
AN_HOUR = {CHANGED: 1200, OTHER: 900}
"""Commands; a company of some 4,000 vehicles."""


def panel(title: str, login: str = ".*") -> str:
    """The query of a panel of Query insight."""
    found = json.loads(
        (ROOT / "dashboards" / "generated" / "monitoring" / "fleetgauge-queries.json").read_text("utf-8")
    )
    (expr,) = [t["expr"] for p in found["panels"] if p.get("title") == title for t in p["targets"]]
    return str(expr.replace("$source", "operations").replace("$login", login).replace("$__range", "30m"))


@pytest.fixture
def watched(world: World) -> World:
    """A replica whose statements the pipeline may see, as the DBA's file lets it."""
    world.app.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    world.app.execute((ROOT / "sql" / "source" / "04_statements.sql").read_text("utf-8"))
    world.app.execute("GRANT SELECT ON facts TO scooter_app")
    world.app.execute("TRUNCATE facts")
    for number in range(200):
        world.insert(datetime.now(UTC), amount=number)
    world.catch_up()
    return world


def test_a_heavy_query_on_the_replica_is_on_top_of_query_insight(watched: World, tmp_path: Path) -> None:
    collector = StatementsCollector(watched.settings)
    replica = watched.postgres.url("replica", "scooter_app", watched.name)
    with (
        psycopg.connect(replica, autocommit=True) as chart,
        psycopg.connect(watched.postgres.url("replica", "postgres", watched.name), autocommit=True) as dba,
    ):
        for _ in range(20):  # what is usual there
            chart.execute("SELECT max(changed_at) FROM facts")
        collector.refresh(0.0)
        for _ in range(20):
            chart.execute("SELECT max(changed_at) FROM facts")
        collector.refresh(30.0)
        before, books = exposition(collector), dba.execute(TOTALS).fetchone()
        began = time.monotonic()
        chart.execute(HEAVY, [5_000])
        took = time.monotonic() - began
        chart.execute("SELECT max(changed_at) FROM facts")
        collector.refresh(60.0)
        after = dba.execute(TOTALS).fetchone()
    states = [(10, [before, EXPORTER]), (10, [exposition(collector), EXPORTER]), (10, [before, EXPORTER])]

    def asked(title: str, minute: int, login: str = ".*") -> list[tuple[dict[str, str], float]]:
        return sorted(shown_at(tmp_path, states, minute, panel(title, login)), key=lambda one: -one[1])

    assert not any("generate_series" in labels["short"] for labels, _ in asked("Busy sessions by statement", 9))
    top, busy = asked("Busy sessions by statement", 10)[0]
    assert top["login"] == "scooter_app" and top["short"].startswith("SELECT count(*) FROM (SELECT a.id")
    assert 0.5 * took / 30 <= busy <= took / 30, "seconds of execution, for each of the thirty that passed"
    listed, shown = asked("Statements, by the time that they take", 29)[0]
    assert listed["login"] == "scooter_app" and "generate_series($2, $1)" in listed["statement"], "without its values"
    assert shown == pytest.approx(busy / 3), "busy for ten minutes of thirty"
    seconds, calls, read, temporary = (float(new - old) / 30 for new, old in zip(after, books, strict=True))
    assert calls == 2 / 30 and temporary > 0
    right = {
        "Sessions": seconds,
        "Heaviest one": busy,
        "Calls": calls,
        "Slowest call": busy * 30,
        "Blocks read": read,
        "Temp blocks": temporary,
        "Busy sessions by login": seconds,
        "Blocks read per second by login": read,
    }
    for title, value in right.items():
        ((_, found),) = asked(title, 10, "scooter_app")
        assert found == pytest.approx(value, rel=1e-6), title
    assert asked("Seconds for each call", 10, "scooter_app")[0][1] == pytest.approx(busy * 30)
    assert {labels["login"] for labels, _ in asked("Busy sessions by login", 10)} >= {
        "scooter_app",
        "fleetgauge_reader",
    }
    assert asked("Sessions", 10, "nobody") == []


def commands(firmware: str, since: datetime, length: timedelta, count: int, failing: int) -> list[dict[str, Any]]:
    """Answers to them, evenly over a while, `failing` of each hundred bad ones; chance is for the rule's own tests."""
    found = []
    for number in range(count):
        at = int((since + length * number / count).timestamp() * 1000)
        shown = {
            "command_id": f"{firmware}-{at}",
            "requested_ms": at,
            "deadline_ms": at + 30_000,
            "firmware": firmware,
            "device": f"sc-{number % 97}",
        }
        result = "failed" if number * 37 % 100 < failing else "succeeded"
        found.append(document("responded", at + 900, result=result, **shown))
    return found


def test_a_firmware_that_fails_more_often_is_named_within_an_hour_of_data(weather: Weather, tmp_path: Path) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=4)
    step, hour = timedelta(minutes=20), timedelta(hours=1)
    one = weather.definitions["device_command"]
    zone = ZoneInfo(one.time_zone)
    while start.astimezone(zone).date() != (start + 2 * hour).astimezone(zone).date():
        start -= hour  # what is usual is told by whole days, and this week is a small one
    week = [d for f in AN_HOUR for d in commands(f, start - timedelta(days=6), timedelta(days=6), 1200, 6)]
    usual = [d for f, n in AN_HOUR.items() for d in commands(f, start, hour, n, 6)]

    def exported(until: datetime, *batches: list[dict[str, Any]]) -> list[str]:
        """What the exporter tells once all of it is rolled up, and final until then."""
        report = weather.materialise(*batches, watermark=until + one.grace)
        raise_failures(run_metrics(weather.settings, [one], "minute", watermark=report.watermark))
        return [exposition(BusinessCollector(weather.settings, {one.metric: one})), EXPORTER]

    well = healthy_consumer()
    states = [(60, [*exported(start + hour, week, usual), well])]
    for number in range(3):
        since = start + hour + number * step
        batch = [d for f, n in AN_HOUR.items() for d in commands(f, since, step, n // 3, 10 if f == CHANGED else 6)]
        states.append((20, [*exported(since + step, batch), well]))
    told = firing_at(tmp_path, states, [59, 79, 99, 119], consumers=1, rollup=1)
    assert told[59] == {}
    assert all(set(alerts) <= {"CommandFailureRate"} for alerts in told.values())
    assert told[119] == {"CommandFailureRate": f"firmware {CHANGED}: 10% of commands fail"}

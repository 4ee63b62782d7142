"""`fleetgauge report` as the login of Grafana, on data that the real rollup made: the dashboards' own numbers."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
import pytest
from dashboard_world import Filled
from dashboards.queries import panel_queries
from pydantic import SecretStr

from fleetgauge.cli import main
from fleetgauge.errors import FleetgaugeError, Terminal
from fleetgauge.fleet import suspect_store
from fleetgauge.reports.fleet_findings import silent_vehicles
from fleetgauge.reports.fleet_report import Asked, FleetgaugeReport, make_report
from fleetgauge.reports.report_range import between
from fleetgauge.reports.said import written
from fleetgauge.rollup import load_definitions
from fleetgauge.rollup.store.partitions import ensure
from fleetgauge.settings import MetricsSettings, Settings
from fleetlab.stack import PostgresState

ROOT = Path(__file__).parents[3]


def settings_of(url: str) -> Settings:
    return Settings(content=ROOT, metrics=MetricsSettings(url=SecretStr(url)))


def url_of(postgres: PostgresState, login: str, filled: Filled) -> str:
    return postgres.url("metrics", login, urlsplit(filled.grafana_url).path.strip("/"))


@pytest.fixture(scope="module")
def settings(filled: Filled) -> Settings:
    return settings_of(filled.grafana_url)


@pytest.fixture(scope="module")
def report(settings: Settings) -> FleetgaugeReport:
    return make_report(settings, Asked(length=timedelta(days=1)))


@pytest.fixture
def grafana(filled: Filled) -> Iterator[psycopg.Connection]:
    with psycopg.connect(filled.grafana_url, autocommit=True) as connection:
        yield connection


def panel(
    connection: psycopg.Connection, uid: str, title: str, since: datetime, until: datetime
) -> list[dict[str, Any]]:
    dashboard = json.loads((ROOT / "dashboards" / "generated" / f"{uid}.json").read_text("utf-8"))
    (query,) = [q for q in panel_queries(dashboard, {"grain": "hour"}, since, until) if q.name == title]
    cursor = connection.execute(query.sql)
    names = [column.name for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_it_ends_where_the_numbers_are_final(report: FleetgaugeReport, filled: Filled) -> None:
    assert filled.now - timedelta(hours=2) <= report.over.until <= filled.now
    assert report.over.until.minute == 0 and report.over.time_zone == "Asia/Seoul"
    by_metric = {one.metric: one for one in report.states}
    assert by_metric["device_command"].provisional_since is None
    assert by_metric["device_command"].before_covered and by_metric["traffic"].before_covered
    assert report.missing == {}


def test_commands_are_those_of_the_dashboard(report: FleetgaugeReport, grafana: psycopg.Connection) -> None:
    found = report.commands
    assert found is not None
    since, until = report.over.since, report.over.until
    cost: dict[str, float] = defaultdict(float)
    for one in found.costliest:
        cost[one.command_type] += one.cost
    shown = panel(grafana, "fleetgauge-commands", "Cost by command", since, until)
    assert {row["Command"]: float(row["Cost"]) for row in shown} == pytest.approx(cost)
    assert sum(row["Messages"] for row in shown) == found.messages
    assert sum(row["Unpriced"] for row in shown) == found.unpriced
    failures = panel(grafana, "fleetgauge-commands", "Failures by command", since, until)
    assert {row["Command"]: (row["Requested"], row["Failure rate"]) for row in failures} == {
        one.command_type: (one.requested, pytest.approx(one.rate)) for one in found.rates
    }
    assert found.open == sum(row["Open"] for row in failures) == 0
    earlier = panel(grafana, "fleetgauge-commands", "Cost by command", report.over.before, since)
    assert found.cost_before == pytest.approx(float(sum(row["Cost"] for row in earlier)))
    assert sum(one.cost for one in found.cost_points) == pytest.approx(found.cost)
    assert sum(one.requested for one in found.rate_points) == found.requested


def test_firmware_is_that_of_the_dashboard(report: FleetgaugeReport, grafana: psycopg.Connection) -> None:
    assert report.firmware is not None
    shown = panel(
        grafana,
        "fleetgauge-commands",
        "Failure rate by firmware and vehicle model",
        report.over.since,
        report.over.until,
    )
    assert {(row["Firmware"], row["Model"]): row["Failure rate"] for row in shown} == {
        (one.firmware, one.vehicle_model): pytest.approx(one.rate) for one in report.firmware.by_model
    }


def test_business_is_that_of_the_metrics(report: FleetgaugeReport, grafana: psycopg.Connection) -> None:
    found = report.business
    assert found is not None
    row = grafana.execute(
        "SELECT sum(started), sum(completed), sum(refunded), sum(fare_krw) - sum(refund_krw)"
        " FROM metrics.rental_minute WHERE window_start >= %s AND window_start < %s",
        [report.over.since, report.over.until],
    ).fetchone()
    assert row is not None
    assert (found.started, found.completed, found.refunded) == row[:3]
    assert found.revenue == pytest.approx(float(row[3]))
    for lines in (found.zones, found.models):
        assert sum(one.started for one in lines) == found.started
    assert sum(one.started for one in found.points) == found.started


def test_without_a_whole_period_before_there_is_no_trend(settings: Settings) -> None:
    found = make_report(settings, Asked(length=timedelta(days=30)))
    assert found.commands is not None and found.commands.change is None and found.commands.cost_before is None
    assert found.business is not None and found.business.change is None
    assert not any(one.before_covered for one in found.states)


def test_a_range_with_open_commands_says_so(settings: Settings, filled: Filled) -> None:
    found = make_report(settings, Asked(("commands", "business"), filled.now - timedelta(hours=6), filled.now))
    by_metric = {one.metric: one for one in found.states}
    assert by_metric["rental"].provisional_since is not None  # rides are under way
    assert set(by_metric) == {"device_command", "traffic", "telemetry_traffic", "rental"}  # telemetry costs as well
    assert found.firmware is None and found.fleet is None


def test_an_empty_range_is_said_and_no_error(settings: Settings) -> None:
    since = datetime.fromisoformat("2020-01-01T00:00:00+09:00")
    found = make_report(settings, Asked(since=since, until=since + timedelta(days=2)))
    assert found.commands is not None and found.commands.rate is None
    assert all(one.data_until is None for one in found.states)


def test_the_pipelines_own_login_gets_the_same(
    report: FleetgaugeReport, postgres: PostgresState, filled: Filled
) -> None:
    found = make_report(settings_of(url_of(postgres, "fleetgauge", filled)), Asked(length=timedelta(days=1)))
    assert {**found.to_dict(), "made_at": ""} == {**report.to_dict(), "made_at": ""}


def test_what_is_asked_wrongly_is_said(settings: Settings, filled: Filled) -> None:
    with pytest.raises(Terminal, match="no report is called weather"):
        make_report(settings, Asked(("weather",)))
    with pytest.raises(Terminal, match="an hour at least"):
        make_report(settings, Asked(since=filled.now - timedelta(minutes=5), until=filled.now))
    wrong = re.sub(r"/[^/?]+(\?|$)", r"/no_such_database\1", filled.grafana_url)
    with pytest.raises(FleetgaugeError, match="metrics"):
        make_report(settings_of(wrong), Asked())


def test_suspects_are_those_of_the_command_line(
    settings: Settings, postgres: PostgresState, filled: Filled, report: FleetgaugeReport
) -> None:
    owner = url_of(postgres, "fleetgauge_owner", filled)
    day = report.over.until.date()
    rows = [
        ("sc-1", 20, 9.0),  # has become too old
        ("sc-2", 15, 9.0),  # counted in the view's score of the next row's own day, but not as of today
        ("sc-2", 3, 4.0),
        ("sc-3", 4, 8.5),
        ("sc-4", 5, 9.0),  # repaired since
        ("sc-5", 6, 3.0),
        ("sc-5", 1, 5.0),
        ("sc-6", 2, -4.0),
    ]
    with psycopg.connect(owner, autocommit=True) as connection:
        for vehicle, back, points in rows:
            connection.execute(
                "INSERT INTO fleetgauge.suspect_vehicle_day (date, vehicle, method, prior, points, reasons, evidence)"
                " VALUES (%s, %s, 'm', -5.3, %s, %s, '[]')",
                [day - timedelta(days=back), vehicle, points, [f"{points:+.1f} for a reason", "-0.1 for another"]],
            )
        connection.execute(
            "INSERT INTO fleetgauge.suspect_repair (vehicle, repaired_on, found, score) VALUES ('sc-4', %s, true, 3.7)",
            [day - timedelta(days=2)],
        )
        try:
            as_of = day - timedelta(days=1)
            found = make_report(settings, Asked(("fleet",), length=timedelta(days=2))).fleet
            listed = suspect_store.suspects(connection, as_of)
        finally:
            connection.execute("TRUNCATE fleetgauge.suspect_vehicle_day, fleetgauge.suspect_repair")
    assert found is not None and found.as_of == as_of
    assert [(one.vehicle, pytest.approx(one.score)) for one in listed] == [(o.vehicle, o.score) for o in found.suspects]
    assert [one.vehicle for one in found.suspects] == ["sc-3", "sc-5"]
    assert found.suspects[1].because == f"{day - timedelta(days=1)} +5.0 for a reason"
    assert isinstance(found.precision[0].month, date) and found.precision[0].missed == 0
    assert {one.vehicle_state for one in found.states} >= {"available", "on_trip"}
    assert sum(one.vehicles for one in found.states) == pytest.approx(40, abs=0.5)


def test_silence_goes_by_each_vehicles_own_period(postgres: PostgresState, filled: Filled) -> None:
    """Vehicles that report every minute, every few hours, once a day and every third day; they talk on or fall silent.

    Rows of days as the rollup leaves them, in a transaction that is rolled back.
    """
    day = date(2024, 11, 15)
    midnight = datetime(2024, 11, 16, tzinfo=ZoneInfo("Asia/Seoul"))
    over = between(midnight - timedelta(days=7), midnight + timedelta(hours=9), "Asia/Seoul")
    periods = {"minute": 1, "hours": 5 * 60, "daily": 24 * 60, "third-day": 3 * 24 * 60}
    silent_for = {"minute": 2 * 60, "hours": 20 * 60, "daily": 4 * 24 * 60, "third-day": 11 * 24 * 60}
    rows: dict[tuple[str, date], list[int]] = {}
    for name, period in periods.items():
        for vehicle, until in ((f"{name}-talks", 0), (f"{name}-silent", silent_for[name])):
            minutes = max(1, period * 2 // 3)  # before midnight, going back
            while minutes < 16 * 24 * 60:
                at = midnight - timedelta(minutes=minutes)
                if minutes >= until:
                    rows.setdefault((vehicle, at.date()), []).append(int(at.timestamp() * 1000))
                minutes += period
    definition = load_definitions(ROOT, "0a0a0a0a")["device_report"]
    (level,) = (one for one in definition.levels if one.whole)
    nobody = dict.fromkeys(("locations", "batteries", "errors", "falls", "bytes"), 0)
    with psycopg.connect(url_of(postgres, "fleetgauge_owner", filled)) as connection:
        starts = {on: datetime.combine(on, time(0), ZoneInfo("Asia/Seoul")) for _, on in rows}
        ensure(connection, definition, [level], set(starts.values()))
        for (vehicle, on), heard in rows.items():
            row = {
                "window_start": starts[on],
                "date": on,
                "device": vehicle,
                "reports": len(heard),
                "heard": max(heard),
            }
            columns = row | nobody
            connection.execute(
                f"INSERT INTO store.{definition.table(level)} ({', '.join(columns)})"
                f" VALUES ({', '.join(['%s'] * len(columns))})",
                list(columns.values()),
            )
        connection.execute(
            "UPDATE fleetgauge.ledger SET closed = '{[2024-01-01, 2024-11-16 00:00+09)}'"
            " WHERE metric = 'device_report' AND grain = 'day'"
        )
        found, in_all, on, why = silent_vehicles(connection, over)
        plain = connection.execute(
            "SELECT device FROM metrics.device_silence_day WHERE date = %s AND reports = 0 ORDER BY 1", [day]
        ).fetchall()
        connection.execute("DROP VIEW metrics.device_silence_day")
        nothing = silent_vehicles(connection, over)
        connection.rollback()
    assert nothing[0] == () and "device_report" in nothing[3]
    assert (in_all, on, why) == (4, day, "")
    assert [one.vehicle for one in found] == ["third-day-silent", "daily-silent", "hours-silent", "minute-silent"]
    for one, name in zip(found, reversed(periods), strict=True):
        assert one.quiet_hours >= silent_for[name] / 60
        assert periods[name] / 60 * 0.5 <= one.usual_hours <= max(periods[name] / 60, 24), one
    assert ("third-day-talks",) in plain and ("minute-silent",) not in plain  # which a day without a report gets wrong


def test_the_command_shows_one_object_in_three_ways(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETGAUGE_METRICS__URL", filled.grafana_url)
    monkeypatch.setenv("FLEETGAUGE_CONTENT", str(ROOT))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fleetgauge", "report", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capfd.readouterr()  # type: ignore[return-value]

    file = tmp_path / "report.html"
    code, out, err = call("--last", "1d", "--json", "--html", str(file))
    assert (code, str(file) in err) == (0, True)
    told = json.loads(out)
    numbers = re.findall(r'data-path="([^"]+)" value="([^"]*)"', file.read_text("utf-8"))
    assert len(numbers) > 300
    for path, value in numbers:
        found = told
        for step in path.split("."):
            found = found[int(step) if step.isdigit() else step]
        assert str(found) == value, path
    code, out, _ = call("commands", "--last", "1d")
    assert code == 0 and "What costs most" in out and "By zone" not in out
    assert written("money", told["commands"]["cost"]) in out
    code, _, err = call("--last", "1d", "--from", "2026-01-01", "--to", "2026-01-02")
    assert code == 78 and err.count("\n") == 1
    code, _, err = call("commands", "--html", str(tmp_path / "no" / "page.html"))
    assert code == 78 and "--html" in err and "Traceback" not in err

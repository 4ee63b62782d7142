"""Fills the report: every result of the pipeline, with the truth beside it."""

import importlib.util
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import psycopg.sql

from fleetgauge.ingest.consumer import Consumer
from fleetgauge.rollup import load_definitions
from fleetlab.demo import events, verify
from fleetlab.demo.books import Books
from fleetlab.demo.report import Check, CommandLine, Report, TopicCount
from fleetlab.demo.verify_company import company
from fleetlab.demo.verify_dashboards import dashboards
from fleetlab.simulator.counts import Grain, nearest_rank
from fleetlab.simulator.truth import Truth
from fleetlab.stack import StackState

PIPELINE_LOGINS = ("fleetgauge_reader", "fleetgauge", "fleetgauge_owner", "grafana", "analyst", "airflow")
"""Every login that the pipeline has anywhere. On the primary only the first one exists, for the replica's sake."""
SEOUL = ZoneInfo("Asia/Seoul")


def compare(
    report: Report,
    state: StackState,
    truth_path: Path,
    content: Path,
    consumers: Sequence[Consumer],
    settled: datetime,
) -> None:
    """Add all comparisons to `report`. Blocks for some 20 seconds; raises `Transient` when a server is away.

    `settled`: see `Books`.
    """
    truth, definitions = Truth(truth_path), load_definitions(content)
    try:
        for consumer in consumers:
            _events(report, state, truth, consumer)
        graces = {name: one.grace for name, one in definitions.items()}
        grains = {name: one.grains for name, one in definitions.items()}
        books = Books(truth, settled, graces, grains)
        _numbers(report, state, truth, content / "sql" / "tariffs", books)
        with psycopg.connect(state.need_postgres().grafana_url, autocommit=True) as grafana:
            queries = _module(content / "dashboards" / "queries.py")
            shown = dashboards(grafana, truth, books, content, queries, settled)
        report.checks += [one for one in shown if one.compared]  # a small company may have no vehicle in the workshop
    finally:
        truth.close()
    _isolation(report, state)
    report.checks.append(_runs(report))
    grains = {f"metric-{name}": one.grains for name, one in definitions.items()}
    report.checks.append(_dashboards(content, grains, state.need_postgres().grafana_url))


def _events(report: Report, state: StackState, truth: Truth, consumer: Consumer) -> None:
    topic = consumer.topic
    sent = {f"{device}:{event}" for device, event in truth.sent_events(topic)}
    stored = events.stored_ids(state.need_elasticsearch().url, consumer.index)
    broken, dead_letters = truth.broken(topic), events.dead_letters(state.need_kafka().bootstrap, topic)
    duplicates = truth.duplicates(topic)
    produced = len(sent) + duplicates + len(broken)
    report.topics.append(TopicCount(topic, produced, len(stored), duplicates, len(dead_letters)))
    report.checks.append(verify.same_set(f"{topic}: valid events = documents", sent, stored))
    report.checks.append(verify.same_set(f"{topic}: broken events = dead letters", broken, dead_letters))


def _numbers(report: Report, state: StackState, truth: Truth, tariffs: Path, books: Books) -> None:
    postgres = state.need_postgres()
    closed = verify.closed_windows(postgres.metrics_writer_url)
    report.closed_until = {
        f"{metric} {grain}": str(windows[-1].upper) for (metric, grain), windows in closed.items() if windows
    }
    with psycopg.connect(postgres.analyst_url) as analyst:
        aggregates = verify.Aggregates(analyst, books)
        report.checks += aggregates.finality(closed)
        report.checks += verify.commands(aggregates, truth)
        report.checks += verify.traffic(aggregates, truth, tariffs)
        report.checks += verify.rentals(aggregates, truth)
        report.checks += verify.vehicle_states(aggregates, truth)
        report.checks += verify.telemetry(aggregates, truth)
        report.checks += company(aggregates, truth)
        report.commands = _command_lines(analyst, aggregates, truth, tariffs)
        report.rentals_by_hour = _rentals_by_hour(aggregates)


def _command_lines(
    analyst: psycopg.Connection, aggregates: verify.Aggregates, truth: Truth, tariffs: Path
) -> list[CommandLine]:
    """A line for each command type over the hours that are final for commands and for traffic, the dearest first."""
    answered, billed = aggregates.is_final("device_command", "hour"), aggregates.is_final("traffic", "hour")
    starts = [start for (start,) in analyst.execute("SELECT DISTINCT window_start FROM metrics.device_command_hour")]
    hours = {start for start in starts if answered(start) and billed(start)}
    counts = analyst.execute(
        """
        SELECT command_type, sum(requested)::bigint, sum(failed)::bigint, sum(rejected)::bigint, sum(timed_out)::bigint,
               sum(expired)::bigint, sum(unsuccessful)::bigint,
               fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.5),
               fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95)
        FROM metrics.device_command_hour WHERE window_start = ANY(%s) GROUP BY 1
        """,
        [list(hours)],
    ).fetchall()
    priced = analyst.execute(
        """
        SELECT command_type, sum(bytes)::bigint, sum(cost_krw)
        FROM metrics.command_cost_hour WHERE window_start = ANY(%s) GROUP BY 1
        """,
        [list(hours)],
    )
    costs = {kind: (size, krw or Decimal(0)) for kind, size, krw in priced}
    total = sum((krw for _, krw in costs.values()), Decimal(0))
    true_counts = _by_type(truth.command_counts("hour", ("type",)), hours)
    true_costs = _by_type(truth.cost_krw(tariffs, "hour", ("subject",)), hours)
    lines = []
    for kind, requested, failed, rejected, timed_out, expired, unsuccessful, p50, p95 in counts:
        cells = true_counts.get(kind, [])
        latencies = [ms for cell in cells for ms in cell.latencies_ms]
        size, krw = costs.get(kind, (0, Decimal(0)))
        lines.append(
            CommandLine(
                command_type=kind,
                requested=requested,
                failed=failed,
                rejected=rejected,
                timed_out=timed_out,
                expired=expired,
                failure_rate=unsuccessful / requested,
                true_failure_rate=sum(c.unsuccessful for c in cells) / max(sum(c.requested for c in cells), 1),
                p50_ms=p50 or 0.0,
                true_p50_ms=float(nearest_rank(latencies, 0.5) or 0),
                p95_ms=p95 or 0.0,
                true_p95_ms=float(nearest_rank(latencies, 0.95) or 0),
                bytes=size,
                cost_krw=krw,
                true_cost_krw=sum(true_costs.get(kind, []), Decimal(0)),
                cost_share=float(krw / total) if total else 0.0,
            )
        )
    return sorted(lines, key=lambda line: -line.cost_krw)


def _by_type(cells: dict[verify.Key, Any], hours: set[datetime]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for (start, kind), cell in cells.items():
        if start in hours:
            found.setdefault(kind, []).append(cell)
    return found


def _rentals_by_hour(aggregates: verify.Aggregates) -> list[tuple[str, int]]:
    rows = aggregates.rows(
        "rental",
        "hour",
        "SELECT window_start, sum(started)::bigint FROM metrics.rental_$grain GROUP BY 1 ORDER BY 1",
    )
    return [(f"{start.astimezone(SEOUL):%a %d %b %H:%M}", started) for start, started in rows]


def _isolation(report: Report, state: StackState) -> None:
    postgres = state.need_postgres()
    primary = verify.statements_by_login(postgres.primary_admin_url)
    replica = verify.statements_by_login(postgres.replica_admin_url)
    report.primary_statements = {login: primary.get(login, 0) for login in PIPELINE_LOGINS}
    report.replica_statements = replica.get("fleetgauge_reader", 0)
    told = [f"{login} ran {count} on the primary" for login, count in report.primary_statements.items() if count]
    # Production's own login must be listed there: a view that lists nobody would prove nothing.
    if not primary.get("scooter_app"):
        told.append("pg_stat_statements on the primary does not even list the app's statements")
    report.checks.append(
        Check("production: the pipeline ran nothing on the primary", report.replica_statements, tuple(told))
    )


def _runs(report: Report) -> Check:
    told = [
        f"{dag} has no successful run" if not states.get("success") else f"{dag} has a failed run"
        for dag, states in report.airflow_runs.items()
        if not states.get("success") or states.get("failed")
    ]
    return Check(
        "airflow: runs of each grain succeeded",
        sum(map(sum, map(dict.values, report.airflow_runs.values()))),
        tuple(told),
    )


def count_states(states: Sequence[str]) -> dict[str, int]:
    """State → how many runs are in it."""
    return dict(Counter(states))


def _dashboards(content: Path, grains: Mapping[str, Sequence[Grain]], grafana_url: str) -> Check:
    """Run each query of each dashboard as Grafana's login, over three days and at each grain's own range.

    `grains`: those of the dashboards whose metric has not all.
    """
    queries = _module(content / "dashboards" / "queries.py")
    now = datetime.now(UTC)
    ranges = {"minute": timedelta(hours=3), "hour": timedelta(days=3), "day": timedelta(days=30)}
    filled: dict[str, bool] = {}  # a panel says "No data" only when all its queries are empty
    told = []
    with psycopg.connect(grafana_url, autocommit=True) as grafana:
        for path in sorted((content / "dashboards" / "generated").glob("*.json")):
            dashboard = json.loads(path.read_text(encoding="utf-8"))
            for grain, span in ranges.items():
                if grain not in grains.get(path.stem, ranges) or not _any_row(grafana, path.stem, grain, now - span):
                    continue
                rare = queries.may_be_empty(dashboard)
                for query in queries.panel_queries(dashboard, {"grain": grain}, now - span, now):
                    panel = f"{path.stem} by {grain}, {query.name}"
                    try:
                        found = _has_values(grafana.execute(query.sql)) or query.name in rare
                    except psycopg.Error as error:
                        found = True
                        told.append(f"{panel}: {str(error).splitlines()[0]}")
                    filled[panel] = filled.get(panel, False) or found
    told += [f"{panel}: no data" for panel, found in filled.items() if not found]
    return Check("dashboards: every panel has data", len(filled), tuple(told))


def _any_row(grafana: psycopg.Connection, dashboard: str, grain: str, since: datetime) -> bool:
    """Whether anything happened that the metric of a dashboard counts: some things are rare."""
    metric = dashboard.removeprefix("metric-")
    if metric == dashboard:
        return True
    view = psycopg.sql.Identifier("metrics", f"{metric}_{grain}")
    query = psycopg.sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE window_start >= %s)").format(view)
    return bool(grafana.execute(query, [since]).fetchone() == (True,))


def _has_values(cursor: psycopg.Cursor[tuple[Any, ...]]) -> bool:
    """Whether a row says more than its time: a panel of NULLs shows nothing either."""
    columns = [column.name for column in cursor.description or ()]
    return any(value is not None and name != "time" for row in cursor for name, value in zip(columns, row, strict=True))


def _module(path: Path) -> ModuleType:
    """`dashboards/` is content, not a package that is installed."""
    spec = importlib.util.spec_from_file_location("dashboard_queries", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

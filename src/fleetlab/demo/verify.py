"""The pipeline's results beside the simulator's books. Everything here only reads."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString, TypeVar

import psycopg
import psycopg.sql
from psycopg.types.multirange import Multirange

from fleetgauge.rollup.sketches import tally
from fleetlab.demo.books import Books
from fleetlab.demo.report import Check
from fleetlab.simulator.counts import Grain, Stream, TrafficDimension, nearest_rank
from fleetlab.simulator.truth import Truth

GRAINS: tuple[Grain, ...] = ("minute", "hour", "day")
QUANTILES = (0.5, 0.95)
RARE = "connectivity"
"""Few vehicles lose contact: a small company may have none in windows that are final."""
SHOWN = 5
"""How many differences are kept; the first ones tell enough."""
RELATIVE_ERROR = 0.01
"""What a percentile sketch may be off from the exact nearest-rank quantile."""
DISTINCT_EXACT = 128
"""So many different values are counted exactly by a distinct sketch."""
DISTINCT_ERROR = 0.08
"""What it may be off above: five standard errors; in thousands of cells two would be met by chance."""

Key = tuple[Any, ...]
T = TypeVar("T")
Closed = Multirange[datetime]


def closed_windows(metrics_url: str) -> dict[tuple[str, str], Closed]:
    """`(metric, grain)` → the final windows, from the ledger of each metric's published version."""
    sql = """
        SELECT DISTINCT ON (l.metric, l.grain) l.metric, l.grain, l.closed
        FROM fleetgauge.ledger AS l JOIN fleetgauge.metric_version AS v USING (metric, version)
        WHERE v.published_at IS NOT NULL ORDER BY l.metric, l.grain, v.published_at DESC
    """
    with psycopg.connect(metrics_url) as connection:
        return {(metric, grain): closed for metric, grain, closed in connection.execute(sql)}


def equal(name: str, expected: Mapping[Key, Any], actual: Mapping[Key, Any]) -> Check:
    """Both sides hold the same keys with the same values."""
    differing = [key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key)]
    told = [
        f"{_words(key)}: {_value(actual.get(key))} instead of {_value(expected.get(key))}"
        for key in sorted(differing, key=str)[:SHOWN]
    ]
    if len(differing) > SHOWN:
        told.append(f"and {len(differing) - SHOWN} more")
    return Check(name, len(expected.keys() | actual.keys()), tuple(told))


def same_set(name: str, expected: set[Any], actual: set[Any]) -> Check:
    """Both sets are equal; says how many are missing and how many are too many, with an example of each."""
    told = []
    if missing := expected - actual:
        told.append(f"{len(missing):,} missing, such as {_words(min(missing))}")
    if extra := actual - expected:
        told.append(f"{len(extra):,} too many, such as {_words(min(extra))}")
    return Check(name, len(expected), tuple(told))


def close(name: str, expected: Mapping[Key, float], actual: Mapping[Key, float | None]) -> Check:
    """Each value is within `RELATIVE_ERROR` of the exact one."""
    told = []
    for key in sorted(expected.keys() | actual.keys(), key=str):
        want, got = expected.get(key), actual.get(key)
        if want is None or got is None or abs(got - want) > RELATIVE_ERROR * abs(want) * (1 + 1e-9):
            told.append(f"{_words(key)}: {got} instead of {want}")
    return Check(name, len(expected), tuple(told[:SHOWN]))


def without_empty(checks: Iterable[Check]) -> list[Check]:
    """All but empty ones of `RARE`, which prove nothing but are no fault either."""
    return [one for one in checks if one.compared or one.differences or not one.name.startswith(RARE)]


class Aggregates:
    """The aggregate views as an analyst reads them: the windows that should be final by the simulator's books."""

    def __init__(self, analyst: psycopg.Connection, books: Books) -> None:
        self._analyst, self._books = analyst, books

    @property
    def looked_at(self) -> datetime:
        """See `Books`."""
        return self._books.looked_at

    def is_final(self, metric: str, grain: Grain) -> Callable[[datetime], bool]:
        """A function of a window's start: should the window be final?"""
        return self._books.should_be_final(metric, grain)

    def rows(self, metric: str, grain: Grain, sql: LiteralString) -> list[tuple[Any, ...]]:
        """The rows of a query whose first column is the window's start, windows that should be final only."""
        final = self.is_final(metric, grain)
        return [row for row in self._analyst.execute(sql.replace("$grain", grain)) if final(row[0])]

    def finality(self, closed: Mapping[tuple[str, str], Closed]) -> list[Check]:
        """Windows that should be final are, in the ledger and on each of their rows."""
        books = self._books
        found = [self._finality(metric, grain, closed) for metric in books.metrics for grain in books.grains(metric)]
        return without_empty(found)

    def _finality(self, metric: str, grain: Grain, closed: Mapping[tuple[str, str], Closed]) -> Check:
        query = psycopg.sql.SQL("SELECT window_start, bool_or(provisional) FROM metrics.{} GROUP BY 1").format(
            psycopg.sql.Identifier(f"{metric}_{grain}")
        )
        final, done = self.is_final(metric, grain), closed.get((metric, grain), Multirange())
        windows = {start: provisional for start, provisional in self._analyst.execute(query) if final(start)}
        told = [
            f"{start:%Y-%m-%dT%H:%MZ} is {'marked provisional' if provisional else 'not closed'}"
            for start, provisional in sorted(windows.items())
            if provisional or not any(start in one for one in done)
        ]
        return Check(f"{metric} by {grain}: final when it should be", len(windows), tuple(told[:SHOWN]))


def _final_only(cells: Mapping[Key, T], final: Callable[[datetime], bool]) -> dict[Key, T]:
    return {key: cell for key, cell in cells.items() if final(key[0])}


def commands(aggregates: Aggregates, truth: Truth) -> list[Check]:
    """Counts, failure rate and latency of commands at each grain."""
    return [check for grain in GRAINS for check in _commands(aggregates, truth, grain)]


def _commands(aggregates: Aggregates, truth: Truth, grain: Grain) -> Iterable[Check]:
    final = aggregates.is_final("device_command", grain)
    expected = {
        key: (c.requested, c.succeeded, c.failed, c.rejected, c.timed_out, c.expired, c.late_success, c.attempts)
        for key, c in _final_only(truth.command_counts(grain, ("type", "model", "firmware", "carrier")), final).items()
    }
    rows = aggregates.rows(
        "device_command",
        grain,
        """
        SELECT window_start, command_type, vehicle_model, firmware, carrier, requested, succeeded, failed, rejected,
               timed_out, expired, late_success, attempts
        FROM metrics.device_command_$grain
        """,
    )
    # A try that another one followed, on a vehicle that had other firmware by then, is a row in which nothing counts.
    yield equal(f"commands by {grain}: counts", expected, {row[:5]: row[5:] for row in rows if any(row[5:])})
    rates = {
        key: c.unsuccessful / c.requested
        for key, c in _final_only(truth.command_counts(grain, ("type",)), final).items()
    }
    rows = aggregates.rows(
        "device_command",
        grain,
        """
        SELECT window_start, command_type, sum(unsuccessful), sum(requested)
        FROM metrics.device_command_$grain GROUP BY 1, 2 HAVING sum(requested) > 0
        """,
    )
    yield equal(f"commands by {grain}: failure rate", rates, {row[:2]: int(row[2]) / int(row[3]) for row in rows})
    yield _latencies(aggregates, truth, grain)


def _latencies(aggregates: Aggregates, truth: Truth, grain: Grain) -> Check:
    final = aggregates.is_final("device_command", grain)
    expected = {
        (*key, q): float(nearest_rank(c.latencies_ms, q) or 0)
        for key, c in _final_only(truth.command_counts(grain, ("type",)), final).items()
        if c.latencies_ms
        for q in QUANTILES
    }
    rows = aggregates.rows(
        "device_command",
        grain,
        """
        SELECT window_start, command_type, fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.5),
               fleetgauge.quantile(fleetgauge.sketch_merge(latency_ms), 0.95)
        FROM metrics.device_command_$grain WHERE succeeded > 0 GROUP BY 1, 2
        """,
    )
    actual = {(*row[:2], q): row[2 + n] for row in rows for n, q in enumerate(QUANTILES)}
    return close(f"commands by {grain}: p50, p95 within 1 %", expected, actual)


_STREAMS: Mapping[Stream, str] = {"commands": "traffic", "telemetry": "telemetry_traffic"}
"""What goes over the air, and the metric that counts it."""


def traffic(aggregates: Aggregates, truth: Truth, tariffs: Path) -> list[Check]:
    """Messages, bytes and KRW of everything that goes over the air at each grain, and the carriers' bill."""
    found = [_traffic(aggregates, truth, tariffs, grain, stream) for grain in GRAINS for stream in _STREAMS]
    return [*(check for checks in found for check in checks), _bill(aggregates, truth, tariffs)]


def _traffic(aggregates: Aggregates, truth: Truth, tariffs: Path, grain: Grain, stream: Stream) -> list[Check]:
    metric = _STREAMS[stream]
    final = aggregates.is_final(metric, grain)
    sent = _final_only(truth.traffic(grain, ("subject", "carrier", "direction", "bytes"), stream=stream), final)
    sizes: dict[Key, dict[int, int]] = {}
    for (*key, size), cell in sent.items():
        sizes.setdefault(tuple(key), {})[int(str(size))] = cell.messages
    expected = {key: (sum(n.values()), sum(size * m for size, m in n.items()), n) for key, n in sizes.items()}
    query: LiteralString = """
        SELECT window_start, kind, carrier, direction, messages, bytes, payload
        FROM metrics.air_traffic_$grain WHERE stream = '$stream'
        """
    rows = aggregates.rows(metric, grain, query.replace("$stream", stream))
    actual = {row[:4]: (*row[4:6], tally.counts(row[6])) for row in rows}
    by: tuple[TrafficDimension, ...] = ("subject", "carrier", "direction")
    cost = truth.cost_krw(tariffs, grain, by, stream=stream)
    unpriced = truth.unpriced_messages(tariffs, grain, by, stream=stream)
    bills = _final_only({key: (krw, unpriced[key]) for key, krw in cost.items()}, final)
    query = """
        SELECT window_start, kind, carrier, direction, cost_krw, unpriced_messages
        FROM metrics.air_cost_$grain WHERE stream = '$stream'
        """
    rows = aggregates.rows(metric, grain, query.replace("$stream", stream))
    return [
        equal(f"traffic of {stream} by {grain}: messages, bytes, sizes", expected, actual),
        equal(
            f"traffic of {stream} by {grain}: cost in KRW, messages without a price",
            bills,
            {row[:4]: row[4:] for row in rows},
        ),
    ]


def _bill(aggregates: Aggregates, truth: Truth, tariffs: Path) -> Check:
    """Of the days that are final in all metrics which the bill is made of."""
    finals = [aggregates.is_final(metric, "day") for metric in ("traffic", "telemetry_traffic", "traffic_sim")]
    rows = aggregates.rows(
        "telemetry_sim",
        "day",
        "SELECT window_start, date, carrier, charge, rounding, messages, cost, unpriced_messages"
        " FROM metrics.carrier_cost_day",
    )
    found = {row[1:5]: row[5:] for row in rows if all(final(row[0]) for final in finals)}
    days = {day for day, *_ in found}
    expected = {
        key: (one.messages, one.cost, one.unpriced)
        for key, one in truth.bill(tariffs).charges.items()
        if key[0] in days
    }
    return equal("the carriers' bill by day: messages, KRW, messages without a price", expected, found)


def telemetry(aggregates: Aggregates, truth: Truth) -> list[Check]:
    """Events, bytes and different devices at each grain, by kind and carrier."""
    checks = []
    for grain in GRAINS:
        cells = _final_only(truth.telemetry(grain), aggregates.is_final("telemetry", grain))
        rows = aggregates.rows(
            "telemetry",
            grain,
            """
            SELECT window_start, kind, carrier, sum(events)::bigint, sum(bytes)::bigint, min(estimate)
            FROM metrics.telemetry_$grain JOIN fleetgauge.distinct_count(
                'telemetry', 'devices', (SELECT min(window_start) FROM metrics.telemetry_$grain),
                (SELECT max(window_start) + interval '1 day' FROM metrics.telemetry_$grain), '$grain',
                by => '{kind,carrier}')
            ON bucket_start = window_start AND parts = ARRAY[kind, carrier] GROUP BY 1, 2, 3
            """,
        )
        expected = {key: (cell.events, cell.bytes) for key, cell in cells.items()}
        checks.append(equal(f"telemetry by {grain}: events, bytes", expected, {row[:3]: row[3:5] for row in rows}))
        devices = {key: len(cell.devices) for key, cell in cells.items()}
        found = {row[:3]: or_near(row[5], devices.get(row[:3])) for row in rows}
        checks.append(equal(f"telemetry by {grain}: devices", devices, found))
    return checks


def or_near(found: int | None, exact: int | None) -> int | None:
    """The exact number in place of an estimate that is near enough."""
    if found is None:
        return None
    near = exact is not None and exact > DISTINCT_EXACT and abs(found - exact) <= DISTINCT_ERROR * exact
    return exact if exact is not None and near else found


def rentals(aggregates: Aggregates, truth: Truth) -> list[Check]:
    """Counts, money, metres and durations of rentals at each grain."""
    checks = []
    for grain in GRAINS:
        final = aggregates.is_final("rental", grain)
        cells = _final_only(truth.rental_counts(grain, ("zone", "model")), final)
        expected = {
            key: (c.started, c.completed, c.refunded, Decimal(c.fare_krw), Decimal(c.refund_krw), c.distance_m)
            for key, c in cells.items()
        }
        rows = aggregates.rows(
            "rental",
            grain,
            """
            SELECT window_start, zone, vehicle_model, started, completed, refunded, fare_krw, refund_krw, distance_m,
                   fleetgauge.quantile(duration_s, 0.5), fleetgauge.quantile(duration_s, 0.95)
            FROM metrics.rental_$grain
            """,
        )
        checks.append(equal(f"rentals by {grain}: counts, KRW, metres", expected, {row[:3]: row[3:9] for row in rows}))
        checks.append(
            close(
                f"rentals by {grain}: p50, p95 within 1 %",
                {
                    (*key, q): float(nearest_rank(c.durations_s, q) or 0)
                    for key, c in cells.items()
                    if c.durations_s
                    for q in QUANTILES
                },
                {(*row[:3], q): row[9 + n] for row in rows if row[4] for n, q in enumerate(QUANTILES)},
            )
        )
    return checks


def vehicle_states(aggregates: Aggregates, truth: Truth) -> list[Check]:
    """Seconds in each state at each grain, by zone."""
    checks = []
    for grain in GRAINS:
        expected = _final_only(truth.state_ms(grain), aggregates.is_final("vehicle_state", grain))
        rows = aggregates.rows(
            "vehicle_state",
            grain,
            "SELECT window_start, vehicle_state, zone, seconds * 1000 FROM metrics.vehicle_state_$grain",
        )
        checks.append(equal(f"vehicle states by {grain}: milliseconds", expected, {row[:3]: row[3] for row in rows}))
    return checks


def statements_by_login(admin_url: str) -> dict[str, int]:
    """Login → distinct statements that `pg_stat_statements` of this server knows of it, in any database."""
    sql = """
        SELECT r.rolname, count(s.queryid) FROM pg_roles AS r LEFT JOIN pg_stat_statements AS s ON s.userid = r.oid
        WHERE r.rolcanlogin GROUP BY 1 ORDER BY 1
    """
    with psycopg.connect(admin_url) as connection:
        return dict(connection.execute(sql).fetchall())


def _words(key: Any) -> str:
    if not isinstance(key, tuple):
        return str(key)
    return " ".join(f"{part:%Y-%m-%dT%H:%MZ}" if isinstance(part, datetime) else str(part) for part in key)


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)

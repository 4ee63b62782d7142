"""How long runs take over the project's own metrics: a minute's run, and the backfill of a day."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.rollup.lab import ROOT, Databases, databases, scalar
from fleetgauge import pipeline
from fleetgauge.rollup import COMMANDS, RunReport, load_definitions, raise_failures, run_metrics
from fleetgauge.rollup.store.migrate import migrate
from fleetlab.simulator import operations
from fleetlab.simulator.scale import Scale
from fleetlab.simulator.timeline import Timeline
from fleetlab.stack import PostgresState

MINUTE_S = 10.0
DAY_S = 5.0
SCALE = Scale(vehicles=13_500, days=1, rate=2.5, live_seconds=0)
"""A little more than 30,000 rentals in the day."""
ATTEMPTS = 20_000

_EVERY_MONTH = "CREATE TABLE commands.command_attempt_bench PARTITION OF fleetgauge.command_attempt DEFAULT"
# As they are materialised: answered attempts of the same day.
_COMMANDS = """
INSERT INTO fleetgauge.command_attempt (command_id, attempt, described_by, command_type, device_id, vehicle_model,
    firmware, carrier, sim, requested_at, deadline_at, sent_at, delivered_at, responded_at, result, sent_bytes,
    delivered_bytes, responded_bytes, status, is_last, conflicting, rolled_back, any_late_success, updated_at)
SELECT 'bench-' || n, 1, 1, (ARRAY['lock', 'unlock', 'locate', 'set_speed'])[1 + n %% 4], 'device-' || n %% 900,
    'model-' || n %% 4, 'fw-' || n %% 6, 'carrier-' || n %% 3, 'sim-' || n %% 900, at, at + interval '30 seconds',
    at + interval '1 second', at + interval '2 seconds', at + interval '3 seconds',
    (ARRAY['succeeded', 'succeeded', 'succeeded', 'failed'])[1 + n %% 4], 60 + n %% 40, 20, 80 + n %% 40,
    (ARRAY['succeeded', 'succeeded', 'succeeded', 'failed'])[1 + n %% 4], true, false, false, false,
    at + interval '3 seconds'
FROM (SELECT n, now() - interval '1 minute' - random() * interval '1 day' AS at
      FROM generate_series(1, %s) AS n) AS asked
"""
# A minute of the demo at its busiest: rides begin and end, commands are answered, an old ride is refunded.
_RIDES = """
INSERT INTO rentals (id, rider_id, rider_rental, vehicle_id, zone_code, model_code, started_at, status)
SELECT gen_random_uuid(), rider_id, rider_rental + 1, vehicle_id, zone_code, model_code,
    now() - random() * interval '1 minute', 'active'
FROM rentals ORDER BY random() LIMIT 60
"""
_REFUNDS = """
UPDATE rentals SET status = 'refunded', refunded_at = now(), updated_at = now()
WHERE id IN (SELECT id FROM rentals WHERE status = 'completed' ORDER BY random() LIMIT 20)
"""
_ANSWERS = """
UPDATE fleetgauge.command_attempt SET responded_at = responded_at + interval '1 second', updated_at = now()
WHERE command_id IN (SELECT command_id FROM fleetgauge.command_attempt ORDER BY random() LIMIT 500)
"""


@dataclass(frozen=True)
class Figure:
    """One kind of run."""

    title: str
    limit_s: float
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def measure(postgres: PostgresState, rounds: int) -> list[Figure]:
    """Both kinds; blocks for a minute or two."""
    with databases(postgres, "bench_runs", "GRANT CREATE, USAGE ON SCHEMA public TO scooter_app") as found:
        every = load_definitions(ROOT, pipeline.key_id(found.settings))
        definitions = {n: d for n, d in every.items() if d.source in ("operations", COMMANDS)}
        plan = Timeline.ending(SCALE, datetime.now(UTC))
        engine = operations.app_engine(found.url("primary", "scooter_app"))
        operations.create_schema(engine)
        engine.dispose()
        operations.run_source_sql(found.url("primary", "postgres"), ROOT / "sql" / "source")
        operations.copy_history(found.url("primary", "scooter_app"), plan)
        found.primary.execute("VACUUM ANALYZE")
        migrate(found.settings, every)  # views of the traffic read those of the telemetry
        found.metrics.execute(_EVERY_MONTH)
        found.metrics.execute(_COMMANDS, [ATTEMPTS])
        found.metrics.execute("VACUUM ANALYZE")
        everything = list(definitions.values())
        _run(found, everything)
        minutes = []
        for _ in range(rounds):
            found.primary.execute(_RIDES)
            found.primary.execute(_REFUNDS)
            found.metrics.execute(_ANSWERS)
            minutes.append(_run(found, everything))
        day = (plan.start, plan.start + timedelta(days=1))
        rentals = scalar(found.primary, "SELECT count(*) FROM rentals WHERE started_at >= %s AND started_at < %s", *day)
        days = [_run(found, [definitions["rental"]], day) for _ in range(rounds)]
    return [
        Figure(f"a minute's run over {len(everything)} metrics", MINUTE_S, tuple(minutes)),
        Figure(f"backfill of a day of {rentals} rentals", DAY_S, tuple(days)),
    ]


def _run(found: Databases, definitions: list[Any], interval: Any = None) -> float:
    found.beat()
    return _seconds(lambda: run_metrics(found.settings, definitions, "minute", interval))


def _seconds(work: Callable[[], list[RunReport]]) -> float:
    begin = time.perf_counter()
    raise_failures(work())
    return time.perf_counter() - begin


def report(figures: list[Figure]) -> tuple[list[str], dict[str, bool]]:
    """Lines for people, and which bars hold."""
    lines = ["runs over the project's own metrics, medians"]
    lines += [f"  {figure.title:44}{figure.median:8.2f} s" for figure in figures]
    return lines, {f"{f.title} ≤ {f.limit_s:.0f} s": f.median <= f.limit_s for f in figures}

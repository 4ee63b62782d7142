"""A simulated company's commands through the real rollup, with some telemetry beside, and the simulator's own books."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from dashboard_world import ROOT, SOURCE, Documents, last_evening

from fleetgauge.commands.materialise import materialise_documents
from fleetgauge.commands.store import open_store
from fleetgauge.cost.tariff import apply_tariffs
from fleetgauge.reports import command_facts
from fleetgauge.reports.command_findings import CommandReport, command_report
from fleetgauge.reports.firmware_findings import FirmwareReport, firmware_report
from fleetgauge.rollup import Definition, raise_failures, run_metrics
from fleetgauge.rollup.sketches.tally import tally
from fleetgauge.settings import MetricsSettings, Settings
from fleetlab.simulator import Scale, Timeline, Truth
from fleetlab.simulator.ledger import Ledger
from fleetlab.simulator.records import EVENTS_TOPIC, Record

SEOUL = ZoneInfo("Asia/Seoul")
METRICS = ("device_command", "traffic", "traffic_sim")
SCOPES = {
    "message": 'step_bytes: 512, price: "0.25", rounding: message',
    "sim_day": 'step_bytes: 1000, price: "0.5", rounding: sim_day',
    "sim_month": 'step_bytes: 10000, price: "3.3", rounding: sim_month, allowance_bytes: 30000, base_fee: "333.333333"',
}


@dataclass(frozen=True)
class SimulatedBill:
    """A company whose commands are rolled up in `owner`'s database, with day rows of a part of its telemetry."""

    owner: psycopg.Connection[Any]
    truth: Truth
    since: datetime
    until: datetime

    def under(self, folder: Path, scope: str) -> None:
        """Every carrier but one charges so; of one nothing is known."""
        (folder / "sql" / "tariffs").mkdir(parents=True, exist_ok=True)
        entries = [
            f"  - {{carrier: {carrier}, valid_from: 2020-01-01T00:00:00+09:00, overhead_bytes: 81, {SCOPES[scope]}}}"
            for carrier in ("skt", "kt", "lguplus")
        ]
        text = "\n".join(["currency: KRW", "time_zone: Asia/Seoul", "entries:", *entries])
        (folder / "sql" / "tariffs" / "scope.yaml").write_text(text)
        apply_tariffs(self.owner, folder)

    def charged(self) -> dict[tuple[Any, ...], tuple[int, Decimal, int]]:
        """The bill as the views have it."""
        rows = self.owner.execute(
            "SELECT date, carrier, charge, rounding, messages, cost, unpriced_messages FROM metrics.carrier_cost_day"
        )
        return {row[:4]: row[4:] for row in rows}

    def kinds(self) -> dict[tuple[date, str, str, str], Decimal]:
        """What each kind of traffic costs, as the views have it."""
        rows = self.owner.execute("SELECT date, carrier, kind, direction, cost_krw FROM metrics.air_cost_day")
        return {row[:4]: row[4] for row in rows}

    def reports(self) -> tuple[CommandReport, FirmwareReport]:
        """As `fleetgauge report` makes them."""
        cells = command_facts.command_cells(self.owner, self.since, self.until, "day")
        cost = command_facts.cost_cells(self.owner, self.since, self.until)
        return command_report(cells, None, cost, None), firmware_report(cells)

    def dearest(self, tariffs: Path) -> tuple[str, str]:
        """Command type and carrier that cost most, by the simulator's books."""
        sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        commands = {key[0] for key in self.truth.traffic()}
        for (_, carrier, subject, _), cost in self.truth.bill(tariffs).kinds.items():
            if subject in commands:
                sums[subject, carrier] += cost
        return max(sums, key=lambda key: sums[key])


def simulated(
    metrics: MetricsSettings,
    owner: psycopg.Connection[Any],
    definitions: dict[str, Definition],
    scale: Scale,
    path: Path,
    metrics_of: Sequence[str] = METRICS,
) -> SimulatedBill:
    """Roll one company up, in place of the one before, these metrics alone.

    Of twenty positions one is kept, and all other telemetry.
    """
    _forget(owner, definitions)
    now = last_evening()
    plan = Timeline.ending(scale, now - timedelta(hours=3))
    commands: list[Record] = []
    telemetry: list[Record] = []
    seen = 0
    for part in plan.backlog():  # all of it at once would take gigabytes
        commands += (one for one in part if one.topic == SOURCE.topic)
        for one in _telemetry(part, plan):
            if one.kind != "location" or seen % 20 == 0:
                telemetry.append(one)
            seen += 1
    with Ledger.create(path, plan) as ledger:
        ledger.sent([*commands, *telemetry], range(len(commands) + len(telemetry)))
        ledger.finish()
    documents = Documents(plan)
    settings = Settings(metrics=metrics, content=ROOT)
    with open_store(metrics, SOURCE) as store:
        watermark = materialise_documents(store, documents, documents.progress(now), SOURCE).watermark
    for grain in ("minute", "hour", "day"):
        raise_failures(run_metrics(settings, [definitions[one] for one in metrics_of], grain, watermark=watermark))
    _put(owner, definitions, telemetry, dict(Truth(path).sims()))
    begin = datetime.combine(plan.start.astimezone(SEOUL).date() - timedelta(days=1), datetime.min.time(), SEOUL)
    end = datetime.combine(now.astimezone(SEOUL).date() + timedelta(days=1), datetime.min.time(), SEOUL)
    return SimulatedBill(owner, Truth(path), begin, end)


def _telemetry(records: Iterable[Record], plan: Timeline) -> list[Record]:
    """What would be stored, of the days of the plan: devices whose clocks are days behind are left out."""
    first = plan.start_ms - 3_600_000
    return [one for one in records if one.topic == EVENTS_TOPIC and not one.fault and one.event_ms >= first]


def _forget(owner: psycopg.Connection[Any], definitions: dict[str, Definition]) -> None:
    for name in (*METRICS, "telemetry_sim", "telemetry_traffic"):
        for level in definitions[name].levels:
            owner.execute(f"DELETE FROM store.{definitions[name].table(level)}")
    for table in ("command_event", "command_attempt", "command_cursor"):
        owner.execute(f"DELETE FROM fleetgauge.{table}")
    owner.execute(
        "UPDATE fleetgauge.ledger SET done = '{}', closed = '{}', cursor_at = NULL, beat_at = NULL, kept_from = NULL"
    )


def _put(
    owner: psycopg.Connection[Any], definitions: dict[str, Definition], telemetry: list[Record], sims: dict[str, str]
) -> None:
    """Day rows, as the rollup of documents leaves them; that path is tested with Elasticsearch."""
    kinds: dict[tuple[date, str, str, str], Counter[int]] = defaultdict(Counter)
    by_sim: dict[tuple[date, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in telemetry:
        day = datetime.fromtimestamp(one.event_ms / 1000, SEOUL).date()
        kinds[day, one.kind, one.carrier, one.direction][one.nbytes] += 1
        cell = by_sim[day, sims[one.device], one.carrier]
        cell[0] += 1
        cell[1] += one.nbytes

    def table(name: str) -> str:
        definition = definitions[name]
        return f"store.{definition.table(next(level for level in definition.levels if level.name == 'day'))}"

    def midnight(day: date) -> datetime:
        return datetime.combine(day, datetime.min.time(), SEOUL)

    with owner.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table('telemetry_traffic')} (window_start, date, kind, carrier, direction, messages, bytes,"
            " payload, payload_unknown, largest, devices) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 0, %s, '')",
            [
                (midnight(key[0]), *key, sum(n.values()), sum(s * c for s, c in n.items()), tally(n.elements()), max(n))
                for key, n in kinds.items()
            ],
        )
        cursor.executemany(
            f"INSERT INTO {table('telemetry_sim')} (window_start, date, sim, carrier, messages, bytes)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [(midnight(key[0]), *key, *counts) for key, counts in by_sim.items()],
        )

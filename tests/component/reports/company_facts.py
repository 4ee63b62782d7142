"""Facts of a simulated company as the metrics would have them, counted from its plan by means of its own."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from fleetgauge.reports.command_facts import CommandCell, CostCell
from fleetlab.simulator import Scale, Timeline, commands
from fleetlab.simulator.prices import Price, prices
from fleetlab.simulator.records import Attempt
from fleetlab.simulator.world import CURRENT, NEWEST, OLD

TARIFFS = Path(__file__).parents[3] / "sql" / "tariffs"
EVENING = datetime(2026, 11, 17, 11, 30, tzinfo=UTC)
HOUR_MS = 3_600_000
PLANTED = {OLD: 0.050, CURRENT: 0.045, NEWEST: 0.140}
ALIKE = {OLD: 0.05, CURRENT: 0.05, NEWEST: 0.05}


@dataclass(frozen=True)
class CompanyFacts:
    cells: list[CommandCell]
    cost: list[CostCell]
    true_cost: dict[tuple[str, str, str, str], Decimal]
    """By type, carrier, firmware and model, message by message."""


def facts_of(
    monkeypatch: pytest.MonkeyPatch, seed: int, failure: dict[str, float], *, vehicles: int = 900, days: int = 3
) -> CompanyFacts:
    """Of a company in which commands fail under each firmware so often."""
    monkeypatch.setattr(commands, "FIRMWARE_FAILURE", failure)
    plan = Timeline(Scale(vehicles=vehicles, days=days, seed=seed, live_seconds=0), EVENING - timedelta(days=days))
    return CompanyFacts(cells_of_plan(plan), cost_of_plan(plan), true_cost(plan))


def cells_of_plan(plan: Timeline) -> list[CommandCell]:
    outcomes: dict[tuple[str, ...], dict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    for one in plan.commands():
        first = one.attempts[0]
        hour = outcomes[first.type, first.carrier, first.firmware, first.model][first.requested_ms // HOUR_MS]
        hour[0] += 1
        hour[1] += one.outcome != "succeeded"
        hour[2] += len(one.attempts)
    found = []
    for key, hours in sorted(outcomes.items()):
        requested, bad, attempts = (sum(hour[i] for hour in hours.values()) for i in range(3))
        squares = sum(hour[1] ** 2 / hour[0] for hour in hours.values())
        found.append(CommandCell(*key, requested, bad, 0, attempts, len(hours), squares))
    return found


def cost_of_plan(plan: Timeline) -> list[CostCell]:
    known = known_prices(plan)
    found: dict[tuple[str, str], CostCell] = {}
    for attempt in attempts_of(plan):
        key = attempt.type, attempt.carrier
        was = found.get(key, CostCell(*key, 0, 0, 0, Decimal(), 0, 0))
        sent, price = sizes(attempt), known.get(attempt.carrier)
        found[key] = CostCell(
            *key,
            was.messages + len(sent),
            was.bytes + sum(sent),
            was.billed_bytes + (0 if price is None else sum(int(price.of(n) / price.price) * price.step for n in sent)),
            was.cost + (Decimal() if price is None else sum((price.of(n) for n in sent), Decimal())),
            was.unpriced + (len(sent) if price is None else 0),
            0,
        )
    return [found[key] for key in sorted(found)]


def true_cost(plan: Timeline) -> dict[tuple[str, str, str, str], Decimal]:
    known = known_prices(plan)
    found: dict[tuple[str, str, str, str], Decimal] = defaultdict(Decimal)
    for one in attempts_of(plan):
        if one.carrier in known:
            cost = sum((known[one.carrier].of(n) for n in sizes(one)), Decimal())
            found[one.type, one.carrier, one.firmware, one.model] += cost
    return found


def known_prices(plan: Timeline) -> dict[str, Price]:
    return {one.carrier: one for one in reversed(prices(TARIFFS)) if one.from_ms <= plan.start_ms}


def attempts_of(plan: Timeline) -> list[Attempt]:
    return [attempt for one in plan.commands() for attempt in one.attempts]


def sizes(attempt: Attempt) -> list[int]:
    sent = [] if attempt.sent_ms is None else [attempt.bytes_down]
    acked = [] if attempt.delivered_ms is None else [attempt.bytes_ack]
    return sent + acked + ([] if attempt.responded_ms is None else [attempt.bytes_up])

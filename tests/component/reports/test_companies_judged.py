"""Costliest commands and firmware: on simulated companies, of which it is known who is to be named."""

from decimal import Decimal

import pytest
from company_facts import ALIKE, PLANTED, facts_of

from fleetgauge.reports.command_findings import command_report
from fleetgauge.reports.firmware_findings import firmware_report
from fleetgauge.rollup.labels import EVERY
from fleetlab.simulator.world import CURRENT, NEWEST


def test_of_a_simulated_company_the_right_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_of(monkeypatch, 31, PLANTED, vehicles=400, days=2)
    found = firmware_report(facts.cells)
    assert found.worst == NEWEST
    assert {one.firmware for one in found.comparisons if one.verdict == "worse"} == {NEWEST}
    first = found.comparisons[0]
    assert (first.firmware, first.before, first.scope) == (NEWEST, CURRENT, "all")
    assert first.low < 0.0855 < first.high  # planted: 9.5 points, on models and commands of 0.9 on average
    costs = command_report(facts.cells, None, facts.cost, None)
    assert {one.firmware for one in costs.hot_spots} <= {NEWEST, EVERY} and costs.hot_spots
    assert (costs.costliest[0].command_type, costs.costliest[0].carrier) == ("locate", "skt")
    assert costs.cost == pytest.approx(float(sum(one.cost for one in facts.cost)))


def test_of_a_company_without_a_bad_firmware_none_is_accused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = firmware_report(facts_of(monkeypatch, 31, ALIKE, vehicles=400, days=2).cells)
    assert found.worst is None and not [one for one in found.comparisons if one.verdict == "worse"]


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_on_twenty_companies_the_costliest_and_the_worst_are_named_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twenty with a bad version, twenty without: seeds 201 to 220."""
    accused = []
    for seed in range(201, 221):
        facts = facts_of(monkeypatch, seed, PLANTED)
        found, costs = firmware_report(facts.cells), command_report(facts.cells, None, facts.cost, None)
        assert found.worst == NEWEST, seed
        assert {one.firmware for one in found.comparisons if one.verdict == "worse"} == {NEWEST}, seed
        dearest = max(facts.cost, key=lambda one: one.cost)
        top = costs.costliest[0]
        assert (top.command_type, top.carrier) == (dearest.command_type, dearest.carrier), seed
        cell_top = costs.cells[0]
        true = facts.true_cost
        chosen = true[cell_top.command_type, cell_top.carrier, cell_top.firmware, cell_top.vehicle_model]
        assert chosen >= max(true.values()) * Decimal("0.97"), seed
        sound = firmware_report(facts_of(monkeypatch, seed, ALIKE).cells)
        accused += [seed for one in sound.comparisons if one.verdict == "worse"]
    assert accused == []

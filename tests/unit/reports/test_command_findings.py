"""Costliest commands, trends, hot spots: on hand-made counts."""

from decimal import Decimal

import pytest

from fleetgauge.reports.command_facts import CommandCell, CostCell, KindCost
from fleetgauge.reports.command_findings import attributed, command_report, hot_spots
from fleetgauge.reports.firmware_findings import firmware_report, version_key
from fleetgauge.rollup.labels import EVERY, NOT_SET, OTHER


def cell(
    bad: int, of: int, *, firmware: str = "1.0", model: str = "m", kind: str = "lock", attempts: int = 0
) -> CommandCell:
    return CommandCell(kind, "skt", firmware, model, of, bad, 0, attempts or of, 1, 0.0)


def cost(krw: str, *, kind: str = "lock") -> CostCell:
    return CostCell(kind, "skt", 10, 100, 512, Decimal(krw), 0, 0)


def test_parts_of_the_cost_add_up_to_the_whole() -> None:
    cells = [cell(0, 1, model="a"), cell(0, 1, model="b"), cell(0, 1, model="c", attempts=5)]
    found = attributed(cells, [cost("10"), cost("7", kind="ring")])
    assert sum(found.values()) == 17
    assert found["lock", "skt", "1.0", "c"] == Decimal(50) / 7
    assert found["ring", "skt", NOT_SET, NOT_SET] == 7  # cost at the edge of a range, without a command in it


def test_a_small_sample_does_not_shout() -> None:
    quiet = [cell(30, 600, model=f"m{n}") for n in range(50)]
    found, seen = hot_spots([*quiet, cell(2, 3, model="tiny")])
    assert found == () and seen == 51 + 51  # each model, and each model whatever its carrier and firmware
    both, _ = hot_spots([*quiet, cell(2, 3, model="tiny"), cell(120, 600, model="bad")])
    loud, coarser = sorted(both, key=lambda one: one.carrier == EVERY)
    assert (loud.carrier, loud.vehicle_model) == ("skt", "bad")
    assert (coarser.carrier, coarser.firmware, coarser.vehicle_model) == (EVERY, EVERY, "bad")
    assert loud.excess == pytest.approx(120 - 600 * (1502 / 30003))


def test_a_trend_is_against_a_period_that_is_known() -> None:
    cells = [cell(1, 10)]
    known = command_report(cells, cells, [cost("12")], [cost("10")])
    assert known.costliest[0].change == pytest.approx(0.2) and known.change == pytest.approx(0.2)
    unknown = command_report(cells, None, [cost("12")], None)
    assert unknown.costliest[0].change is None and unknown.costliest[0].cost_before is None
    new = command_report(cells, [], [cost("12")], [])
    assert new.costliest[0].change is None and new.costliest[0].cost_before == 0


def test_nothing_at_all_is_a_report_too() -> None:
    found = command_report([], None, [], None)
    assert found.rate is None and found.costliest == () and found.hot_spots == ()
    assert firmware_report([]).worst is None


def test_versions_sort_as_people_mean_them() -> None:
    told = ["3.0.0", "2.10.0", "3.0.0-rc1", "2.9.1", "v10", "2.9"]
    assert sorted(told, key=version_key) == ["v10", "2.9", "2.9.1", "2.10.0", "3.0.0-rc1", "3.0.0"]


def test_a_version_of_vehicles_of_its_own_is_compared_with_nothing() -> None:
    found = firmware_report([cell(50, 500), cell(400, 500, firmware="1.1", model="other-model")])
    assert found.comparisons == () and found.not_compared == ("1.0", "1.1") and found.worst is None


def test_a_version_is_compared_with_the_next_lower_one_that_ran_the_same() -> None:
    cells = [cell(50, 500), cell(50, 500, firmware="1.1", model="n"), cell(90, 500, firmware="1.2")]
    (found,) = [one for one in firmware_report(cells).comparisons if one.firmware == "1.2"]
    assert (found.before, found.verdict) == ("1.0", "worse")


def test_what_overflowed_is_left_out_and_counted() -> None:
    found = firmware_report([cell(5, 50), cell(5, 40, firmware=OTHER), cell(1, 2, firmware=NOT_SET)])
    assert found.left_out == 42 and [one.firmware for one in found.versions] == ["1.0"]


def test_telemetry_stands_beside_the_commands() -> None:
    kinds = [
        KindCost("telemetry", "location", 30, 3_000, Decimal("7.5"), 0, 0),
        KindCost("commands", "locate", 2, 9_000, Decimal("2.5"), 1, 4),
    ]
    found = command_report([], None, [], None, kinds=kinds)
    assert found.air_cost == 10
    assert [(one.kind, one.share, one.unpriced, one.by_sim) for one in found.air] == [
        ("location", 0.75, 0, 0),
        ("locate", 0.25, 1, 4),
    ]
